package lvm

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/dm"
)

const pv0, pv1 = "QLgjPA-0eHS-nzgB-vbCF-w4FA-i2Uk-VdkgrY", "ukvmMq-epSW-PcdV-8J5n-e758-mS5v-XNqAwU"

const metadata = `vg-a {
id = "u17QYp-6CYw-Zqwg-XtTP-KXVb-xhuG-qYiWut"
seqno = 7
format = "lvm2"			# informational
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8192		# 4 Megabytes
physical_volumes {
pv0 {
id = "` + pv0 + `"
device = "/dev/sda"	# Hint only
status = ["ALLOCATABLE"]
flags = []
pe_start = 2048
pe_count = 15
}
pv1 {
id = "` + pv1 + `"
flags = []
pe_start = 4096
pe_count = 15
}
}
logical_volumes {
lin {
id = "WV3n4E-09vj-YDRn-Vx8V-XwXR-NVhP-KIfXbW"
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 2
segment1 {
start_extent = 0
extent_count = 4
type = "striped"
stripe_count = 1
stripes = [
"pv0", 0
]
}
segment2 {
start_extent = 4
extent_count = 4
type = "striped"
stripe_count = 2
stripe_size = 128
stripes = [
"pv0", 4,
"pv1", 0
]
}
}
moving {
id = "rq8q3M-gE4f-XUOq-zLDX-3FkE-WSnq-3hlPbn"
status = ["READ"]
segment1 {
start_extent = 0
extent_count = 1
type = "striped"
stripes = ["pvmove0", 0]
}
}
thin {
id = "aq8q3M-gE4f-XUOq-zLDX-3FkE-WSnq-3hlPbn"
status = ["READ", "WRITE"]
segment1 {
start_extent = 0
extent_count = 3
type = "thin+FLAG"
thin_pool = "lin"
transaction_id = 3
device_id = 1
}
}
}
}
contents = "Text Format Volume Group"
description = "made with \"quotes\" and a \\ in it"
`

func parsed(t testing.TB, text string) *VG {
	vg, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

var devices = map[string]string{pv0: "8:1", pv1: "8:17"}

func device(pv string) string { return devices[pv] }

func (vg *VG) named(t *testing.T, name string) *LV {
	lv := vg.lvs.part(name)
	if lv.Name == "" {
		t.Fatalf("no volume %s", name)
	}
	return &LV{lv}
}

func TestParse(t *testing.T) {
	vg := parsed(t, metadata)
	lv := vg.named(t, "lin")
	uuid := "LVM-u17QYp6CYwZqwgXtTPKXVbxhuGqYiWutWV3n4E09vjYDRnVx8VXwXRNVhPKIfXbW"
	if vg.Name != "vg-a" || vg.Seqno != 7 || *vg.Volume(uuid) != *lv || *vg.Volume(uuid + "-real") != *lv || vg.Volume(uuid+"x") != nil || !vg.Owns(uuid) || vg.Shared() || vg.SystemID() != "" {
		t.Errorf("%+v", vg)
	}
	if lv.Type() != "striped" || vg.Size(lv) != 8*8192 {
		t.Errorf("%s of %d sectors", lv.Type(), vg.Size(lv))
	}
	if got := vg.named(t, "thin").Type(); got != "thin" {
		t.Errorf("type %s", got)
	}
}

func TestTable(t *testing.T) {
	vg := parsed(t, metadata)
	want := []dm.Target{
		{Length: 32768, Type: "linear", Params: "8:1 2048"},
		{Start: 32768, Length: 32768, Type: "striped", Params: "2 128 8:1 34816 8:17 4096"},
	}
	if got, err := vg.Table(vg.named(t, "lin"), device); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestTableRefused(t *testing.T) {
	gone := func(pv string) string { return strings.ReplaceAll(devices[pv], "8:17", "") }
	_, err := parsed(t, metadata).Table(parsed(t, metadata).named(t, "lin"), gone)
	var missing *MissingError
	if !errors.As(err, &missing) || !slices.Equal(missing.PVs, []string{pv1}) {
		t.Errorf("without a physical volume: %v", err)
	}
	for _, change := range [][2]string{
		{`flags = []`, `flags = ["MISSING"]`},               // its content is old
		{`pe_count = 15`, `pe_count = 3`},                   // extents behind the end
		{`"pv0", 4,`, `"pv0", 99999999999999999999,`},       // no number
		{`start_extent = 4`, `start_extent = 5`},            // a gap
		{"\"pv0\", 4,\n\"pv1\", 0\n", ""},                   // no stripes
		{"extent_count = 4", "extent_count = 4294967295"},   // too long
		{"stripes = [\n\"pv0\", 0", "stripes = [\n\"pv0\""}, // half a stripe
	} {
		vg := parsed(t, strings.ReplaceAll(metadata, change[0], change[1]))
		if table, err := vg.Table(vg.named(t, "lin"), device); err == nil {
			t.Errorf("%q: %v", change[1], table)
		}
	}
}

func TestPlainAndLayout(t *testing.T) {
	vg := parsed(t, metadata)
	for name, plain := range map[string]bool{"lin": true, "moving": false, "thin": false} {
		if got := vg.Plain(vg.named(t, name)); got != plain {
			t.Errorf("%s: %v", name, got)
		}
	}
	empty := parsed(t, strings.Replace(metadata, "segment1 {", "other {", 4))
	if empty.Plain(empty.named(t, "moving")) {
		t.Error("a volume of nothing is plain")
	}
	if got := vg.Layout(vg.named(t, "lin")); got != Plain {
		t.Errorf("lin: %s", got)
	}
	// A volume is identified by its UUID, and the Layout has no counters.
	thin := "thin: thin_pool WV3n4E-09vj-YDRn-Vx8V-XwXR-NVhP-KIfXbW device_id 1"
	other := strings.ReplaceAll(metadata, "transaction_id = 3", "transaction_id = 4")
	other = strings.ReplaceAll(other, "extent_count = 3", "extent_count = 9")
	for _, text := range []string{metadata, other} {
		vg := parsed(t, text)
		if got := vg.Layout(vg.named(t, "thin")); got != thin {
			t.Errorf("thin: %s, want %s", got, thin)
		}
	}
	// With a snapshot it is not enough to know where the volume is.
	snapshot := `snapshot0 {
id = "bq8q3M-gE4f-XUOq-zLDX-3FkE-WSnq-3hlPbn"
segment1 {
start_extent = 0
extent_count = 3
type = "snapshot"
chunk_size = 8
origin = "lin"
cow_store = "moving"
}
}
moving {`
	vg = parsed(t, strings.Replace(metadata, "moving {", snapshot, 1))
	if got := vg.Layout(vg.named(t, "lin")); !strings.HasPrefix(got, Plain+" snapshot: chunk_size 8 origin WV3n4E") {
		t.Errorf("with a snapshot: %s", got)
	}
}

func TestShared(t *testing.T) {
	for _, text := range []string{
		strings.Replace(metadata, "seqno", "lock_type = \"sanlock\"\nseqno", 1),
		strings.Replace(metadata, `"RESIZEABLE"`, `"CLUSTERED"`, 1),
	} {
		if !parsed(t, text).Shared() {
			t.Errorf("%.100s: not shared", text)
		}
	}
}

func TestBadText(t *testing.T) {
	for _, text := range []string{
		"", "a {", "a }", "a = [", "a = [ 1, ", `a = "`, "a b", "= 1", `a = "x\`,
		strings.Repeat("a {", 1000), metadata + metadata, "vg {}\ncontents = \"Text Format Volume Group\"",
	} {
		if vg, err := Parse(text); err == nil {
			t.Errorf("%.30q: %+v", text, vg)
		}
	}
}

// disk returns the beginning of a physical volume whose metadata begins at an
// offset in its area, which has size bytes.
func disk(text string, offset, size int) []byte {
	b := make([]byte, 4096+size)
	s := b[sector : 2*sector]
	copy(s, "LABELONE")
	le.PutUint64(s[8:], 1)
	le.PutUint32(s[20:], labelSize)
	copy(s[24:], "LVM2 001")
	copy(s[labelSize:], strings.ReplaceAll(pv0, "-", ""))
	at := labelSize + pvIDSize + 8
	le.PutUint64(s[at:], 1<<20) // the data area
	le.PutUint64(s[at+32:], 4096)
	le.PutUint64(s[at+40:], uint64(size))
	le.PutUint32(s[16:], sum(s[20:]))
	h := b[4096:]
	copy(h[4:], mdaMagic)
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], 4096)
	le.PutUint64(h[32:], uint64(size))
	le.PutUint64(h[40:], uint64(offset))
	le.PutUint64(h[48:], uint64(len(text)))
	le.PutUint32(h[56:], sum([]byte(text)))
	n := copy(h[offset:], text)
	copy(h[headerLen:], text[n:])
	le.PutUint32(h, sum(h[4:headerLen]))
	return b
}

func TestRead(t *testing.T) {
	for _, offset := range []int{512, 3000} { // the second goes round the end
		pv, vg, err := Read(bytes.NewReader(disk(metadata+"\x00", offset, 4096)))
		if err != nil || pv != pv0 || vg == nil || vg.Seqno != 7 {
			t.Errorf("at %d: %s, %+v, %v", offset, pv, vg, err)
		}
	}
	if _, _, err := Read(bytes.NewReader(make([]byte, 4096))); !errors.Is(err, ErrNone) {
		t.Errorf("zeros: %v", err)
	}
	if pv, vg, err := Read(bytes.NewReader(disk("", 0, 4096))); pv != pv0 || vg != nil || err != nil {
		t.Errorf("in no group: %s, %v, %v", pv, vg, err)
	}
}

func TestReadDamaged(t *testing.T) {
	for name, at := range map[string]int{"label": sector + 40, "header": 4096 + 33, "text": 4096 + 600} {
		b := disk(metadata, 512, 4096)
		b[at] ^= 1
		pv, vg, err := Read(bytes.NewReader(b))
		if err == nil || errors.Is(err, ErrNone) || vg != nil || (pv == pv0) == (name == "label") {
			t.Errorf("%s: %s, %v, %v", name, pv, vg, err)
		}
	}
	if _, _, err := Read(bytes.NewReader(disk(metadata, 512, 4096)[:5000])); err == nil {
		t.Error("a device that ends in its metadata: no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(metadata)
	f.Add(`a { b = [ "x", 1 ] }`)
	f.Fuzz(func(t *testing.T, text string) {
		vg, err := Parse(text)
		if err != nil {
			return
		}
		vg.Shared()
		for _, s := range vg.lvs.parts {
			lv := &LV{s}
			vg.Layout(lv)
			if table, err := vg.Table(lv, device); err == nil && vg.Plain(lv) && len(table) == 0 {
				t.Error("a plain volume without a table")
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add(disk(metadata, 512, 4096))
	f.Add(disk(metadata, 3000, 4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, vg, err := Read(bytes.NewReader(b)); vg == nil && err == nil {
			return
		}
	})
}

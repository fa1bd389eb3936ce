package host

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/dm"
	"ukdump/internal/lvm"
)

func TestRAIDParams(t *testing.T) {
	for _, tt := range []struct{ params, want, why string }{
		{"raid1 3 0 region_size 4096 2 254:0 254:1 254:2 254:3", "raid1 3 0 region_size 4096 2 254:0 254:1 254:2 254:3", ""},
		// Operations that would start again at each load.
		{"raid1 6 0 sync rebuild 1 region_size 4096 2 - - 254:2 254:3", "raid1 3 0 region_size 4096 2 - - 254:2 254:3", ""},
		{"raid5_ls 3 128 delta_disks 1 4 - - - - - - - -", "", "has a reshape in progress"},
		{"raid1", "", "unknown parameters"},
		{"raid1 9 0 2", "", "unknown parameters"},
		{"raid1 0 2", "", "unknown parameters"},
	} {
		got, why := raidParams(strings.Fields(tt.params))
		if strings.Join(got, " ") != tt.want || (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) {
			t.Errorf("%s: %v, %s", tt.params, got, why)
		}
	}
}

const thinGroup = `vg {
id = "u17QYp-6CYw-Zqwg-XtTP-KXVb-xhuG-qYiWut"
extent_size = 8
physical_volumes { pv0 { id = "P" pe_start = 2048 pe_count = 100 } }
logical_volumes {
data { id = "A" segment1 { start_extent = 0 extent_count = 10 type = "striped" stripes = ["pv0", 0] } }
pool { id = "B" segment1 { start_extent = 0 extent_count = 10 type = "thin-pool" metadata = "meta" pool = "data" } }
}
}
contents = "Text Format Volume Group"
`

func TestDescribe(t *testing.T) {
	vg, err := lvm.Parse(thinGroup)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		volume string
		table  []dm.Target
		want   VolumeDevice
		why    string
	}{
		{"A", []dm.Target{{Length: 80, Type: "linear", Params: "8:1 2048"}}, VolumeDevice{}, ""},
		// The metadata differ.
		{"A", []dm.Target{{Length: 80, Type: "linear", Params: "8:1 4096"}}, VolumeDevice{}, "outside of its volume group"},
		{"A", []dm.Target{{Length: 40, Type: "linear"}, {Start: 40, Length: 40, Type: "linear"}}, VolumeDevice{}, "does not match the metadata"},
		{"B", []dm.Target{{Length: 80, Type: "thin-pool", Params: "254:2 254:1 128 0 0"}},
			VolumeDevice{Type: "thin-pool", Params: "%1 %0 128 0 0", Layout: "thin-pool: metadata meta pool A"}, ""},
		// A part of a cache volume has a length of its own.
		{"B", []dm.Target{{Length: 16, Type: "linear", Params: "254:1 64"}},
			VolumeDevice{Type: "linear", Params: "%0 64", Length: 16, Layout: "thin-pool: metadata meta pool A"}, ""},
		// A member that is missing.
		{"B", []dm.Target{{Length: 80, Type: "raid", Params: "raid1 3 0 region_size 4096 2 254:2 254:1 254:9 254:1"}},
			VolumeDevice{Type: "raid", Params: "raid1 3 0 region_size 4096 2 %1 %0 - -", Layout: "thin-pool: metadata meta pool A"}, ""},
		{"B", []dm.Target{{Length: 80, Type: "vdo", Params: "V4 254:1"}}, VolumeDevice{}, "of the type vdo"},
	} {
		lv := vg.Volume("LVM-u17QYp6CYwZqwgXtTPKXVbxhuGqYiWut" + tt.volume)
		if lv == nil {
			t.Fatal(tt.volume)
		}
		var got VolumeDevice
		why := got.describe(vg, lv, tt.table, map[string]string{"P": "8:1"}, map[string]string{"254:1": "0", "254:2": "1", "254:9": ""})
		if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) || why == "" && got != tt.want {
			t.Errorf("%v: %+v, %s", tt.table, got, why)
		}
	}
}

func TestOnMissing(t *testing.T) {
	devices := map[string]string{"254:1": "0", "254:9": ""}
	for params, want := range map[string]bool{
		"error ": true, "linear 254:9 0": true, "linear 254:1 0": false, "linear 8:1 2048": false,
		"raid raid1 3 0 region_size 4096 2 254:1 254:1 254:9 254:9": false,
	} {
		typ, rest, _ := strings.Cut(params, " ")
		if got := onMissing([]dm.Target{{Type: "linear", Params: "254:1 8"}, {Type: typ, Params: rest}}, devices); got != want {
			t.Errorf("%s: %v", params, got)
		}
	}
}

func TestParseTable(t *testing.T) {
	got, err := parseTable("0 8 linear 8:1 2048\n8 8 error\n")
	want := []dm.Target{{Length: 8, Type: "linear", Params: "8:1 2048"}, {Start: 8, Length: 8, Type: "error"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"0 8", "x 8 linear", "0 -8 linear"} {
		if _, err := parseTable(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// A volume with a snapshot is never written to without that: both are in the
// stack, on whatever disks they are.
func TestSnapshotsInStack(t *testing.T) {
	const vg = "LVM-u17QYp6CYwZqwgXtTPKXVbxhuGqYiWut"
	virtual := "sys/devices/virtual/block/"
	files := map[string]string{}
	for i, d := range []struct{ uuid, holders, slaves string }{
		{vg + "A", "", "dm-1"},
		{vg + "A-real", "dm-0 dm-2", "vda"},
		{vg + "B", "", "dm-1 dm-3"},
		{vg + "B-cow", "dm-2", "vdb"},
	} {
		name := "dm-" + string(rune('0'+i))
		files[virtual+name+"/dev"] = "254:" + string(rune('0'+i)) + "\n"
		files[virtual+name+"/dm/uuid"] = d.uuid + "\n"
		for _, h := range strings.Fields(d.holders) {
			files[virtual+name+"/holders/"+h] = ""
		}
		for _, s := range strings.Fields(d.slaves) {
			files[virtual+name+"/slaves/"+s] = ""
		}
		files["sys/class/block/"+name] = "-> /sys/devices/virtual/block/" + name
	}
	for i, disk := range []string{"vda", "vdb"} {
		files["sys/devices/pci/"+disk+"/dev"] = "253:" + string(rune('0'+i)) + "\n"
		files["sys/class/block/"+disk] = "-> /sys/devices/pci/" + disk
	}
	h := machine(t, files)
	b, err := h.block("/sys/class/block/dm-0")
	if err != nil {
		t.Fatal(err)
	}
	stack, err := h.stack(b)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range stack {
		names = append(names, b.Name)
	}
	for _, want := range []string{"dm-0", "dm-1", "dm-2", "dm-3", "vda", "vdb"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s in %v", want, names)
		}
	}
	if names[0] != "dm-0" || slices.Index(names, "dm-2") > slices.Index(names, "dm-1") {
		t.Errorf("order %v", names)
	}
	for i := range stack {
		if got, want := stack[i].Hidden(stack), strings.HasPrefix(names[i], "dm-") && i > 0; got != want {
			t.Errorf("%s hidden: %v", names[i], got)
		}
	}
}

// physicalVolume is the beginning of one with that UUID, without its dashes, and
// the metadata of its group.
func physicalVolume(uuid, text string) string {
	le := binary.LittleEndian
	sum := func(b []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b) }
	b := make([]byte, 8192)
	s := b[512:1024]
	copy(s, "LABELONE")
	s[8], s[20] = 1, 32
	copy(s[24:], "LVM2 001"+uuid)
	le.PutUint64(s[72:], 4096) // the data, and after an end of the list the metadata
	le.PutUint64(s[104:], 4096)
	le.PutUint32(s[16:], sum(s[20:]))
	h := b[4096:]
	copy(h[4:], " LVM2 x[5A%r0N*>")
	h[20] = 1
	le.PutUint64(h[32:], 4096)
	le.PutUint64(h[40:], 512)
	le.PutUint64(h[48:], uint64(len(text)))
	le.PutUint32(h[56:], sum([]byte(text)))
	copy(h[512:], text)
	le.PutUint32(h, sum(h[4:512]))
	return string(b)
}

// A physical volume is known by its UUID, or its copy could be taken for it.
func TestVolume(t *testing.T) {
	const pv = "AAAAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGGGG"
	const dm0 = "sys/devices/virtual/block/dm-0"
	text := strings.Replace(thinGroup, `id = "P"`, `id = "`+pv+`"`, 1)
	h := machine(t, map[string]string{
		dm0 + "/dev": "254:0\n", dm0 + "/dm/name": "vg-data\n", dm0 + "/dm/table": "0 80 linear 8:0 2048\n",
		dm0 + "/dm/uuid": "LVM-u17QYp6CYwZqwgXtTPKXVbxhuGqYiWutA\n", dm0 + "/slaves/sda": "",
		"sys/class/block/dm-0": "-> ../../devices/virtual/block/dm-0",
		sda + "/dev":           "8:0\n", "sys/class/block/sda": "-> ../../../" + sda,
		"dev/sda": physicalVolume(strings.ReplaceAll(pv, "-", ""), text),
	})
	top, err := h.block("/sys/class/block/dm-0")
	if err != nil {
		t.Fatal(err)
	}
	stack, err := h.stack(top)
	if err != nil {
		t.Fatal(err)
	}
	v, err := h.Volume("/var/crash", stack, top)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(v.Members, []Member{{Name: "sda", ID: pv}}) || v.Name != "vg/data" || len(v.Devices) != 1 || v.Devices[0].Type != "" {
		t.Errorf("got %+v", v)
	}
}

package capture

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ukdump/internal/fsid"
	"ukdump/internal/lvm"
	"ukdump/internal/plan"
)

// freshInput makes members of bytes: a generation, a number and a bit for each active
// member take one byte each.
func freshInput(b []byte) (list []member) {
	seen := make(map[string]bool)
	for ; len(b) >= 3 && len(list) < 8; b = b[3:] {
		active := ""
		for n := range 8 {
			if b[2]>>n&1 == 1 {
				active += " " + strconv.Itoa(n)
			}
		}
		m := mdMember("sd"+string(rune('a'+len(list))), strconv.Itoa(int(b[1]%8)), uint64(int64(int8(b[0]))), strings.TrimSpace(active))
		if !seen[m.id.Member] { // belonging returns each once
			list = append(list, m)
		}
		seen[m.id.Member] = true
	}
	return list
}

// FuzzFresh chooses members of an array. The newest one is used, and only members that it
// counts as active, that count themselves, and that are at most one state behind it. The
// order in which the devices appeared does not matter.
func FuzzFresh(f *testing.F) {
	f.Add([]byte{7, 0, 3, 7, 1, 3})          // two members
	f.Add([]byte{8, 0, 3, 8, 1, 2})          // the second went on without the first
	f.Add([]byte{90, 0, 1, 20, 1, 2})        // diverged
	f.Add([]byte{255, 0, 3, 255, 1, 3})      // the highest number there is
	f.Add([]byte{255, 0, 3, 0, 1, 3})        // and the one that would follow it
	f.Add([]byte{7, 0, 3, 7, 1, 3, 7, 2, 3}) // a spare
	f.Add([]byte{7, 0, 7, 7, 1, 6, 7, 2, 5}) // each with another view
	f.Add([]byte{50, 0, 3, 70, 1, 6, 90, 2, 12, 90, 3, 12})
	f.Fuzz(func(t *testing.T, b []byte) {
		list := freshInput(b)
		use, err := fresh(list)
		if err != nil && use != nil {
			t.Errorf("%v, with %d members", err, len(use))
		}
		checkFresh(t, list, use)
		slices.Reverse(list)
		again, err2 := fresh(list)
		if (err == nil) != (err2 == nil) || !slices.Equal(sortedNames(use), sortedNames(again)) {
			t.Errorf("got %v, %v; in another order %v, %v", sortedNames(use), err, sortedNames(again), err2)
		}
	})
}

func checkFresh(t *testing.T, list, use []member) {
	t.Helper()
	for i, m := range use {
		switch newest := use[0].id; {
		case slices.ContainsFunc(use[:i], func(o member) bool { return o.name == m.name }):
			t.Errorf("%s is used twice", m.name)
		case !counts(newest, m.id) || !counts(m.id, m.id):
			t.Errorf("%s is not active", m.name)
		case m.id.Generation > newest.Generation || newest.Generation-m.id.Generation > 1:
			t.Errorf("%s has the state %d, the newest %d", m.name, m.id.Generation, newest.Generation)
		}
	}
	for _, m := range list {
		if len(use) > 0 && counts(m.id, m.id) && m.id.Generation > use[0].id.Generation {
			t.Errorf("%s is newer than %s", m.name, use[0].name)
		}
	}
}

func sortedNames(list []member) (names []string) {
	for _, m := range list {
		names = append(names, m.name)
	}
	slices.Sort(names)
	return names
}

const memberSize = 128 << 10 // of the devices of FuzzMembers, in bytes

// mdImage is a member of an array with version 1.2.
func mdImage(number, events, active byte) []byte {
	sb := make([]byte, 264)
	le := binary.LittleEndian
	le.PutUint32(sb, 0xa92b4efc)
	le.PutUint32(sb[4:], 1)
	sb[16] = 9
	le.PutUint64(sb[144:], 8)
	sb[160], sb[200] = number, events
	le.PutUint32(sb[220:], 4)
	for n := range 4 {
		role := uint16(0xfffe)
		if active>>n&1 == 1 {
			role = uint16(n)
		}
		le.PutUint16(sb[256+2*n:], role)
	}
	return sb
}

// bcacheImage is the superblock of a disk or a cache.
func bcacheImage(first byte) []byte {
	sb := make([]byte, 128)
	sb[8] = 8
	copy(sb[24:], "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")
	sb[40] = first
	return sb
}

// FuzzMembers chooses the members of an array, a btrfs or a bcache among three devices by
// the superblocks on them, of which the plan knows the first. Only devices with the UUID
// of the layer are used, each number once, whatever the superblocks say.
func FuzzMembers(f *testing.F) {
	btrfs := func(uuid, device, generation byte) []byte { return btrfsImage(uuid, device, generation)[64<<10:][:256] }
	f.Add(mdImage(0, 7, 3), mdImage(1, 7, 3), mdImage(1, 9, 2), byte(0))
	f.Add(mdImage(0, 7, 3), mdImage(0, 7, 3), mdImage(0, 255, 255), byte(0))
	f.Add(btrfs(9, 1, 5), btrfs(9, 2, 5), btrfs(9, 2, 250), byte(1))
	f.Add(btrfs(9, 1, 5), btrfs(8, 2, 5), btrfs(9, 1, 5), byte(1))
	f.Add(bcacheImage(9), bcacheImage(1), bcacheImage(9), byte(2))
	sys := f.TempDir()
	names := []string{"sda", "sdb", "sdc"}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(sys, name), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, name, "size"), []byte(strconv.Itoa(memberSize/512)), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, a, b, c []byte, kind byte) {
		l := &plan.Layer{Kind: []plan.LayerKind{plan.MD, plan.Btrfs, plan.Bcache}[kind%3], UUID: "09000000-0000-0000-0000-000000000000"}
		at := []int{4096, 64 << 10, 4096}[kind%3]
		s := &scan{sys: sys, seen: map[string]*seenDevice{}}
		for i, sb := range [][]byte{a, b, c} {
			img := make([]byte, memberSize)
			copy(img[at:at+4096], sb)
			d := &seenDevice{size: memberSize}
			d.id, d.err = fsid.Probe(bytes.NewReader(img), memberSize)
			s.seen[names[i]] = d
		}
		l.Members = []plan.Device{{Name: "sda", ID: s.seen["sda"].id.Member}, {Name: "sdb", ID: "another"}}
		for _, late := range []bool{false, true} {
			list := s.belonging(l, late)
			checkBelonging(t, s, l, list)
			use, err := fresh(list)
			if err == nil {
				checkFresh(t, list, use)
			}
		}
	})
}

func checkBelonging(t *testing.T, s *scan, l *plan.Layer, list []member) {
	t.Helper()
	typ := map[plan.LayerKind]string{plan.MD: "linux_raid_member", plan.Btrfs: "btrfs", plan.Bcache: "bcache"}[l.Kind]
	for i, m := range list {
		switch {
		case m.id.Type != typ:
			t.Errorf("%s is %s", m.name, m.id.Type)
		case m.id.UUID != l.UUID && (l.Kind != plan.Bcache || !knows(l, m.id.UUID)):
			t.Errorf("%s has the UUID %q", m.name, m.id.UUID)
		case slices.ContainsFunc(list[:i], func(o member) bool { return o.id.Member == m.id.Member }):
			t.Errorf("the member %q is there twice", m.id.Member)
		case l.Kind == plan.MD && !slices.Contains([]string{"", "0.90", "1.0", "1.1", "1.2"}, m.id.Version):
			t.Errorf("version %q", m.id.Version) // runMD reads it
		}
		for name, d := range s.seen { // the newest with that number
			if d.err == nil && d.id.Type == typ && d.id.UUID == m.id.UUID && d.id.Member == m.id.Member && d.id.Generation > m.id.Generation {
				t.Errorf("%s is newer than %s", name, m.name)
			}
		}
	}
}

const (
	volumeUUID = "LVM-u17QYp6CYwZqwgXtTPKXVbxhuGqYiWut" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	pvA, pvB   = "QLgjPA-0eHS-nzgB-vbCF-w4FA-i2Uk-VdkgrY", "ukvMmq-epSW-PcdV-8J5n-e758-mS5v-XNqAwU"
)

// FuzzGroup reads the metadata of a volume group from two physical volumes. The group is
// that of the volume, in its newest state, and every device has the UUID that was compared
// with the plan.
func FuzzGroup(f *testing.F) {
	text := func(id, seqno string) string {
		return "vg {\nid = \"" + id + "\"\nseqno = " + seqno + "\nextent_size = 8\nphysical_volumes {\npv0 {\nid = \"" + pvA + "\"\npe_start = 2048\npe_count = 9\n}\n}\n}\n" +
			"contents = \"Text Format Volume Group\"\n"
	}
	const id = "u17QYp-6CYw-Zqwg-XtTP-KXVb-xhuG-qYiWut"
	f.Add(text(id, "7"), text(id, "8"), pvA, pvB)
	f.Add(text(id, "7"), text("-", "99999"), pvA, pvB) // takes the place of any group
	f.Add(text(id, "7"), text("u", "99999"), pvA, pvB)
	f.Add(text(id, "7"), text(id, "18446744073709551615"), pvA, pvA)
	f.Add("", "damaged {", pvA, pvB)
	sys, dev := f.TempDir(), f.TempDir()
	for i, name := range []string{"sda", "sdb"} {
		dir := filepath.Join(sys, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			f.Fatal(err)
		}
		for file, content := range map[string]string{"size": "64\n", "dev": "8:" + strconv.Itoa(i) + "\n"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
				f.Fatal(err)
			}
		}
	}
	f.Fuzz(func(t *testing.T, a, b, pv0, pv1 string) {
		for name, img := range map[string][]byte{"sda": pvImage(pv0, a), "sdb": pvImage(pv1, b)} {
			if err := os.WriteFile(filepath.Join(dev, name), img, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w := testWorker(t)
		s := &scan{sys: sys, dev: dev, seen: map[string]*seenDevice{}}
		g := &group{pvs: make(map[string]string)}
		w.readGroup(g, s, &plan.Layer{Kind: plan.LVM, UUID: volumeUUID}, make(map[string]bool))
		for pv := range g.pvs {
			if pv != s.seen["sda"].id.UUID && pv != s.seen["sdb"].id.UUID {
				t.Errorf("a physical volume %q", pv)
			}
		}
		if g.VG == nil {
			return
		}
		if lvm.ID(strings.ReplaceAll(g.ID, "-", "")) != id {
			t.Errorf("the group %q", g.ID)
		}
		for _, text := range []string{a, b} {
			vg, err := lvm.Parse(text)
			if err == nil && vg.Owns(volumeUUID) && vg.Seqno > g.Seqno && pv0 != pv1 {
				t.Errorf("the state %d is newer than %d", vg.Seqno, g.Seqno)
			}
		}
	})
}

// pvImage is a physical volume with metadata of a group, with the right checksums.
func pvImage(pv, text string) []byte {
	const area, size = 4096, 28 << 10
	le := binary.LittleEndian
	b := make([]byte, area+size)
	label := b[512:1024]
	copy(label, "LABELONE")
	le.PutUint64(label[8:], 1)
	le.PutUint32(label[20:], 32)
	copy(label[24:32], "LVM2 001")
	copy(label[32:64], strings.ReplaceAll(pv, "-", ""))
	le.PutUint64(label[88:], area) // behind the empty list of data areas
	le.PutUint64(label[96:], size)
	le.PutUint32(label[16:], lvmSum(label[20:]))
	text = text[:min(len(text), size-512)]
	h := b[area : area+512]
	copy(h[4:], " LVM2 x[5A%r0N*>")
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], area)
	le.PutUint64(h[32:], size)
	le.PutUint64(h[40:], 512)
	le.PutUint64(h[48:], uint64(len(text)))
	le.PutUint32(h[56:], lvmSum([]byte(text)))
	le.PutUint32(h, lvmSum(h[4:]))
	copy(b[area+512:], text)
	return b
}

// lvmSum is LVM2's checksum, lib/misc/crc.c.
func lvmSum(b []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b) }

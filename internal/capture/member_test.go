package capture

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// mdMember is a member of an array, as the superblock on a device says.
func mdMember(name, number string, events uint64, active string) member {
	id := &fsid.ID{Type: "linux_raid_member", Member: number, Generation: events, Version: "1.2"}
	if active != "" {
		id.Active, id.Members = " "+active+" ", uint64(len(strings.Fields(active)))
	}
	return member{name: name, id: id}
}

func TestFresh(t *testing.T) {
	btrfs := func(name string, generation uint64) member {
		return member{name: name, id: &fsid.ID{Type: "btrfs", Member: name, Generation: generation, Members: 2}}
	}
	for _, tt := range []struct {
		name string
		list []member
		want string // names, or the error if that has blanks
	}{
		{"nothing", nil, ""},
		{"all", []member{mdMember("a", "0", 7, "0 1"), mdMember("b", "1", 7, "0 1")}, "a,b"},
		{"a crash between two superblocks", []member{mdMember("a", "0", 7, "0 1"), mdMember("b", "1", 8, "0 1")}, "b,a"},
		{"one alone", []member{mdMember("b", "1", 8, "0 1")}, "b"},
		{"stale", []member{mdMember("a", "0", 7, "0 1"), mdMember("b", "1", 20, "1")}, "b"},
		{"stale, with the same events", []member{mdMember("b", "1", 8, "1"), mdMember("a", "0", 8, "0 1")}, "b"},
		{"stale although the newest does not know", []member{mdMember("a", "0", 7, "0 1"), mdMember("b", "1", 20, "0 1")}, "b"},
		{"spare", []member{mdMember("a", "0", 7, "0 1"), mdMember("b", "1", 7, "0 1"), mdMember("c", "2", 7, "0 1")}, "a,b"},
		{"spare alone", []member{mdMember("c", "2", 7, "0 1")}, ""},
		{"two spares", []member{mdMember("c", "2", 7, "0"), mdMember("d", "3", 7, "0"), mdMember("a", "0", 7, "0")}, "a"},
		{"no roles at all", []member{mdMember("a", "0", 7, "")}, ""},
		{"split brain", []member{mdMember("a", "0", 90, "0"), mdMember("b", "1", 20, "1")}, "a and b have diverged: both were written to independently"},
		{"split brain of three", []member{mdMember("a", "0", 90, "0 2"), mdMember("b", "1", 20, "1"), mdMember("c", "2", 90, "0 2")}, "a and b have diverged: both were written to independently"},
		{"failed before a spare took its place", []member{mdMember("a", "0", 90, "0 2"), mdMember("b", "1", 50, "0 1"), mdMember("c", "2", 90, "0 2")}, "a,c"},
		{"two disks replaced, one after the other", []member{mdMember("a", "0", 50, "0 1"), mdMember("b", "1", 70, "1 2"), mdMember("c", "2", 90, "2 3"), mdMember("d", "3", 90, "2 3")}, "c,d"},
		{"number 1 is not 11", []member{mdMember("a", "1", 7, "11 12"), mdMember("b", "11", 7, "11 12")}, "b"},
		{"btrfs", []member{btrfs("a", 7), btrfs("b", 8)}, "b,a"},
		{"btrfs, stale", []member{btrfs("a", 6), btrfs("b", 8)}, "b"},
	} {
		use, err := fresh(tt.list)
		var names []string
		for _, m := range use {
			names = append(names, m.name)
		}
		got := strings.Join(names, ",")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want && (!strings.Contains(tt.want, " ") || !strings.HasPrefix(reorder(got), tt.want)) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// reorder puts the two names of a split brain in the order of the alphabet.
func reorder(s string) string {
	if rest, ok := strings.CutPrefix(s, "b and a "); ok {
		return "a and b " + rest
	}
	return s
}

// btrfsImage is a device of a btrfs with two.
func btrfsImage(uuid, device byte, generation byte) []byte {
	b := make([]byte, 128<<10)
	sb := b[64<<10:]
	copy(sb[64:], "_BHRfS_M")
	sb[32], sb[267], sb[72], sb[136] = uuid, device, generation, 2
	sb[50] = 1 // its own place: 64 KiB
	return b
}

func TestGather(t *testing.T) {
	uuid := func(first string) string { return first + "000000-0000-0000-0000-000000000000" }
	for _, tt := range []struct {
		name    string
		devices map[string][]byte
		known   []string // first bytes of the members of build time, in hexadecimal; "" for one that could not be read
		want    string
		whole   bool
	}{
		{"both", map[string][]byte{"sda": btrfsImage(9, 1, 5), "sdb": btrfsImage(9, 2, 5)}, []string{"01", "02"}, "sda,sdb", true},
		{"another file system", map[string][]byte{"sda": btrfsImage(9, 1, 5), "sdb": btrfsImage(8, 2, 5)}, []string{"01", "02"}, "sda", false},
		{"missing at build time", map[string][]byte{"sda": btrfsImage(9, 1, 5)}, []string{"01"}, "sda", false},
		{"back since", map[string][]byte{"sda": btrfsImage(9, 1, 9), "sdb": btrfsImage(9, 2, 5)}, []string{"01"}, "sda", false},
		{"only a stale member", map[string][]byte{"sdb": btrfsImage(9, 2, 5)}, []string{"01"}, "sdb was stale when the image was built, and no other member appeared", false},
		{"added since", map[string][]byte{"sda": btrfsImage(9, 1, 5), "sdc": btrfsImage(9, 3, 5)}, []string{"01", "02"}, "sda,sdc", true},
		{"a copy", map[string][]byte{"sda": btrfsImage(9, 1, 5), "sdb": btrfsImage(9, 2, 5), "sdc": btrfsImage(9, 2, 5)}, []string{"01", "02"}, "sda,sdb", true},
		{"could not be read", map[string][]byte{"sda": btrfsImage(9, 1, 5), "sdb": btrfsImage(9, 2, 5)}, []string{"", ""}, "sda,sdb", true},
		{"none", nil, []string{"01", "02"}, "no member appeared", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := testWorker(t)
			w.plan.Deadlines.Device = 0
			s := &scan{sys: t.TempDir(), dev: t.TempDir(), seen: map[string]*seenDevice{}}
			for name, data := range tt.devices {
				if err := os.Mkdir(filepath.Join(s.sys, name), 0o755); err != nil {
					t.Fatal(err)
				}
				os.WriteFile(filepath.Join(s.sys, name, "size"), []byte("256\n"), 0o644)
				os.WriteFile(filepath.Join(s.dev, name), data, 0o644)
			}
			l := &plan.Layer{Kind: plan.Btrfs, Name: "btrfs", UUID: uuid("09"), Missing: 2 - len(tt.known)}
			for i, k := range tt.known {
				d := plan.Device{Name: []string{"sda", "sdb"}[i]}
				if k != "" {
					d.ID = uuid(k)
				}
				l.Members = append(l.Members, d)
			}
			use, whole, err := w.gather(s, l)
			var names []string
			for _, m := range use {
				names = append(names, m.name)
			}
			got := strings.Join(names, ",")
			if err != nil {
				got = err.Error()
			}
			if got != tt.want || whole != tt.whole {
				t.Errorf("got %q, %t; want %q, %t", got, whole, tt.want, tt.whole)
			}
		})
	}
}

// A device that the device-mapper holds is a path of the mapped device.
func TestBelongingHeld(t *testing.T) {
	s := &scan{sys: t.TempDir(), dev: t.TempDir(), seen: map[string]*seenDevice{}}
	for name, holder := range map[string]string{"sda": "dm-0", "dm-0": "md127", "sdb": "md127"} {
		os.MkdirAll(filepath.Join(s.sys, name, "holders", holder), 0o755)
		s.seen[name] = &seenDevice{size: 512, id: fsid.ID{Type: "linux_raid_member", UUID: "u", Member: name}}
		os.WriteFile(filepath.Join(s.sys, name, "size"), []byte("1\n"), 0o644)
	}
	var got []string
	for _, m := range s.belonging(&plan.Layer{Kind: plan.MD, UUID: "u"}, false) {
		got = append(got, m.name+" in "+m.holder)
	}
	if g := strings.Join(got, ", "); g != "dm-0 in md127, sdb in md127" {
		t.Errorf("got %s", g)
	}
}

package capture

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// aDisk is a disk with one partition, a GPT in sectors of that size, and an ext4.
type aDisk struct {
	name, place string // kernel name; below /sys/devices
	sector      int
	guid        byte   // of the partition
	uuid        byte   // of the file system
	serial      string // or naa. and the wwid, of one without a serial number
}

// machineWith makes /sys and /dev of disks and returns a scan of them.
func machineWith(t *testing.T, disks ...aDisk) *scan {
	t.Helper()
	root := t.TempDir()
	sys, dev := filepath.Join(root, "sys/class/block"), filepath.Join(root, "dev")
	write := func(name, data string) {
		t.Helper()
		os.MkdirAll(filepath.Dir(name), 0o755)
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range disks {
		part := d.name + "1"
		dir := filepath.Join("devices", d.place, "block", d.name)
		for name, below := range map[string]string{d.name: dir, part: filepath.Join(dir, part)} {
			os.MkdirAll(sys, 0o755)
			if err := os.Symlink("../../"+below, filepath.Join(sys, name)); err != nil {
				t.Fatal(err)
			}
		}
		at := filepath.Join(root, "sys", dir)
		table, fs := gptDisk(d.sector, d.guid), ext4Image([16]byte{d.uuid})
		write(filepath.Join(at, "size"), fmt.Sprintln(len(table)/512))
		if wwid, ok := strings.CutPrefix(d.serial, "naa."); ok {
			write(filepath.Join(at, "device/wwid"), wwid+"\n")
		} else {
			write(filepath.Join(at, "serial"), d.serial+"\n")
		}
		write(filepath.Join(at, "queue/logical_block_size"), fmt.Sprintln(d.sector))
		write(filepath.Join(at, part, "size"), fmt.Sprintln(len(fs)/512))
		write(filepath.Join(at, part, "partition"), "1\n")
		if d.guid == 0 { // the content of the partition
			table, fs = fs, make([]byte, len(fs))
		}
		write(filepath.Join(dev, d.name), string(table))
		write(filepath.Join(dev, part), string(fs))
	}
	return &scan{sys: sys, dev: dev, seen: map[string]*seenDevice{}}
}

// gptDisk is the beginning of a disk with one partition (UEFI 5.3).
func gptDisk(sector int, guid byte) []byte {
	b := make([]byte, 16*sector)
	b[446+4], b[510], b[511] = 0xee, 0x55, 0xaa
	entries := b[2*sector:][:128]
	entries[0], entries[16] = 1, guid
	h := b[sector:]
	copy(h, "EFI PART")
	le := binary.LittleEndian
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[24:], 1)
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], 1)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	return b
}

// The target was made when its disk was vda, the first virtio disk.
var copied = plan.Target{
	Filesystem: plan.Filesystem{Type: "ext4", UUID: "07000000-0000-0000-0000-000000000000"},
	Device: plan.Device{
		Name: "vda1", Path: "pci0/virtio0/block/vda/vda1",
		PartUUID: "00000009-0000-0000-0000-000000000000", Serial: "A",
	},
}

func TestCopies(t *testing.T) {
	const first, second, third = "pci0/virtio0", "pci0/virtio1", "pci0/virtio2"
	noSerial := copied
	noSerial.Device.Serial = ""
	raw := noSerial
	raw.Kind, raw.Filesystem = plan.Raw, plan.Filesystem{}
	layered := copied
	layered.Layers = []plan.Layer{{Kind: plan.Btrfs}}
	for _, tt := range []struct {
		name    string
		target  plan.Target
		disks   []aDisk
		want    string
		sure    bool
		several string
		others  string
	}{
		{"as it was", copied, []aDisk{{"vda", first, 512, 9, 7, "A"}}, "vda1", true, "", ""},
		{"of 4096 bytes a sector", copied, []aDisk{{"vda", first, 4096, 9, 7, "A"}}, "vda1", true, "", ""},
		{"names changed", copied, []aDisk{{"vda", first, 512, 8, 6, "B"}, {"vdb", second, 512, 9, 7, "A"}}, "vdb1", true, "", ""},
		{"another kind of disk now", copied, []aDisk{{"sda", "ata1/host0", 512, 9, 7, "A"}}, "sda1", true, "", ""},
		{"elsewhere, without a serial number", copied, []aDisk{{"vdb", second, 512, 9, 7, ""}}, "vdb1", false, "", ""},
		{"in its place, without a serial number", copied, []aDisk{{"vda", first, 512, 9, 7, ""}}, "vda1", true, "", ""},
		{"clone in its place", copied, []aDisk{{"vda", first, 512, 9, 7, "B"}, {"vdb", second, 512, 9, 7, "A"}}, "vdb1", true, "", "vda1 (serial number of vda: B, not A)"},
		{"clone alone", copied, []aDisk{{"vda", first, 512, 9, 7, "B"}}, "", false, "", "vda1 (serial number of vda: B, not A)"},
		{"copy of the partition alone", copied, []aDisk{{"vda", first, 4096, 8, 7, ""}}, "", false, "", "vda1 (PARTUUID 00000008-0000-0000-0000-000000000000, not 00000009-0000-0000-0000-000000000000)"},
		{"copy of the partition, and the target", noSerial, []aDisk{{"vda", second, 512, 8, 7, ""}, {"vdb", third, 512, 9, 7, ""}}, "vdb1", false, "", "vda1 (PARTUUID 00000008-0000-0000-0000-000000000000, not 00000009-0000-0000-0000-000000000000)"},
		{"clones, one in its place", noSerial, []aDisk{{"vdb", second, 512, 9, 7, ""}, {"vda", first, 512, 9, 7, ""}}, "vda1", true, "", ""},
		{"clones, none in its place", noSerial, []aDisk{{"vdb", second, 512, 9, 7, ""}, {"vdc", third, 512, 9, 7, ""}}, "", false, "vdb1, vdc1", ""},
		{"raw clones, none in its place", raw, []aDisk{{"vdb", second, 512, 9, 7, ""}, {"vdc", third, 512, 9, 7, ""}}, "", false, "vdb1, vdc1", ""},
		{"paths to one disk", noSerial, []aDisk{{"sdb", second, 512, 9, 7, "naa.1"}, {"sdc", third, 512, 9, 7, "naa.1"}}, "sdb1", false, "", ""},
		{"no paths to one disk", noSerial, []aDisk{{"sdb", second, 512, 9, 7, "naa.1"}, {"sdc", third, 512, 9, 7, "naa.2"}}, "", false, "sdb1, sdc1", ""},
		{"the whole disk shows it", copied, []aDisk{{"vda", first, 512, 0, 7, "A"}}, "", false, "", "vda (not a partition)"},
		{"assembled", layered, []aDisk{{"vdb", second, 512, 8, 7, "B"}}, "vdb1", true, "", ""},
	} {
		s := machineWith(t, tt.disks...)
		for range 2 { // the second time it goes by its memory
			name, sure := s.find(&tt.target)
			if name != tt.want || sure != tt.sure || s.several != tt.several || s.copies() != tt.others {
				t.Errorf("%s: got %q, sure %v, several %q, others %q", tt.name, name, sure, s.several, s.copies())
			}
		}
		if list := s.String(); tt.others != "" && !strings.Contains(list, "a copy") {
			t.Errorf("%s: described as %s", tt.name, list)
		}
	}
}

// members are those of a layer: a disk and a partition.
var members = plan.Layer{Kind: plan.MD, UUID: "u", Members: []plan.Device{
	{ID: "0", Name: "vda1", Path: "pci0/virtio0/block/vda/vda1", PartUUID: "00000009-0000-0000-0000-000000000000", Serial: "A"},
	{ID: "1", Name: "vdb1", Path: "pci0/virtio1/block/vdb/vdb1", PartUUID: "00000009-0000-0000-0000-000000000000"},
}}

// A copy of a member is not taken for it.
func TestTakes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		disk      aDisk
		device    string
		id        string
		now, late bool // is taken at once, at the end
	}{
		{"as it was", aDisk{"vda", "pci0/virtio0", 512, 9, 7, "A"}, "vda1", "0", true, true},
		{"renamed", aDisk{"sda", "host0", 512, 9, 7, "A"}, "sda1", "0", true, true},
		{"on another disk", aDisk{"vda", "pci0/virtio0", 512, 9, 7, "B"}, "vda1", "0", false, true},
		{"another partition", aDisk{"vda", "pci0/virtio0", 512, 8, 7, "A"}, "vda1", "0", false, true},
		{"the whole disk", aDisk{"vda", "pci0/virtio0", 512, 9, 7, "A"}, "vda", "0", false, false},
		{"in its place, without a serial number", aDisk{"vdb", "pci0/virtio1", 512, 9, 7, ""}, "vdb1", "1", true, true},
		{"elsewhere, without a serial number", aDisk{"vdc", "pci0/virtio2", 512, 9, 7, ""}, "vdc1", "1", false, false},
		{"new", aDisk{"vdc", "pci0/virtio2", 512, 8, 7, "C"}, "vdc1", "2", true, true},
	} {
		s := machineWith(t, tt.disk)
		s.begun = uptime()
		s.device(tt.device, false)
		s.device(tt.disk.name, false)
		for _, late := range []bool{false, true} {
			want := tt.now
			if late {
				want = tt.late
			}
			if got := s.takes(tt.device, tt.id, &members, late); got != want {
				t.Errorf("%s, late %v: got %v", tt.name, late, got)
			}
		}
		if s.begun -= 2 * settleTime; tt.id == "1" && !s.takes(tt.device, tt.id, &members, false) {
			t.Errorf("%s: not taken after the settle time", tt.name)
		}
	}
}

// Where a layer lies on one that was assembled, only that will do: a leg of a
// mirror shows the same. A multipath device is not assembled in here.
func TestTakesAssembled(t *testing.T) {
	l := plan.Layer{Kind: plan.Crypt, UUID: "u", Members: []plan.Device{
		{ID: "u", Name: "dm-6", Path: "virtual/block/dm-6"},
		{ID: "m", Name: "dm-7", Serial: "A"},
		{ID: "n", Name: "dm-8"},
	}}
	s := machineWith(t, aDisk{"dm-1", "virtual0", 512, 0, 7, ""}, aDisk{"dm-4", "virtual1", 512, 9, 7, ""}, aDisk{"sda", "host0", 512, 0, 7, "A"})
	for _, name := range []string{"dm-1", "dm-4", "dm-41", "sda"} {
		s.device(name, false)
	}
	s.made = []string{"dm-4"}
	for name, want := range map[string]bool{"dm-1": false, "dm-4": true, "dm-41": true} {
		if s.takes(name, "u", &l, true) != want {
			t.Errorf("%s: taken is %v", name, !want)
		}
	}
	if !s.takes("sda", "m", &l, false) {
		t.Error("a path of a multipath device is not taken")
	}
	if s.begun -= 2 * settleTime; !s.takes("sda", "n", &l, false) {
		t.Error("a path of one without a serial number is not taken")
	}
}

// The superblock at the end of a disk, that of metadata 0.90, is seen in the disk
// and in its last partition.
func TestBelongingOnce(t *testing.T) {
	for _, known := range []bool{true, false} {
		s := machineWith(t, aDisk{"vdc", "pci0/virtio2", 512, 9, 7, ""})
		for _, name := range []string{"vdc", "vdc1"} {
			s.device(name, false)
			d := s.seen[name]
			d.err, d.id.Type, d.id.UUID, d.id.Member = nil, "linux_raid_member", "u", "1"
		}
		l := members
		if !known { // the disk was added after the image was built
			l.Members = l.Members[:1]
		}
		if list := s.belonging(&l, true); len(list) != 1 || list[0].name != "vdc1" {
			t.Errorf("known %v: got %+v", known, list)
		}
	}
}

// A machine with thousands of disks does not get reports of their size.
func TestScanString(t *testing.T) {
	s := &scan{seen: map[string]*seenDevice{}}
	for i := range mostListed + 7 {
		s.seen[fmt.Sprintf("sd%03d", i)] = &seenDevice{id: fsid.ID{Type: "crypto_LUKS", UUID: "\x1b[2J"}}
	}
	got := s.String()
	if strings.Count(got, "sd") != mostListed || !strings.HasSuffix(got, ", and 7 more") || strings.Contains(got, "\x1b") {
		t.Errorf("got %q", got)
	}
}

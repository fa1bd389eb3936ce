package host

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ukdump/internal/fsid"
	"ukdump/internal/rawdump"
	"ukdump/internal/target"
)

const (
	sda2     = sda + "/sda2"
	dm0      = "sys/devices/virtual/block/dm-0"
	swapUUID = "01020304-0506-0708-090a-0b0c0d0e0f10"
	swapLine = "/dev/sda2 partition 131068 0 -2\n"
)

// swapSpace is the first MiB of a swap partition (include/linux/swap.h).
func swapSpace() string {
	b := make([]byte, 1<<20)
	b[1024] = 1
	for i := range 16 {
		b[1024+12+i] = byte(i + 1)
	}
	copy(b[4096-10:], "SWAPSPACE2")
	b[8192] = 1 // a page that was swapped out
	return string(b)
}

// divided is a machine with its root on sda1 and a free partition sda2 of 128
// MiB that holds content.
func divided(content string, more map[string]string) map[string]string {
	files := disk("ext4", "rw", sda, map[string]string{
		"proc/self/mountinfo":   "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n",
		"proc/swaps":            "Filename Type Size Used Priority\n",
		sda + "/size":           "2097152\n",
		sda + "/sda1/dev":       "8:1\n",
		sda + "/sda1/size":      "1048576\n",
		sda + "/sda1/uevent":    "DEVNAME=sda1\n",
		sda + "/sda1/partition": "1\n",
		sda2 + "/dev":           "8:2\n",
		sda2 + "/size":          "262144\n",
		sda2 + "/partition":     "2\n",
		sda2 + "/ro":            "0\n",
		sda2 + "/uevent":        "DEVNAME=sda2\n",
		"sys/class/block/sda":   "-> ../../../" + sda,
		"sys/class/block/sda1":  "-> ../../../" + sda + "/sda1",
		"sys/class/block/sda2":  "-> ../../../" + sda2,
		"run/udev/data/b8:0":    "S:disk/by-id/x\n",
		"run/udev/data/b8:1":    "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=the-root\nE:ID_PART_ENTRY_UUID=the-first\n",
		"run/udev/data/b8:2":    "E:ID_PART_ENTRY_UUID=The-Second\n",
		"dev/sda2":              content,
	})
	maps.Copy(files, more)
	return files
}

// dumpOn returns a device with a dump where content was. Only its head is there.
func dumpOn(t *testing.T, content string) string {
	t.Helper()
	const size = 128 << 20
	f, err := os.Create(filepath.Join(t.TempDir(), "device"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	held, err := fsid.Probe(f, size)
	if err != nil && !errors.Is(err, fsid.ErrUnknown) {
		t.Fatal(err)
	}
	w, err := rawdump.Create(f, size, rawdump.Header{ID: "one", Held: held})
	if err == nil {
		err = w.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 16<<20)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	return string(head)
}

func zeros() string { return strings.Repeat("\x00", 1<<20) }

func TestRaw(t *testing.T) {
	for _, tt := range []struct {
		name, target string
		overwrite    bool
		files        map[string]string
		want         string // type UUID PARTUUID
	}{
		{"swap in use", "raw:swap", false, divided(swapSpace(), map[string]string{"proc/swaps": swapLine}), "swap " + swapUUID + " the-second"},
		{"swap off", "raw:/dev/sda2", false, divided(swapSpace(), nil), "swap " + swapUUID + " the-second"},
		{"swap seen by udev only", "raw:swap", false, func() map[string]string {
			files := divided("", map[string]string{"proc/swaps": swapLine, "run/udev/data/b8:2": "E:ID_FS_TYPE=swap\nE:ID_FS_UUID=x\n"})
			delete(files, "dev/sda2")
			return files
		}(), "swap x "},
		{"blank", "raw:/dev/sda2", false, divided(zeros(), nil), "  the-second"},
		{"by PARTUUID", "raw:PARTUUID=THE-second", false, divided(zeros(), nil), "  the-second"},
		{"by PARTUUID, a hidden disk before it", "raw:PARTUUID=the-second", false, divided(zeros(), hidden), "  the-second"},
		{"swap of fstab, a hidden disk before it", "raw:swap", false, divided(swapSpace(), with(hidden,
			"etc/fstab", "UUID="+swapUUID+" none swap sw 0 0\n")), "swap " + swapUUID + " the-second"},
		{"by UUID", "raw:UUID=" + swapUUID, false, divided(swapSpace(), nil), "swap " + swapUUID + " the-second"},
		{"by UUID of udev", "raw:UUID=the-swap", false, divided(swapSpace(), map[string]string{
			"run/udev/data/b8:2": "E:ID_FS_UUID=the-swap\n"}), "swap " + swapUUID + " "},
		{"by a link", "raw:/dev/disk/x", false, divided(zeros(), map[string]string{"dev/disk/x": "-> ../sda2"}), "  the-second"},
		{"PARTUUID of the kernel", "raw:/dev/sda2", false, divided(zeros(), map[string]string{
			"run/udev/data/b8:2": "", sda2 + "/uevent": "DEVNAME=sda2\nPARTUUID=00-02\n"}), "  00-02"},
		{"overwrite ext4", "raw:/dev/sda2", true, divided(ext4(8), nil), "ext4 01000000-0000-0000-0000-000000000000 the-second"},
		{"overwrite something", "raw:/dev/sda2", true, divided(strings.Repeat("x", 1<<20), nil), "  the-second"},
		{"first swap is a file", "raw:swap", false, divided(swapSpace(), map[string]string{
			"proc/swaps": "/swap\\040file file 1 0 -2\n" + swapLine}), "swap " + swapUUID + " the-second"},
		{"swap of fstab that is off", "raw:swap", false, divided(swapSpace(), map[string]string{
			"etc/fstab": "# swap\nUUID=" + swapUUID + " none swap sw 0 0\n"}), "swap " + swapUUID + " the-second"},
		{"swap of fstab by label", "raw:swap", false, divided(swapSpace(), map[string]string{
			"etc/fstab": "LABEL=my\\040swap none swap sw\n", `dev/disk/by-label/my\x20swap`: "-> ../../sda2"}), "swap " + swapUUID + " the-second"},
		{"dump on what was swap, found by its UUID", "raw:swap", false, divided(dumpOn(t, swapSpace()), map[string]string{
			"etc/fstab": "UUID=" + swapUUID + " none swap sw\n"}), "swap " + swapUUID + " the-second"},
		{"dump on what was blank", "raw:/dev/sda2", false, divided(dumpOn(t, zeros()), nil), "  the-second"},
		{"logical volume whose node is no link", "raw:swap", false, divided("", map[string]string{
			"etc/fstab": "/dev/mapper/vg-swap none swap sw\n", "dev/mapper/vg-swap": "", "dev/dm-0": swapSpace(),
			"sys/class/block/dm-0": "-> ../../../" + dm0, dm0 + "/dev": "253:0\n", dm0 + "/size": "262144\n", dm0 + "/dm/name": "vg-swap\n",
			dm0 + "/dm/uuid": "LVM-x\n", dm0 + "/slaves/sda2": "-> ../../../../../" + strings.TrimPrefix(sda2, "sys/devices/")}), "swap " + swapUUID + " "},
		{"partition of a multipath device", "raw:/dev/dm-1", false, divided("", map[string]string{
			"dev/dm-1": swapSpace(), "sys/class/block/dm-0": "-> ../../../" + dm0, dm0 + "/dev": "253:0\n", dm0 + "/dm/name": "mpatha\n", dm0 + "/dm/uuid": "mpath-x\n",
			dm0 + "/slaves/sda": "-> ../../../../../" + strings.TrimPrefix(sda, "sys/devices/"), "sys/class/block/dm-1": "-> ../../../sys/devices/virtual/block/dm-1",
			"sys/devices/virtual/block/dm-1/dev": "253:1\n", "sys/devices/virtual/block/dm-1/size": "262144\n", "sys/devices/virtual/block/dm-1/dm/uuid": "part2-mpath-x\n",
			"sys/devices/virtual/block/dm-1/slaves/dm-0": "-> ../../dm-0"}), "swap " + swapUUID + " "},
		{"whole disk with swap", "raw:swap", false, disk("ext4", "rw", sda, map[string]string{
			"proc/self/mountinfo": "1 0 9:1 / / rw - ext4 /dev/sdb1 rw\n", "proc/swaps": "/dev/sda partition 1 0 -2\n",
			"sys/class/block/sda": "-> ../../../" + sda, sda + "/size": "262144\n", "dev/sda": swapSpace()}), "swap " + swapUUID + " "},
	} {
		r, err := machine(t, tt.files).Raw(parsed(t, tt.target), tt.overwrite)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := r.Type + " " + r.UUID + " " + r.PartUUID; got != tt.want || r.Target != tt.target || len(r.Devices) == 0 || r.Dump != strings.HasPrefix(tt.name, "dump on ") {
			t.Errorf("%s: got %q, want %q: %+v", tt.name, got, tt.want, r)
		}
	}
}

// more returns files from names and contents in turn, with adds such to others.
func more(list ...string) map[string]string { return with(nil, list...) }

func with(files map[string]string, list ...string) map[string]string {
	m := make(map[string]string)
	maps.Copy(m, files)
	for i := 0; i < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

// hidden is a path below an NVMe disk with multipath, and a disk that was unplugged.
var hidden = more("sys/class/block/nvme0c0n1", "-> ../../../"+sda+"/nvme0c0n1", sda+"/nvme0c0n1/hidden", "1\n", sda+"/nvme0c0n1/size", "262144\n",
	"sys/class/block/gone", "-> ../../../sys/devices/gone")

func TestRawRefusals(t *testing.T) {
	dm := more("sys/class/block/dm-0", "-> ../../../"+dm0, dm0+"/dev", "253:0\n", dm0+"/size", "262144\n", dm0+"/dm/name", "vg-x\n",
		sda2+"/holders/dm-0", "-> ../../../../../../../virtual/block/dm-0")
	for _, tt := range []struct {
		name, target string
		files        map[string]string
		always       bool // also with overwrite
		want         string
	}{
		{"root", "raw:/dev/sda1", divided(zeros(), nil), true, "raw:/dev/sda1: sda1: a file system on it is mounted on /"},
		{"mounted, by source", "raw:/dev/sda2", divided(zeros(), more("proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:40 / /m rw - btrfs /dev/sda2 rw\n")),
			true, "raw:/dev/sda2: sda2: a file system on it is mounted on /m"},
		{"second device of a btrfs", "raw:/dev/sda2", divided(zeros(), more("sys/fs/btrfs/the-uuid/devices/sda2", "-> x")), true, "sda2: part of the mounted btrfs the-uuid"},
		{"mounted above", "raw:/dev/sda2", divided(zeros(), with(dm, "proc/self/mountinfo", "1 0 253:0 / / rw - ext4 /dev/mapper/x rw\n")), true,
			"sda2: a file system on it is mounted on /"},
		{"held", "raw:/dev/sda2", divided(zeros(), dm), true, "raw:/dev/sda2: sda2: part of vg-x (dm-0)"},
		{"held in a circle", "raw:/dev/sda2", divided(zeros(), with(dm, dm0+"/holders/dm-0", "-> .")), true, "the devices in /sys are made of each other"},
		{"ext4", "raw:/dev/sda2", divided(ext4(8), nil), false, "raw:/dev/sda2: sda2: it holds ext4"},
		{"hibernated system", "raw:/dev/sda2", divided(strings.Replace(swapSpace(), "SWAPSPACE2", "S1SUSPEND\x00", 1), nil), false, "sda2: it holds a hibernated system"},
		{"something", "raw:/dev/sda2", divided(zeros()[1:]+"x", nil), false, "raw:/dev/sda2: sda2: it holds data of an unknown kind"},
		{"disk with partitions", "raw:/dev/sda", divided(zeros(), nil), true, "raw:/dev/sda: sda: a whole disk with partitions"},
		{"blank disk", "raw:/dev/sda", disk("ext4", "rw", sda, more("proc/self/mountinfo", "1 0 9:1 / / rw - ext4 /dev/sdb1 rw\n",
			"sys/class/block/sda", "-> ../../../"+sda, sda+"/size", "262144\n", "dev/sda", zeros())), true, "sda: a whole disk without swap on it"},
		{"read-only", "raw:/dev/sda2", divided(zeros(), more(sda2+"/ro", "1\n")), true, "raw:/dev/sda2: sda2: read-only"},
		{"small", "raw:/dev/sda2", divided(zeros(), more(sda2+"/size", "131071\n")), true, "raw:/dev/sda2: sda2: 65535 KiB, but a dump needs at least 64 MiB"},
		{"without identity", "raw:/dev/sda2", divided(zeros(), more("run/udev/data/b8:2", "")), true, "sda2: neither a PARTUUID nor a UUID"},
		{"device mapper", "raw:/dev/dm-0", divided(zeros(), dm), true, "storage of raw:/dev/dm-0: device-mapper device vg-x (dm-0) is not supported"},
		{"encrypted", "raw:/dev/dm-0", divided(zeros(), with(dm, dm0+"/dm/uuid", "CRYPT-PLAIN-x\n")), true,
			"dm-crypt volume vg-x (dm-0) is not supported: its key is lost with the kernel that crashes"},
		{"no such device", "raw:/dev/sdz9", divided(zeros(), nil), true, "raw:/dev/sdz9: no block device is called /dev/sdz9"},
		{"link to no device", "raw:/dev/x", divided(zeros(), more("dev/x", "-> ../etc/x")), true, `raw:/dev/x: "/dev/x" is not a device`},
		{"no such PARTUUID", "raw:PARTUUID=x", divided(zeros(), nil), true, "raw:PARTUUID=x: no block device of this machine has it"},
		{"no such UUID", "raw:UUID=x", divided(swapSpace(), nil), true, "raw:UUID=x: no block device of this machine has it"},
		{"two of them", "raw:PARTUUID=the-second", divided(zeros(), more("run/udev/data/b8:1", "E:ID_PART_ENTRY_UUID=the-second\n")), true, "both sda1 and sda2 have it"},
		{"unreadable", "raw:/dev/sda2", divided("short", nil), true, "raw:/dev/sda2: sda2: EOF"},
		{"no swap", "raw:swap", divided(swapSpace(), nil), true, "raw:swap: nothing is used for swap"},
		{"swap file", "raw:swap", divided("", more("proc/swaps", "/swap file 1 0 -2\n")), true, "raw:swap: no swap can take a dump: /swap: a file on another file system"},
		{"swap of fstab turned off", "raw:swap", divided(swapSpace(), more("etc/fstab", "/dev/sda2 none swap noauto\n")), true, "raw:swap: nothing is used for swap"},
		{"swap of fstab that is none", "raw:swap", divided(ext4(8), more("etc/fstab", "/dev/sda2 none swap sw\n/swapfile none swap sw\n", "proc/swaps", "/swapfile file 1 0 -2\n")), true,
			"raw:swap: no swap can take a dump: sda2: it holds ext4; /swapfile: a file on another file system"},
		{"random key", "raw:/dev/sda2", divided(zeros(), more("etc/crypttab", "#name device key options\ncswap1 /dev/sda2 /dev/urandom swap\n")), true,
			"sda2: /etc/crypttab makes cswap1 of it at each boot, before a dump there could be collected"},
		{"random key, by PARTUUID", "raw:swap", divided(swapSpace(), more("etc/crypttab", "cswap1 PARTUUID=the-second /dev/urandom swap\n", "proc/swaps", swapLine)), true,
			"raw:swap: no swap can take a dump: sda2: /etc/crypttab makes cswap1 of it"},
		{"random key, with a hidden disk", "raw:swap", divided(swapSpace(), with(hidden, "etc/crypttab", "cswap1 PARTUUID=the-second /dev/urandom swap\n", "proc/swaps", swapLine)), true,
			"raw:swap: no swap can take a dump: sda2: /etc/crypttab makes cswap1 of it"},
		{"random key, of which there are copies", "raw:/dev/sda2", divided(zeros(), more("etc/crypttab", "cswap1 PARTUUID=the-second /dev/urandom swap\n",
			"run/udev/data/b8:1", "E:ID_PART_ENTRY_UUID=the-second\n")), true, "sda2: /etc/crypttab makes cswap1 of it"},
		{"crypttab of which not all is known", "raw:/dev/sda2", divided(zeros(), more("etc/crypttab", "cswap1 PARTUUID=other /dev/urandom swap\n",
			"sys/class/block/x", "-> ../../../sys/devices/x", "sys/devices/x/dev", "x\n")), true,
			`raw:/dev/sda2: look for PARTUUID=other of /etc/crypttab: /sys/devices/x/dev: "x" is not a device number`},
		{"crypttab with what is not here", "raw:/dev/sda2", divided(zeros()[1:]+"x", more("etc/crypttab", "a PARTUUID=other none\nb /swapfile none\nc /dev/gone none\n")), false, "it holds data"},
		{"made at boot", "raw:swap", divided(swapSpace(), more("etc/fstab", "/dev/sda2 none swap sw,x-systemd.makefs\n")), true,
			"sda2: x-systemd.makefs in /etc/fstab makes new swap on it at the next boot"},
		{"EFI system partition", "raw:/dev/sda2", divided(zeros(), more("run/udev/data/b8:2", "E:ID_PART_ENTRY_UUID=x\nE:ID_PART_ENTRY_TYPE=C12A7328-f81f-11d2-ba4b-00a0c93ec93b\n")), true,
			"sda2: its partition type is that of an EFI system partition"},
		{"partition of Windows", "raw:/dev/sda2", divided(zeros(), more("run/udev/data/b8:2", "E:ID_PART_ENTRY_UUID=x\nE:ID_PART_ENTRY_TYPE=0x27\n")), true,
			"sda2: its partition type is that of a partition of Windows"},
		{"swaps of no use", "raw:swap", divided("", with(dm, "proc/swaps", "/dev/dm-0 partition 1 0 -2\n/dev/zram0 partition 1 0 100\n", dm0+"/dm/uuid", "CRYPT-PLAIN-x\n",
			"sys/class/block/zram0", "-> ../../../sys/devices/virtual/block/zram0", "sys/devices/virtual/block/zram0/dev", "252:0\n")), true,
			"raw:swap: no swap can take a dump: dm-crypt volume vg-x (dm-0) is not supported: its key is lost with the kernel that crashes; " +
				"zram device zram0 is not supported: its memory is lost at the reboot"},
	} {
		h := machine(t, tt.files)
		for _, overwrite := range []bool{false, true} {
			r, err := h.Raw(parsed(t, tt.target), overwrite)
			if overwrite && !tt.always {
				if err != nil {
					t.Errorf("%s, to be overwritten: %v", tt.name, err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %+v, %v\nwant %s", tt.name, r, err, tt.want)
				continue
			}
			var advice interface{ Advice() string }
			if tt.name != "held in a circle" && tt.name != "crypttab of which not all is known" && !errors.As(err, &advice) || advice != nil && advice.Advice() == "" {
				t.Errorf("%s: no advice with %v", tt.name, err)
			}
		}
	}
}

func TestTablePartUUID(t *testing.T) {
	defer func() { readPartition = fsid.ReadPartition }()
	typ := "0x83"
	h := machine(t, divided(zeros(), map[string]string{"run/udev/data/b8:2": "", "dev/sda": "table", sda + "/queue/logical_block_size": "4096\n"}))
	readPartition = func(disk io.ReaderAt, size int64, sector, number int) (fsid.Partition, error) {
		b := make([]byte, 5)
		if _, err := disk.ReadAt(b, 0); err != nil || string(b) != "table" || size != 1<<30 || sector != 4096 || number != 2 {
			t.Errorf("got %q, %v, %d, %d, %d", b, err, size, sector, number)
		}
		return fsid.Partition{UUID: "ABC", Type: typ}, nil
	}
	if r, err := h.Raw(parsed(t, "raw:/dev/sda2"), false); err != nil || r.PartUUID != "abc" {
		t.Errorf("got %+v, %v", r, err)
	}
	typ = "0xef"
	if r, err := h.Raw(parsed(t, "raw:/dev/sda2"), true); err == nil || !strings.Contains(err.Error(), "its partition type is that of an EFI system partition") {
		t.Errorf("got %+v, %v", r, err)
	}
	readPartition = func(io.ReaderAt, int64, int, int) (fsid.Partition, error) { return fsid.Partition{}, syscall.EIO }
	if r, err := h.Raw(parsed(t, "raw:/dev/sda2"), false); err == nil {
		t.Errorf("got %+v", r)
	}
}

func TestRawAbsent(t *testing.T) {
	for _, tt := range []struct {
		target string
		files  map[string]string
		want   bool
	}{
		{"raw:PARTUUID=the-second", hidden, false},
		{"raw:PARTUUID=x", hidden, true},
		{"raw:/dev/vg/x", nil, true},
		{"raw:PARTUUID=the-second", more("run/udev/data/b8:1", "E:ID_PART_ENTRY_UUID=the-second\n"), false},
		{"raw:swap", with(hidden, "etc/fstab", "UUID="+swapUUID+" none swap sw\n"), false},
		{"raw:swap", with(hidden, "etc/fstab", "UUID=x none swap sw\n"), true},
		{"raw:swap", more("etc/fstab", "PARTUUID=the-second none swap sw\n", "run/udev/data/b8:1", "E:ID_PART_ENTRY_UUID=the-second\n"), false},
	} {
		if got := machine(t, divided(swapSpace(), tt.files)).RawAbsent(parsed(t, tt.target)); got != tt.want {
			t.Errorf("%s with %v: got %v", tt.target, slices.Collect(maps.Keys(tt.files)), got)
		}
	}
}

// TestHiddenDisks looks for a partition where NVMe multipath is.
func TestHiddenDisks(t *testing.T) {
	h, err := Open("testdata/hosts/nvme-multipath")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Raw(parsed(t, "raw:PARTUUID=x"), false); err == nil || !strings.HasSuffix(err.Error(), "no block device of this machine has it") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseSwaps(f *testing.F) {
	f.Add("Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n/a\\040b file 1 0 -2\n/x\\9 (deleted)\n")
	f.Fuzz(func(t *testing.T, data string) {
		for _, s := range parseSwaps(data) {
			if !strings.HasPrefix(s.name, "/") {
				t.Errorf("%q: %+v", data, s)
			}
		}
	})
}

// parsed parses the name of a target.
func parsed(t *testing.T, name string) target.Target {
	t.Helper()
	parsed, err := target.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

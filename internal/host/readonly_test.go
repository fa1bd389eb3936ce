package host

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// superblocks for tests: the magic and the field that counts.
func extSuper(state uint16, roCompat uint32) string {
	b := make([]byte, 128<<10)
	binary.LittleEndian.PutUint16(b[1024+0x38:], 0xef53)
	b[1024+0x68] = 1 // UUID
	binary.LittleEndian.PutUint16(b[1024+0x3a:], state)
	binary.LittleEndian.PutUint32(b[1024+0x64:], roCompat)
	return string(b)
}

func f2fsSuper(feature uint32) string {
	b := make([]byte, 128<<10)
	binary.LittleEndian.PutUint32(b[1024:], 0xf2f52010)
	b[1024+108] = 1 // UUID
	binary.LittleEndian.PutUint32(b[1024+2180:], feature)
	return string(b)
}

func btrfsSuper(flags uint64) string {
	b := make([]byte, 128<<10)
	copy(b[64<<10+64:], "_BHRfS_M")
	binary.LittleEndian.PutUint64(b[64<<10+56:], flags)
	return string(b)
}

// The capture kernel mounts the file system anew: only what it meets counts.
func TestReadOnlyTargets(t *testing.T) {
	t.Parallel()
	const part = sda + "/sda1"
	const bind = "2 1 8:0 /var /var ro - ext4 /dev/sda rw\n"
	parts := func(super string, list ...string) map[string]string {
		return with(disk("ext4", "rw", part, nil), append([]string{
			"proc/self/mountinfo", "1 0 8:0 / / rw - ext4 /dev/sda1 " + super + "\n",
			part + "/partition", "1\n", sda + "/dev", "8:16\n", sda + "/size", "4096\n", sda + "/uevent", "",
			"sys/class/block/sda", "-> ../../devices/pci0000:00/host0/block/sda",
		}, list...)...)
	}
	one := func(fstype, super string, list ...string) map[string]string {
		return with(disk(fstype, super, sda, nil), list...)
	}
	for _, tt := range []struct {
		name   string
		files  map[string]string
		frozen string // directory whose subvolume is a read-only snapshot
		locked string // immutable directory
		reason ReadOnly
		text   string // of the refusal
	}{
		{name: "read-write", files: one("ext4", "rw")},
		{name: "bind mount alone", files: one("ext4", "rw", "proc/self/mountinfo", "1 0 8:0 / / rw - ext4 /dev/sda rw\n"+bind)},
		{name: "read-write again after an error", files: one("ext4", "rw,errors=continue", "dev/sda", extSuper(3, 0))},
		{name: "disk write-protected after the mount", files: one("ext4", "rw", sda+"/ro", "1\n")},

		{name: "by fstab", files: one("ext4", "ro,errors=remount-ro", "etc/fstab", "UUID=x / ext4 defaults,ro 0 1\n"), reason: ReadOnlyOption},
		{name: "by hand", files: one("ext4", "ro", "etc/fstab", "UUID=x / ext4 rw 0 1\n"), reason: ReadOnlyUnknown},
		{name: "no table", files: one("xfs", "ro,attr2"), reason: ReadOnlyUnknown},
		{name: "vfat after an error", files: one("vfat", "ro,codepage=437,errors=remount-ro", "etc/fstab", "UUID=x / vfat umask=0077\n"), reason: ReadOnlyUnknown},
		{name: "btrfs after an error", files: one("btrfs", "ro,subvolid=5,subvol=/", "sys/class/block/sda", "-> ../../devices/pci0000:00/host0/block/sda"), reason: ReadOnlyUnknown},
		{name: "ext4 after an error", files: one("ext4", "ro,errors=remount-ro", "dev/sda", extSuper(2, 0), "etc/fstab", "UUID=x / ext4 ro\n"), reason: ReadOnlyError},
		{name: "ext4 of a young kernel after an error", files: one("ext4", "rw,errors=remount-ro,emergency_ro"), reason: ReadOnlyError},
		{name: "ext4 shut down", files: one("ext4", "rw,shutdown"), reason: ReadOnlyError},

		{name: "read-only disk", files: one("ext4", "ro", sda+"/ro", "1\n"), text: "the device sda is read-only"},
		{name: "read-only disk of a partition", files: parts("ro", sda+"/ro", "1\n", part+"/ro", "0\n"), text: "the device sda is read-only"},
		{name: "read-only partition", files: parts("ro", sda+"/ro", "0\n", part+"/ro", "1\n"), text: "the device sda1 is read-only"},
		{name: "ext4 with the feature", files: one("ext4", "ro", "dev/sda", extSuper(1, 0x1000)), text: "by its superblock"},
		{name: "ext4 that gets the feature", files: one("ext4", "rw", "dev/sda", extSuper(1, 0x1000|0x40)), text: "by its superblock"},
		{name: "f2fs with the feature", files: one("f2fs", "ro", "dev/sda", f2fsSuper(0x4000)), text: "by its superblock"},
		{name: "seed", files: one("btrfs", "ro,subvolid=5,subvol=/", "dev/sda", btrfsSuper(1<<32), "sys/class/block/sda", "-> ../../devices/pci0000:00/host0/block/sda"), text: "by its superblock"},
		{name: "device of a btrfs on a seed", files: one("btrfs", "rw,subvolid=5,subvol=/", "dev/sda", btrfsSuper(1<<32), "sys/class/block/sda", "-> ../../devices/pci0000:00/host0/block/sda")},
		{name: "snapshot", files: one("btrfs", "rw,subvolid=300,subvol=/s", "sys/class/block/sda", "-> ../../devices/pci0000:00/host0/block/sda"), frozen: "/", text: "btrfs subvolume of /var is not supported: read-only"},
		{name: "immutable", files: one("ext4", "rw"), locked: "/var", text: "immutable directory /var"},
		{name: "immutable above", files: one("ext4", "rw"), locked: "/"},
	} {
		h := machine(t, with(tt.files, "var/x", ""))
		h.frozen = func(dir string) bool {
			return tt.frozen != "" && strings.HasPrefix(dir, filepath.Join(h.root, tt.frozen))
		}
		h.immutable = func(dir string) bool { return tt.locked != "" && dir == filepath.Join(h.root, tt.locked) }
		s, err := h.Storage("/var/crash")
		var refused *UnsupportedError
		switch {
		case tt.text != "":
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(refused.Advice(), "TARGET=") {
				t.Errorf("%s: %v", tt.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case s.ReadOnly != tt.reason:
			t.Errorf("%s: got %q", tt.name, s.ReadOnly)
		case (s.ReadOnlyTarget() != nil) != (tt.reason != ""):
			t.Errorf("%s: %v", tt.name, s.ReadOnlyTarget())
		}
	}
}

// TestRealReadOnly runs where attributes can be set and btrfs mounted: as root.
func TestRealReadOnly(t *testing.T) {
	dir := t.TempDir()
	if immutable(dir) || frozen(dir) {
		t.Error("an ordinary directory is read-only")
	}
	if exec.Command("chattr", "+i", dir).Run() == nil {
		defer exec.Command("chattr", "-i", dir).Run()
		if !immutable(dir) {
			t.Error("chattr +i is not seen")
		}
	}
	image, at := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{
		{"truncate", "-s", "128M", image}, {"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, at},
		{"btrfs", "-q", "subvolume", "create", at + "/s"}, {"mkdir", at + "/s/dir"},
		{"btrfs", "-q", "subvolume", "snapshot", "-r", at + "/s", at + "/ro"},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", line, err, out)
		}
		if line[0] == "mount" {
			defer unix.Unmount(at, unix.MNT_DETACH)
		}
	}
	for name, want := range map[string]bool{"": false, "/s": false, "/s/dir": false, "/ro": true, "/ro/dir": true} {
		if got := frozen(at + name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

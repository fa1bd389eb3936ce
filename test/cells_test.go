package test

import (
	"fmt"
	"strings"
	"testing"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// cell is one machine to crash.
type cell struct {
	suite   string
	flavour debian.Flavour
	layout  string // storage of /var/crash, a key of layouts
	running string // running kernel, a key of running; Debian's if empty
	bus     vmtest.Bus
	capture string // capture kernel, a key of captures; the running one if empty
	ci      bool   // belongs to the representative set
	mib     int    // of crashkernel=; that of reservation if 0
	service bool   // loaded at boot by ukdump.service instead of kdumpctl load
	uefi    bool   // an arm64 machine with UEFI and ACPI
	lpa2    bool   // an arm64 machine whose processor has addresses of 52 bits
	secure  bool   // Secure Boot, whose firmware trusts the signature of Sign and not Debian's
	// refused is a part of the message with which kdumpctl must refuse the
	// machine. If it is empty, the dump must be captured.
	refused string
	// copied is a part of the message with which the makedumpfile of the machine refuses
	// its own kernel. kdumpctl verify must report it, and kdumpinit copies the memory.
	copied string
}

func (c cell) String() string {
	name := fmt.Sprintf("%s-%s-%s-%s", c.suite, c.flavour, c.layout, c.bus)
	if c.running != "" {
		name += "-on-" + c.running
	}
	if c.capture != "" {
		name += "-by-" + c.capture
	}
	if c.mib != 0 {
		name += fmt.Sprintf("-%dM", c.mib)
	}
	if c.service {
		name += "-service"
	}
	if c.uefi {
		name += "-uefi"
	}
	if c.lpa2 {
		name += "-lpa2"
	}
	if c.secure {
		name += "-secureboot"
	}
	return name
}

// A new cell is one line here, a new layout one entry in layouts. bus is the
// controller of the disks that hold /var/crash. If the layout needs only the
// root disk, bus is the controller of the root disk, which otherwise is on
// virtio-blk.
var cells = []cell{
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, ci: true},
	{suite: "bookworm", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk, ci: true},
	{suite: "bookworm", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk, ci: true, service: true},
	{suite: "bookworm", flavour: debian.Generic, layout: "xfs", bus: vmtest.NVMe, ci: true},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.USB, ci: true},
	{suite: "trixie", flavour: debian.Generic, layout: "btrfs-subvolume", bus: vmtest.VirtioSCSI, ci: true},
	{suite: "sid", flavour: debian.Generic, layout: "var", bus: vmtest.AHCI, ci: true},

	// Controllers.
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioSCSI},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.NVMe},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.AHCI},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.USB},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.IDE},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.MegaSAS},
	{suite: "sid", flavour: debian.Generic, layout: "xfs", bus: vmtest.MegaSAS2},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4", bus: vmtest.MPTSAS},
	{suite: "bookworm", flavour: debian.Generic, layout: "mbr", bus: vmtest.LSI},
	{suite: "trixie", flavour: debian.Generic, layout: "ext4", bus: vmtest.PVSCSI},
	{suite: "trixie", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.UAS},
	{suite: "bookworm", flavour: debian.Generic, layout: "vfat", bus: vmtest.EHCI},
	{suite: "sid", flavour: debian.Generic, layout: "mbr", bus: vmtest.SD},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.VirtioBlk4K},
	{suite: "trixie", flavour: debian.Generic, layout: "xfs", bus: vmtest.VirtioSCSI4K},
	{suite: "sid", flavour: debian.Generic, layout: "btrfs", bus: vmtest.NVMe4K},
	{suite: "trixie", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.NVMePaths},
	// Disks that have other names in the capture kernel.
	{suite: "bookworm", flavour: debian.Generic, layout: "renamed", bus: vmtest.NVMe},
	{suite: "trixie", flavour: debian.Generic, layout: "renamed", bus: vmtest.VirtioBlk},

	// File systems.
	{suite: "bookworm", flavour: debian.Generic, layout: "bind", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "var", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext2", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext3", bus: vmtest.VirtioBlk},
	{suite: "sid", flavour: debian.Generic, layout: "ext2", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs-subvolume", bus: vmtest.USB},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs-root", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "btrfs-var", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "f2fs", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "vfat", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "exfat", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Cloud, layout: "xfs", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Cloud, layout: "btrfs-subvolume", bus: vmtest.NVMe},
	{suite: "trixie", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "root", bus: vmtest.NVMe},
	{suite: "trixie", flavour: debian.Generic, layout: "xfs", bus: vmtest.AHCI},
	{suite: "trixie", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.USB},
	{suite: "trixie", flavour: debian.Generic, layout: "f2fs", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Cloud, layout: "btrfs-subvolume", bus: vmtest.VirtioSCSI},
	{suite: "sid", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "sid", flavour: debian.Generic, layout: "root", bus: vmtest.USB},
	{suite: "sid", flavour: debian.Generic, layout: "xfs", bus: vmtest.VirtioSCSI},
	{suite: "sid", flavour: debian.Generic, layout: "btrfs-subvolume", bus: vmtest.NVMe},
	{suite: "sid", flavour: debian.Generic, layout: "vfat", bus: vmtest.VirtioBlk},
	{suite: "sid", flavour: debian.Generic, layout: "exfat", bus: vmtest.VirtioBlk},
	{suite: "sid", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "xfs-quota", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "xfs-external-log", bus: vmtest.VirtioBlk, refused: "its log is on another device"},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4-external-journal", bus: vmtest.VirtioBlk, refused: "its journal is on another device"},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4-quota", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "ext4-casefold", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs-blake2", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "clone", bus: vmtest.VirtioBlk, ci: true},
	{suite: "bookworm", flavour: debian.Generic, layout: "overlay", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "overlay-root", bus: vmtest.VirtioBlk, refused: "overlay file system"},
	{suite: "bookworm", flavour: debian.Generic, layout: "tmpfs", bus: vmtest.VirtioBlk, refused: "tmpfs file system"},

	{suite: "bookworm", flavour: debian.Generic, layout: "pmem", bus: vmtest.VirtioBlk},

	// arm64 machines. The makedumpfile of trixie and sid needs help with their kernels.
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.VirtioSCSI},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "xfs", bus: vmtest.NVMe},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "btrfs-subvolume", bus: vmtest.USB},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "f2fs", bus: vmtest.VirtioBlk},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "mbr", bus: vmtest.SD},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.NVMe},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "ext4", bus: vmtest.AHCI},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "lvm-linear", bus: vmtest.VirtioBlk},
	{suite: "trixie-arm64", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "trixie-arm64", flavour: debian.Cloud, layout: "xfs", bus: vmtest.VirtioSCSI},
	{suite: "trixie-arm64", flavour: debian.Pages16K, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "sid-arm64", flavour: debian.Pages16K, layout: "xfs", bus: vmtest.NVMe},
	{suite: "sid-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "sid-arm64", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.USB},
	{suite: "sid-arm64", flavour: debian.Generic, layout: "xfs", bus: vmtest.VirtioSCSI},
	{suite: "sid-arm64", flavour: debian.Generic, layout: "btrfs", bus: vmtest.NVMe},
	{suite: "sid-arm64", flavour: debian.Generic, layout: "f2fs", bus: vmtest.SD},
	{suite: "sid-arm64", flavour: debian.Cloud, layout: "root", bus: vmtest.NVMe},
	{suite: "bookworm-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk},
	{suite: "bookworm-arm64", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.NVMe, uefi: true},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "xfs", bus: vmtest.NVMe, uefi: true},
	{suite: "sid-arm64", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioSCSI, uefi: true},
	{suite: "bookworm-arm64", flavour: debian.Cloud, layout: "xfs", bus: vmtest.NVMe},
	{suite: "trixie-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, lpa2: true, copied: no52Bits},
	{suite: "trixie-arm64", flavour: debian.Pages16K, layout: "ext4", bus: vmtest.NVMe, lpa2: true, copied: no52Bits},
	{suite: "sid-arm64", flavour: debian.Generic, layout: "xfs", bus: vmtest.VirtioSCSI, lpa2: true, copied: no52Bits},
	{suite: "bookworm-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "small-arm64", mib: 32},
	{suite: "bookworm-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, running: "file-arm64"},
	{suite: "bookworm-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, running: "file-arm64", capture: "small-arm64", mib: 32},
	{suite: "bookworm-arm64", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.NVMe, running: "file-arm64", uefi: true},
	{suite: "bookworm-arm64", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, running: "file64k-arm64"},

	// Kernels other than the running one.
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.NVMe, capture: "bookworm-cloud"},
	{suite: "bookworm", flavour: debian.Cloud, layout: "ext4", bus: vmtest.VirtioSCSI, capture: "bookworm-generic"},
	{suite: "sid", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "bookworm-cloud", ci: true},
	{suite: "trixie", flavour: debian.Generic, layout: "xfs", bus: vmtest.NVMe, capture: "bookworm-cloud"},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs-subvolume", bus: vmtest.AHCI, capture: "sid-generic"},
	{suite: "bookworm", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk, capture: "sid-generic"},
	{suite: "trixie", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk, capture: "sid-cloud"},
	{suite: "trixie", flavour: debian.Generic, layout: "btrfs", bus: vmtest.AHCI, capture: "zstd"},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "monolithic"},
	{suite: "bookworm", flavour: debian.Generic, layout: "xfs", bus: vmtest.VirtioBlk, capture: "monolithic", refused: "CONFIG_XFS_FS"},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "small", mib: 32},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.NVMe, capture: "small", mib: 32},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs-subvolume", bus: vmtest.VirtioBlk, capture: "small", mib: 48},
	{suite: "bookworm", flavour: debian.Generic, layout: "xfs", bus: vmtest.USB, capture: "small", mib: 48},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-md1-partitions", bus: vmtest.AHCI, capture: "small", mib: 48},
	{suite: "bookworm", flavour: debian.Generic, layout: "f2fs", bus: vmtest.VirtioBlk, capture: "small", mib: 40},
	{suite: "bookworm", flavour: debian.Generic, layout: "exfat", bus: vmtest.USB, capture: "small", mib: 40},
	{suite: "bookworm", flavour: debian.Generic, layout: "mbr", bus: vmtest.SD, capture: "small", mib: 40},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-raid5", bus: vmtest.VirtioSCSI, capture: "small", mib: 48},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4", bus: vmtest.MegaSAS, capture: "small", refused: "it was built without CONFIG_MEGARAID_SAS"},
	{suite: "bookworm", flavour: debian.Generic, layout: "f2fs", bus: vmtest.MegaSAS, capture: "bookworm-cloud", refused: "has no module for"},
	{suite: "trixie", flavour: debian.Generic, layout: "xfs-crc=0", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "xfs-crc=0", bus: vmtest.VirtioBlk, capture: "sid-generic", refused: "format version 4 (crc=0), which needs CONFIG_XFS_SUPPORT_V4"},

	// Secure Boot.
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "signed", secure: true},
	{suite: "trixie", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "signed", secure: true},
	{suite: "sid", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "signed", secure: true},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "unsigned", secure: true,
		refused: "not signed, and the running kernel is locked down (integrity, as Secure Boot is on)"},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, capture: "bookworm-cloud", secure: true,
		refused: "signed with a key that the running kernel does not trust"},

	// Stacks.
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-linear", bus: vmtest.VirtioBlk, ci: true},
	{suite: "trixie", flavour: debian.Generic, layout: "lvm-xfs", bus: vmtest.NVMe},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-striped", bus: vmtest.VirtioSCSI},
	{suite: "trixie", flavour: debian.Generic, layout: "lvm-thin", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-thin-snapshot", bus: vmtest.NVMe},
	{suite: "sid", flavour: debian.Generic, layout: "lvm-raid5", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-cached", bus: vmtest.VirtioBlk},
	{suite: "sid", flavour: debian.Generic, layout: "lvm-raid1", bus: vmtest.AHCI},
	{suite: "trixie", flavour: debian.Generic, layout: "lvm-raid1-degraded", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-snapshot", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-root", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "lvm-root", bus: vmtest.NVMe, service: true},
	{suite: "sid", flavour: debian.Generic, layout: "lvm-linear", bus: vmtest.VirtioSCSI, capture: "bookworm-cloud"},
	{suite: "bookworm", flavour: debian.Generic, layout: "md0", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "md-linear", bus: vmtest.VirtioSCSI},
	{suite: "bookworm", flavour: debian.Generic, layout: "md1", bus: vmtest.AHCI, ci: true},
	{suite: "trixie", flavour: debian.Generic, layout: "md1-partitions", bus: vmtest.NVMe},
	{suite: "bookworm", flavour: debian.Generic, layout: "md1-0.90", bus: vmtest.VirtioBlk},
	{suite: "sid", flavour: debian.Generic, layout: "md1-1.0", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "md1-degraded", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "md5", bus: vmtest.VirtioSCSI},
	{suite: "bookworm", flavour: debian.Generic, layout: "md5-degraded", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "md6", bus: vmtest.VirtioBlk},
	{suite: "sid", flavour: debian.Generic, layout: "md10", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "md-root", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-md1-partitions", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "md1-divided", bus: vmtest.VirtioBlk},
	{suite: "sid", flavour: debian.Generic, layout: "md1-lvm", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs-single", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "btrfs-raid1", bus: vmtest.VirtioSCSI, ci: true},
	{suite: "sid", flavour: debian.Generic, layout: "btrfs-degraded", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "btrfs-lvm", bus: vmtest.NVMe},
	{suite: "bookworm", flavour: debian.Generic, layout: "bcache", bus: vmtest.VirtioBlk},
	{suite: "trixie", flavour: debian.Generic, layout: "bcache-md1", bus: vmtest.VirtioSCSI},
	{suite: "bookworm", flavour: debian.Generic, layout: "multipath", bus: vmtest.SCSIPaths},
	{suite: "trixie", flavour: debian.Generic, layout: "multipath-partition", bus: vmtest.SCSIPaths},
	{suite: "sid", flavour: debian.Generic, layout: "lvm-multipath", bus: vmtest.SCSIPaths},
	{suite: "bookworm", flavour: debian.Generic, layout: "luks", bus: vmtest.VirtioBlk, refused: noCrashDMCrypt},
	{suite: "sid", flavour: debian.Generic, layout: "luks", bus: vmtest.VirtioBlk, refused: noCrashDMCrypt},
	{suite: "bookworm", flavour: debian.Generic, layout: "lvm-luks", bus: vmtest.VirtioBlk, refused: "LUKS volume"},
	{suite: "bookworm", flavour: debian.Generic, layout: "integrity", bus: vmtest.VirtioBlk, refused: "dm-integrity volume"},
	{suite: "bookworm", flavour: debian.Generic, layout: "loop", bus: vmtest.VirtioBlk, refused: "loop device"},
	{suite: "bookworm", flavour: debian.Generic, layout: "zram", bus: vmtest.VirtioBlk, refused: "zram device"},
}

// unread reports whether the makedumpfile of the machine cannot open its dump.
func (c cell) unread() bool { return c.suite == "trixie-arm64" || c.suite == "sid-arm64" }

// no52Bits is the message of makedumpfile up to 1.7.9 about kernels of arm64 with
// CONFIG_ARM64_VA_BITS_52 and pages of 4 or 16 KiB (docs/upstream.md).
const no52Bits = "Can't determine platform config values"

// noCrashDMCrypt is the message about LUKS with Debian's kernels. TestLUKS uses a
// kernel with CONFIG_CRASH_DM_CRYPT.
const noCrashDMCrypt = "cannot open an encrypted volume without its passphrase: it lacks CONFIG_CRASH_DM_CRYPT"

func TestCells(t *testing.T) {
	seen := make(map[string]bool)
	crashes := 0
	for _, c := range cells {
		if _, ok := layouts[c.layout]; !ok {
			t.Errorf("%s: no layout %q", c, c.layout)
		}
		if _, ok := captures[c.capture]; !ok && c.capture != "" {
			t.Errorf("%s: no capture kernel %q", c, c.capture)
		}
		if _, ok := running[c.running]; !ok && c.running != "" {
			t.Errorf("%s: no running kernel %q", c, c.running)
		}
		if seen[c.String()] {
			t.Errorf("%s is there twice", c)
		}
		seen[c.String()] = true
		if c.refused == "" {
			crashes++
		}
	}
	if crashes < 60 {
		t.Errorf("%d crashes, not 60", crashes)
	}
}

// script returns l as /ukdump-test/cell of the guest.
func (l layout) script(mark string) string {
	mount, make := "true", orTrue(l.make)
	if l.root != "" {
		make = "true" // the root script has done it
	}
	if l.mount != "" {
		mount = "mkdir -p /var/crash && " + l.mount
	}
	return fmt.Sprintf("mark='%s'\ntargets='%s'\n. /ukdump-test/storage\nmake_target() { %s; }\nmount_target() { %s; }\n",
		mark, strings.Join(l.disks(), " "), make, mount)
}

// rootScript returns the script that moves the root to other storage, "" if
// there is none.
func (l layout) rootScript() string {
	if l.root == "" {
		return ""
	}
	return fmt.Sprintf("targets='%s'\n. /ukdump-test/storage\nmake_root() { %s; }\nmount_root() { %s; }\nother_root\n",
		strings.Join(l.disks(), " "), orTrue(l.make), l.root)
}

func orTrue(command string) string {
	if command == "" {
		return "true"
	}
	return command
}

// disks returns the names of the disks beside the root's.
func (l layout) disks() []string {
	names := []string{"target", "target2", "target3", "target4"}
	return names[:l.n]
}

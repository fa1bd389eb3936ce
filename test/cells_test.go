package test

import (
	"fmt"
	"testing"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// cell is one machine to crash.
type cell struct {
	suite   string
	flavour debian.Flavour
	layout  string // what holds /var/crash, a key of layouts
	bus     vmtest.Bus
	ci      bool // belongs to the representative set
	service bool // loaded at boot by ukdump.service instead of kdumpctl load
}

func (c cell) String() string {
	name := fmt.Sprintf("%s-%s-%s-%s", c.suite, c.flavour, c.layout, c.bus)
	if c.service {
		name += "-service"
	}
	return name
}

// A new cell is one line here; a new layout one more below. bus is the
// controller of the disk that holds /var/crash; with a layout other than root
// that is a second disk, and the root is on virtio-blk.
var cells = []cell{
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioBlk, ci: true},
	{suite: "bookworm", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk, ci: true},
	{suite: "bookworm", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk, ci: true, service: true},
	{suite: "bookworm", flavour: debian.Generic, layout: "xfs", bus: vmtest.NVMe, ci: true},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4-partition", bus: vmtest.USB, ci: true},
	{suite: "trixie", flavour: debian.Generic, layout: "btrfs-subvolume", bus: vmtest.VirtioSCSI, ci: true},
	{suite: "sid", flavour: debian.Generic, layout: "var", bus: vmtest.AHCI, ci: true},

	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.VirtioSCSI},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.NVMe},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.AHCI},
	{suite: "bookworm", flavour: debian.Generic, layout: "root", bus: vmtest.USB},
	{suite: "bookworm", flavour: debian.Generic, layout: "bind", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "var", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "ext4", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "btrfs-subvolume", bus: vmtest.USB},
	{suite: "bookworm", flavour: debian.Generic, layout: "f2fs", bus: vmtest.VirtioBlk},
	{suite: "bookworm", flavour: debian.Generic, layout: "vfat", bus: vmtest.VirtioBlk},
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
	{suite: "sid", flavour: debian.Cloud, layout: "root", bus: vmtest.VirtioBlk},
}

// layout is what is done in the guest for /var/crash, in sh(1).
type layout struct {
	make  string // on the first boot; $target is the second disk
	mount string // on both boots; $target is no longer known
}

var layouts = map[string]layout{
	"root": {},
	"bind": {
		make:  "mkdir -p /srv/dumps",
		mount: "mount --bind /srv/dumps /var/crash",
	},
	"ext4": {
		make:  "mkfs.ext4 -q -L target $target",
		mount: "mount LABEL=target /var/crash",
	},
	"ext4-partition": {
		make:  "echo 'start=2048, type=L' | sfdisk -q --wipe always --label gpt $target && mkfs.ext4 -q -L target $(lsblk -nlpo NAME $target | tail -n 1)",
		mount: "mount LABEL=target /var/crash",
	},
	"var": {
		make:  "mkfs.ext4 -q -L target $target && mount $target /mnt && cp -a /var/. /mnt && umount /mnt",
		mount: "mount LABEL=target /var",
	},
	"xfs": {
		make:  "mkfs.xfs -q -f -L target $target",
		mount: "mount LABEL=target /var/crash",
	},
	"btrfs": {
		make:  "mkfs.btrfs -q -f -L target $target",
		mount: "mount LABEL=target /var/crash",
	},
	"btrfs-subvolume": {
		make:  "mkfs.btrfs -q -f -L target $target && mount $target /mnt && btrfs subvolume create /mnt/@crash && umount /mnt",
		mount: "mount -o subvol=@crash LABEL=target /var/crash",
	},
	"f2fs": {
		make:  "mkfs.f2fs -q -f -l target $target",
		mount: "mount LABEL=target /var/crash",
	},
	"vfat": {
		make:  "mkfs.vfat -n TARGET $target",
		mount: "mount LABEL=TARGET /var/crash",
	},
}

// script returns l as /ukdump-test/cell of the guest.
func (l layout) script(mark string) string {
	make, mount := "true", "true"
	if l.make != "" {
		make = l.make
	}
	if l.mount != "" {
		mount = "mkdir -p /var/crash && " + l.mount
	}
	return fmt.Sprintf("mark='%s'\nmake_target() { %s; }\nmount_target() { %s; }\n", mark, make, mount)
}

// ownDisk tells whether the layout is on the second disk.
func (c cell) ownDisk() bool { return c.layout != "root" && c.layout != "bind" }

func TestCells(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range cells {
		if _, ok := layouts[c.layout]; !ok {
			t.Errorf("%s: no layout %q", c, c.layout)
		}
		if seen[c.String()] {
			t.Errorf("%s is there twice", c)
		}
		seen[c.String()] = true
	}
}

package host

import (
	"fmt"
	"strings"
)

// UnsupportedError says that a directory lies on storage that the capture
// environment cannot open.
type UnsupportedError struct {
	Dir string // the directory or the raw device that was asked for
	Raw bool   // it is a raw device

	Obstacle Obstacle // decides the advice
	What     string   // kind of the storage: "LVM volume", "tmpfs file system"
	Name     string   // which one: "debian-root (dm-0)"; may be empty
	Why      string   // reason; may be empty

	Remedy string // replaces the advice of the obstacle
}

func (e *UnsupportedError) Error() string { return "storage of " + e.Dir + ": " + e.reason() }

// reason is the message without the target.
func (e *UnsupportedError) reason() string {
	s := e.What
	if e.Name != "" {
		s += " " + e.Name
	}
	s += " is not supported"
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

// mountable are the file systems that need nothing but their block device.
var mountable = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true,
	"f2fs": true, "vfat": true, "exfat": true,
}

// lost are file systems that end with the kernel.
var lost = map[string]bool{"tmpfs": true, "ramfs": true, "rootfs": true, "devtmpfs": true}

// network are file systems on another machine.
var network = map[string]bool{
	"nfs": true, "nfs4": true, "cifs": true, "smb3": true, "9p": true, "ceph": true,
	"afs": true, "glusterfs": true, "fuse.glusterfs": true, "fuse.sshfs": true,
	"lustre": true, "gfs2": true, "ocfs2": true, "orangefs": true, "virtiofs": true,
}

// layered are file systems made of others.
var layered = map[string]bool{
	"overlay": true, "aufs": true, "unionfs": true, "ecryptfs": true,
	"fuse.mergerfs": true, "bindfs": true, "autofs": true,
}

// readOnly are file systems that nothing can be written to.
var readOnly = map[string]bool{"squashfs": true, "erofs": true, "iso9660": true, "cramfs": true, "romfs": true}

// Reasons that several kinds of storage share.
const (
	inMemory = "its memory is lost at the reboot"
	remote   = "not on a disk of this machine"
)

// refuseType returns why a mount of this type cannot hold dumps, or nil.
func refuseType(dir string, m Mount) error {
	if mountable[m.FSType] {
		return nil
	}
	e := &UnsupportedError{Dir: dir, What: m.FSType + " file system", Name: "mounted on " + m.Point}
	switch {
	case lost[m.FSType]:
		e.Obstacle, e.Why = InMemory, inMemory
	case network[m.FSType]:
		e.Why = remote
	case m.FSType == "autofs":
		e.Obstacle, e.Why = NothingMounted, "nothing was mounted there when it was opened"
	case m.FSType == "overlay":
		e.Obstacle, e.Why = OverlayUpper, "it is made of other file systems"
	case layered[m.FSType]:
		e.Obstacle, e.Why = Layered, "it is made of other file systems"
	case readOnly[m.FSType]:
		e.Obstacle, e.Why = NotWritable, "read-only"
	case m.FSType == "bcachefs":
		e.Why = "ukdump cannot open it yet"
	case m.FSType == "zfs":
		e.What, e.Name = "ZFS dataset", m.Source
	}
	return e
}

// mapperKinds name device-mapper devices by the beginning of their dm/uuid,
// which says who made them. Of the last two only partitions are refused.
var mapperKinds = []struct{ prefix, what string }{
	{"CRYPT-INTEGRITY-", "dm-integrity volume"},
	{"CRYPT-VERITY-", "dm-verity volume"},
	{"CRYPT-SUBDEV-", "part of a dm-crypt volume"},
	{"DMRAID-", "BIOS RAID set"},
	{"VDO-", "VDO volume"},
	{"stratis-", "Stratis volume"},
	{"INTEGRITY-", "dm-integrity volume"},
	{"CRYPT-", "dm-crypt volume"},
	{"LVM-", "LVM volume"},
}

// virtualKinds name block devices without hardware by the beginning of their
// kernel names.
var virtualKinds = []struct {
	prefix, what string
	obstacle     Obstacle
	why          string
}{
	{"loop", "loop device", InFile, "a file on another file system"},
	{"zram", "zram device", InMemory, inMemory},
	{"ram", "RAM disk", InMemory, inMemory},
	{"nbd", "network block device", NoDriver, remote},
	{"rbd", "Ceph block device", NoDriver, remote},
	{"rnbd", "RNBD device", NoDriver, remote},
	{"etherd!e", "ATA over Ethernet disk", NoDriver, remote},
	{"ublkb", "ublk device", NoDriver, "a program of the running system serves it"},
	{"nullb", "null_blk device", InMemory, inMemory},
	{"drbd", "DRBD device", NoDriver, ""},
	{"zd", "ZFS volume", NoDriver, ""},
}

// refuseBlock returns why the disk or partition b cannot be opened by the
// capture kernel with its driver alone, or nil.
func (h *Host) refuseBlock(dir string, b BlockDevice) error {
	e := &UnsupportedError{Dir: dir, Name: b.Name}
	switch b.Kind {
	case Crypt:
		return nil // addCrypt looks closer
	case LVM, Multipath:
		return nil
	case Mapper:
		e.What = "device-mapper device"
		for _, k := range mapperKinds {
			if strings.HasPrefix(mapperUUID(b.DMUUID), k.prefix) {
				e.What = k.what
				break
			}
		}
		if mapperUUID(b.DMUUID) != b.DMUUID {
			e.What, e.Why = "kpartx partition on "+e.What, "the capture kernel has no kpartx"
		}
		if b.DMName != "" {
			e.Name = fmt.Sprintf("%s (%s)", b.DMName, b.Name)
		}
		return e
	case MD:
		if b.MD.refuse(h, e) {
			return e
		}
		return nil
	case Bcache:
		if b.Bcache.refuse(e) {
			return e
		}
		return nil
	}
	if h.refuseRemote(e, b) {
		return e
	}
	if strings.HasPrefix(b.Path, "/sys/devices/virtual/nvme-subsystem/") {
		return nil
	}
	virtual := strings.HasPrefix(b.Path, "/sys/devices/virtual/")
	for _, k := range virtualKinds {
		if n, ok := strings.CutPrefix(b.Name, k.prefix); ok && numbered(n) {
			e.Obstacle, e.What, e.Why = k.obstacle, k.what, k.why
			return e
		}
	}
	if virtual && b.Kind != Partition { // the device that it is on is in the stack too
		e.What, e.Why = "virtual block device", "its backing device is unknown"
		return e
	}
	return nil
}

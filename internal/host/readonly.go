package host

import (
	"encoding/binary"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadOnly is the reason that the running kernel writes nothing to a mounted file
// system, empty if it does. The capture kernel mounts it anew and read-write, so the
// options of the present mount do not count, and none of a bind mount.
type ReadOnly string

// The reasons.
const (
	ReadOnlyOption  ReadOnly = "option"  // fstab(5) says so
	ReadOnlyError   ReadOnly = "error"   // the file system has recorded an error
	ReadOnlyUnknown ReadOnly = "unknown" // remounted by hand, or after an error that is not recorded
)

// ReadOnlyTargetError reports a target that takes no writes now and that the capture kernel
// may be able to write to.
type ReadOnlyTargetError struct {
	Dir    string
	FSType string
	Device string // the kernel's name
	Reason ReadOnly
}

func (e *ReadOnlyTargetError) Error() string {
	on := fmt.Sprintf("%s: %s on %s ", e.Dir, e.FSType, e.Device)
	switch e.Reason {
	case ReadOnlyOption:
		return on + "is mounted read-only, as /etc/fstab says: the capture kernel mounts it read-write"
	case ReadOnlyError:
		return on + "takes no writes after an error: unknown whether the capture kernel can write to it"
	}
	return on + "is mounted read-only, but not by /etc/fstab: unknown whether the capture kernel can write to it"
}

// Advice returns the remedy.
func (e *ReadOnlyTargetError) Advice() string {
	return "See why with dmesg: errors on the disk can make it so; then repair it with fsck, or name another directory in TARGET=."
}

// Doubtful reports whether the capture kernel may be unable to write to the target.
func (e *ReadOnlyTargetError) Doubtful() bool { return e.Reason != ReadOnlyOption }

// ReadOnlyTarget returns the error that the file system takes no writes now, nil if it
// does.
func (s *Storage) ReadOnlyTarget() *ReadOnlyTargetError {
	if s.ReadOnly == "" {
		return nil
	}
	return &ReadOnlyTargetError{s.Dir, s.FSType, s.Stack[0].Name, s.ReadOnly}
}

// checkWritable refuses storage to which the capture kernel cannot write, and
// fills in s.ReadOnly. The resolved dir need not exist.
func (h *Host) checkWritable(s *Storage, dir string) error {
	if err := h.checkDirectory(s.Dir, dir, s.FSType); err != nil {
		return err
	}
	sb, readOnly := h.superblock(s), s.Mount.ReadOnly()
	e := &UnsupportedError{Dir: s.Dir, Obstacle: NotWritable, What: s.FSType + " file system", Name: "on " + s.Stack[0].Name}
	switch device := h.readOnlyDevice(s); {
	case sb.never, sb.seed && readOnly: // a btrfs built on a seed has written
		e.Why = "read-only by its superblock"
		return e
	case s.Mount.stopped():
		s.ReadOnly = ReadOnlyError
	case !readOnly:
	case device != "":
		e.Why = "the device " + device + " is read-only"
		return e
	case sb.failed:
		s.ReadOnly = ReadOnlyError
	default:
		s.ReadOnly = h.readOnlyReason(s.Mount)
	}
	return nil
}

// stopped reports whether a file system that is mounted read-write has stopped to
// write, as ext4 shows since Linux 6.14.
func (m *Mount) stopped() bool {
	_, ro := m.option("emergency_ro")
	_, down := m.option("shutdown")
	return ro || down
}

// ReadOnly reports whether the file system of m is mounted read-only, and not only m,
// a bind mount.
func (m *Mount) ReadOnly() bool {
	_, ro := m.option("ro")
	return ro
}

// checkDirectory refuses a directory in which nothing can be made, however its file
// system is mounted. The nearest existing parent counts.
func (h *Host) checkDirectory(target, dir, fstype string) error {
	for ; dir != "/" && !h.exists(dir); dir = path.Dir(dir) {
	}
	e := &UnsupportedError{Dir: target, Obstacle: NotWritable}
	switch {
	case h.immutable(h.path(dir)):
		e.What, e.Name, e.Why = "immutable directory", dir, "nothing can be created there"
		e.Remedy = "Run chattr -i " + dir + ", or set TARGET= to another directory."
		return e
	case fstype == "btrfs" && h.frozen(h.path(dir)):
		e.What, e.Name, e.Why = "btrfs subvolume", "of "+dir, "read-only, as snapshots can be"
		return e
	}
	return nil
}

// immutable reports whether a directory has the attribute that chattr(1) calls i
// (statx(2)).
func immutable(dir string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, 0, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_IMMUTABLE != 0
}

// From include/uapi/linux/btrfs.h and btrfs_tree.h.
const (
	btrfsSubvolGetFlags = 0x80089419 // _IOR(BTRFS_IOCTL_MAGIC, 25, __u64)
	btrfsSubvolReadOnly = 1 << 1
	btrfsFirstInode     = 256 // of the top directory of a subvolume
)

// frozen reports whether the subvolume of btrfs that has the directory is read-only.
// That is a property of the subvolume and not of a mount.
func frozen(dir string) bool {
	for range 4096 { // PATH_MAX
		f, err := os.Open(dir)
		if err != nil {
			return false
		}
		var st unix.Stat_t
		err = unix.Fstat(int(f.Fd()), &st)
		if err == nil && st.Ino == btrfsFirstInode {
			flags, err := unix.IoctlGetInt(int(f.Fd()), btrfsSubvolGetFlags)
			f.Close()
			return err == nil && flags&btrfsSubvolReadOnly != 0
		}
		f.Close()
		if err != nil || dir == "/" {
			return false
		}
		dir = path.Dir(dir)
	}
	return false
}

// readOnlyDevice returns the name of a device of the file system that takes no writes,
// "" if all do: the top device, or the disk of the partition.
// An array of md loses that state at the reboot.
func (h *Host) readOnlyDevice(s *Storage) string {
	tops := []string{s.Stack[0].Name}
	for _, m := range s.Members {
		tops = append(tops, m.Name)
	}
	for _, b := range s.Stack {
		if !slices.Contains(tops, b.Name) || b.Kind == MD {
			continue
		}
		if h.attr(b.Path, "ro") == "1" {
			return b.Name
		}
		if disk := path.Dir(b.Path); b.Kind == Partition && h.attr(disk, "ro") == "1" {
			return path.Base(disk)
		}
	}
	return ""
}

// readOnlyReason tells why m is mounted read-only, as far as the tables say.
func (h *Host) readOnlyReason(m Mount) ReadOnly {
	for _, c := range h.mountTable().list {
		if (c.Point == m.Point || c.resolved == m.Point) && slices.Contains(strings.Split(c.Options, ","), "ro") {
			return ReadOnlyOption
		}
	}
	return ReadOnlyUnknown
}

// writeState are the parts of a superblock that tell whether it can be written to.
type writeState struct {
	never  bool // no kernel mounts it read-write
	seed   bool // a btrfs that only others build on
	failed bool // an error was recorded
}

// superblock reads the first device of s. One that cannot be read says nothing.
func (h *Host) superblock(s *Storage) (w writeState) {
	f, err := h.openBlock(s.Stack[0])
	if err != nil {
		return w
	}
	defer f.Close()
	le := binary.LittleEndian
	b := make([]byte, 4096)
	at := int64(1024)
	if s.FSType == "btrfs" {
		at = 64 << 10
	}
	if n, _ := f.ReadAt(b, at); n < len(b) {
		return w
	}
	switch typ := family(s.FSType); {
	case typ == "ext4" && le.Uint16(b[0x38:]) == 0xef53:
		// Documentation/filesystems/ext4/super.rst: s_state, s_feature_ro_compat.
		w.failed = le.Uint16(b[0x3a:])&2 != 0
		w.never = le.Uint32(b[0x64:])&0x1000 != 0
	case typ == "f2fs" && le.Uint32(b) == 0xf2f52010: // F2FS_FEATURE_RO of fs/f2fs/f2fs.h
		w.never = le.Uint32(b[2180:])&0x4000 != 0
	case typ == "btrfs" && string(b[64:72]) == "_BHRfS_M": // BTRFS_SUPER_FLAG_SEEDING of include/uapi/linux/btrfs_tree.h
		w.seed = le.Uint64(b[56:])&(1<<32) != 0
	}
	return w
}

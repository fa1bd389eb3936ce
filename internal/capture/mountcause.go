package capture

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"ukdump/internal/evidence"
	"ukdump/internal/plan"
)

// withoutReplay are the options that mount each file system read-only without
// replaying its journal: ext4(5), xfs(5), btrfs(5),
// Documentation/filesystems/f2fs.rst.
var withoutReplay = map[string]string{
	"ext3": "noload", "ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay", "f2fs": "disable_roll_forward",
}

// mountCause explains the error of mount(2) for the report. again mounts the file
// system read-only without replaying its journal, and unmounts it; nil if its type has
// none. It returns 0 on success. mountCause calls it only if the first error leaves the cause open.
func mountCause(err error, again func() unix.Errno) string {
	first, _ := err.(unix.Errno)
	if again == nil || conclusive(first) {
		return errnoCause(first)
	}
	second := again()
	switch {
	case second == 0 && first == unix.EINVAL:
		return "can be mounted read-only without its journal: the journal is damaged, or the kernel cannot write a feature of it"
	case second == 0:
		return "can be mounted read-only without its journal: the journal is damaged"
	case second == first:
		return "also read-only without its journal: " + errnoCause(first)
	}
	return "read-only without its journal: " + second.Error() + ": " + errnoCause(second)
}

// conclusive reports whether an error of mount(2) cannot come from a journal.
func conclusive(err unix.Errno) bool {
	switch err {
	case unix.ENODEV, unix.ENOMEM, unix.EBUSY, unix.EACCES, unix.EROFS, unix.ENXIO, unix.ENOENT,
		unix.ENOSYS, unix.EOPNOTSUPP, unix.EFBIG, unix.EOVERFLOW:
		return true
	}
	return false
}

// errnoCause returns the cause that an error of mount(2) stands for. Ext4, xfs, btrfs and
// f2fs return EINVAL for features and options that they do not know, as well as
// for bytes that are no superblock of theirs: fs/*/super.c, fs/xfs/xfs_super.c and
// fs/btrfs/disk-io.c. Damage has EFSCORRUPTED and EFSBADCRC, which are EUCLEAN and
// EBADMSG.
func errnoCause(err unix.Errno) string {
	switch err {
	case unix.ENODEV:
		return "the kernel has no driver for this file system"
	case unix.ENOMEM:
		return "not enough memory"
	case unix.EUCLEAN, unix.EBADMSG:
		return "its structures are damaged"
	case unix.EIO:
		return "the device fails, or its structures are damaged"
	case unix.EROFS, unix.EACCES:
		return "the device is write-protected"
	case unix.EBUSY:
		return "the device is in use"
	case unix.ENXIO:
		return "the device is gone"
	case unix.ENOENT:
		return "its subvolume or a device of it is missing"
	case unix.ENOSPC:
		return "it has no room for its own structures"
	case unix.ENOSYS, unix.EOPNOTSUPP, unix.EFBIG, unix.EOVERFLOW:
		return "the kernel does not support a feature of it"
	case unix.EINVAL:
		return "the kernel does not support a feature or an option of it, or its superblock is damaged"
	}
	return "check the file system"
}

// withoutJournal mounts a file system read-only without replaying its journal and
// unmounts it. It writes nothing. It returns nil for a type without a journal.
func withoutJournal(fs plan.Filesystem, dev string) func() unix.Errno {
	options := withoutReplay[fs.Type]
	if options == "" {
		return nil
	}
	return func() unix.Errno {
		err := unix.Mount("/dev/"+dev, mountDir, fs.Type, mountFlags|unix.MS_RDONLY, joinOptions(options, fs.Options))
		if err == nil {
			err = unix.Unmount(mountDir, 0)
		}
		errno, _ := err.(unix.Errno)
		return errno
	}
}

// kernelSays reads what the kernel writes to its log from now on.
type kernelSays struct{ fd int }

// listen opens the kernel's log at its end. Without a log, about returns "".
func listen() kernelSays {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return kernelSays{-1}
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		unix.Close(fd)
		return kernelSays{-1}
	}
	return kernelSays{fd}
}

func (k kernelSays) close() {
	if k.fd >= 0 {
		unix.Close(k.fd)
	}
}

// mostRecords bounds how much of the log is read after one system call.
const mostRecords = 100

// about returns the first warning about a device since listen, "" if there is none. The
// first one is the cause of those behind it.
func (k kernelSays) about(dev string) string {
	if k.fd < 0 {
		return ""
	}
	b := make([]byte, 8<<10) // PRINTK_MESSAGE_MAX of kernel/printk/printk.c is 2 KiB
	for range mostRecords {
		n, err := unix.Read(k.fd, b)
		switch {
		case err == unix.EPIPE: // records were overwritten
			continue
		case err != nil || n <= 0:
			return ""
		}
		if text := warningAbout(b[:n], dev); text != "" {
			return text
		}
	}
	return ""
}

// warningAbout returns the text of a record of /dev/kmsg if it is a warning or worse
// about a device, else "". Documentation/ABI/testing/dev-kmsg has the format.
func warningAbout(record []byte, dev string) string {
	const warning, longest = 4, 200
	head, text, _ := bytes.Cut(record, []byte(";"))
	text, _, _ = bytes.Cut(text, []byte("\n"))
	prefix, _, _ := bytes.Cut(head, []byte(","))
	priority, err := strconv.Atoi(string(prefix))
	if err != nil || priority&7 > warning || bytes.HasPrefix(text, []byte(evidence.Prefix)) {
		return ""
	}
	for rest := text; ; {
		i := bytes.Index(rest, []byte(dev))
		if i < 0 {
			return ""
		}
		before, after := rest[:i], rest[i+len(dev):]
		if !endsName(before) && !beginsName(after) {
			break
		}
		rest = after
	}
	return evidence.Printable(string(text[:min(len(text), longest)]))
}

func endsName(b []byte) bool   { return len(b) > 0 && inName(b[len(b)-1]) }
func beginsName(b []byte) bool { return len(b) > 0 && inName(b[0]) }

// inName reports whether a byte can be a part of the name of a block device.
func inName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

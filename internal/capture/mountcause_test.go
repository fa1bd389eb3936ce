package capture

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/plan"
)

const (
	causeFeature  = "the kernel does not support a feature of it"
	causeUnsure   = "the kernel does not support a feature or an option of it, or its superblock is damaged"
	causeDamaged  = "its structures are damaged"
	causeJournal  = "can be mounted read-only without its journal: the journal is damaged"
	causeReadOnly = causeJournal + ", or the kernel cannot write a feature of it"
)

func TestMountCause(t *testing.T) {
	const never = unix.Errno(0xfff) // the second attempt must not happen
	for _, tt := range []struct {
		typ    string
		first  unix.Errno
		second unix.Errno // of the mount without a journal, 0 if it succeeds
		want   string
	}{
		{"ext4", unix.EINVAL, unix.EINVAL, "also read-only without its journal: " + causeUnsure}, // an unknown incompatible feature
		{"ext4", unix.EINVAL, 0, causeReadOnly},                                                  // an unknown read-only compatible feature, or a bad journal
		{"ext4", unix.EUCLEAN, 0, causeJournal},
		{"ext4", unix.EUCLEAN, unix.EUCLEAN, "also read-only without its journal: " + causeDamaged},
		{"ext4", unix.EBADMSG, unix.EUCLEAN, "read-only without its journal: structure needs cleaning: " + causeDamaged},
		{"ext4", unix.EIO, unix.EIO, "also read-only without its journal: the device fails, or its structures are damaged"},
		{"ext4", unix.ENODEV, never, "the kernel has no driver for this file system"},
		{"ext4", unix.ENOMEM, never, "not enough memory"},
		{"ext4", unix.EROFS, never, "the device is write-protected"},
		{"ext4", unix.EBUSY, never, "the device is in use"},
		{"ext3", unix.EINVAL, 0, causeReadOnly},
		{"ext2", unix.EINVAL, never, causeUnsure}, // has no journal
		{"ext2", unix.EUCLEAN, never, causeDamaged},
		{"xfs", unix.EINVAL, unix.EINVAL, "also read-only without its journal: " + causeUnsure}, // version 4, ascii-ci, unknown flags
		{"xfs", unix.ENOSYS, never, causeFeature},                                               // blocks larger than pages
		{"xfs", unix.EFBIG, never, causeFeature},
		{"xfs", unix.EUCLEAN, 0, causeJournal},
		{"xfs", unix.EBADMSG, unix.EBADMSG, "also read-only without its journal: " + causeDamaged},
		{"xfs", unix.EACCES, never, "the device is write-protected"},
		{"btrfs", unix.EINVAL, unix.EINVAL, "also read-only without its journal: " + causeUnsure}, // sectors of 16 KiB, unknown flags
		{"btrfs", unix.EOPNOTSUPP, never, causeFeature},
		{"btrfs", unix.ENOENT, never, "its subvolume or a device of it is missing"},
		{"btrfs", unix.EIO, 0, causeJournal},
		{"btrfs", unix.ENOSPC, unix.EIO, "read-only without its journal: input/output error: the device fails, or its structures are damaged"},
		{"f2fs", unix.EINVAL, unix.EINVAL, "also read-only without its journal: " + causeUnsure},
		{"f2fs", unix.EUCLEAN, unix.ENOMEM, "read-only without its journal: cannot allocate memory: not enough memory"},
		{"vfat", unix.EINVAL, never, causeUnsure},
		{"vfat", unix.ENXIO, never, "the device is gone"},
		{"exfat", unix.EINVAL, never, causeUnsure},
		{"exfat", unix.ENOSPC, never, "it has no room for its own structures"},
		{"exfat", unix.EPERM, never, "check the file system"},
	} {
		again := withoutJournal(plan.Filesystem{Type: tt.typ}, "sda1")
		if again != nil {
			again = func() unix.Errno {
				if tt.second == never {
					t.Errorf("%s, %v: mounted again", tt.typ, tt.first)
				}
				return tt.second
			}
		}
		if got := mountCause(tt.first, again); got != tt.want {
			t.Errorf("%s, %v: got %q, want %q", tt.typ, tt.first, got, tt.want)
		}
	}
	if got := mountCause(errors.New("x"), nil); got != "check the file system" {
		t.Errorf("no errno: %q", got)
	}
}

func TestWarningAbout(t *testing.T) {
	for _, tt := range []struct{ name, dev, record, want string }{
		{"xfs", "vdb", "4,512,1000,-;XFS (vdb): Deprecated V4 format (crc=0) not supported by kernel.\n SUBSYSTEM=block\n", "XFS (vdb): Deprecated V4 format (crc=0) not supported by kernel."},
		{"ext4", "sda1", "3,512,1000,-;EXT4-fs (sda1): couldn't mount RDWR because of unsupported optional features (10000)\n", "EXT4-fs (sda1): couldn't mount RDWR because of unsupported optional features (10000)"},
		{"btrfs", "dm-0", "11,512,1000,-;BTRFS error (device dm-0 state C): open_ctree failed\n", "BTRFS error (device dm-0 state C): open_ctree failed"},
		{"a volume behind a disk of its name", "sda1", "3,1,1,-;I/O error, dev sda, sector 1\n", ""},
		{"a device with a longer name", "dm-1", "3,1,1,-;XFS (dm-10): Metadata corruption detected\n", ""},
		{"both", "dm-1", "3,1,1,-;XFS (dm-10): log of dm-1\n", "XFS (dm-10): log of dm-1"},
		{"a notice", "vdb", "5,1,1,-;XFS (vdb): Mounting V5 Filesystem\n", ""},
		{"our own", "vdb", "3,1,1,-;kdumpinit: vdb as xfs: invalid argument\n", ""},
		{"hostile bytes", "vdb", "3,1,1,-;FAT-fs (vdb): \x1b[2J\n", "FAT-fs (vdb): ?[2J"},
		{"continued", "vdb", "4,1,1,c;vdb\n", "vdb"},
		{"no priority", "vdb", "x;vdb\n", ""},
		{"empty", "vdb", "", ""},
	} {
		if got := warningAbout([]byte(tt.record), tt.dev); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

package crashdir

import (
	"math"
	"path/filepath"
	"syscall"
)

// Flags of statfs(2).
const (
	stRdonly = 1 // ST_RDONLY
	stNoexec = 8 // ST_NOEXEC
)

// Room is the room for files on a file system.
type Room struct {
	Free     int64 // bytes that this process may still use
	Largest  int64 // largest size of one file, in bytes
	ReadOnly bool  // mounted read-only
	NoExec   bool  // mounted noexec
	NoFiles  bool  // takes no further file: all inodes are in use
}

// RoomIn returns the room on the file system of dir. The error is a syscall.Errno.
func RoomIn(dir string) (Room, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return Room{}, err
	}
	return Room{
		Free:     int64(st.Bavail) * st.Bsize,
		Largest:  LargestFile(st.Type),
		ReadOnly: st.Flags&stRdonly != 0,
		NoExec:   st.Flags&stNoexec != 0,
		NoFiles:  st.Files > 0 && st.Ffree == 0, // btrfs and vfat count none
	}, nil
}

// RoomFor is RoomIn for a directory that may not exist yet. It returns the nearest
// parent that exists, too.
func RoomFor(dir string) (r Room, existing string, err error) {
	for {
		r, err = RoomIn(dir)
		if err != syscall.ENOENT || dir == "/" {
			return r, dir, err
		}
		dir = filepath.Dir(dir)
	}
}

// msdosMagic is MSDOS_SUPER_MAGIC of linux/magic.h.
const msdosMagic = 0x4d44

// LargestFile returns the largest size of a file, in bytes, on a file system with this
// f_type of statfs(2). FAT keeps sizes in 32 bits (s_maxbytes in fs/fat/inode.c). The
// other file systems for dumps have limits far above the size of memory: the result is
// math.MaxInt64.
func LargestFile(fsType int64) int64 {
	if fsType == msdosMagic {
		return math.MaxUint32
	}
	return math.MaxInt64
}

package crashdir

import "math"

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

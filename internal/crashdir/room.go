package crashdir

import "math"

// msdosMagic is MSDOS_SUPER_MAGIC of linux/magic.h.
const msdosMagic = 0x4d44

// LargestFile returns how large one file can be, in bytes, in a file system whose
// f_type statfs(2) gave: no free space is enough for a larger dump. FAT keeps
// sizes in 32 bits (s_maxbytes in fs/fat/inode.c); nothing else that dumps go to
// has a limit that memory comes near to, and gets math.MaxInt64.
func LargestFile(fsType int64) int64 {
	if fsType == msdosMagic {
		return math.MaxUint32
	}
	return math.MaxInt64
}

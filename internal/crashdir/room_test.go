package crashdir

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestLargestFile(t *testing.T) {
	if got := LargestFile(unix.MSDOS_SUPER_MAGIC); got != 4<<30-1 {
		t.Errorf("vfat %d", got)
	}
	for _, magic := range []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, 0x2011BAB0 /* exfat */} {
		if got := LargestFile(magic); got < 1<<50 {
			t.Errorf("%#x %d", magic, got)
		}
	}
}

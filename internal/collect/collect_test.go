package collect

import (
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/rawdump"
)

func TestFits(t *testing.T) {
	const fat = 4<<30 - 1
	k := &dumpRun{parent: "/efi", dump: &rawdump.Dump{}}
	for _, tt := range []struct {
		size, fsType int64
		fits         bool
	}{{fat, unix.MSDOS_SUPER_MAGIC, true}, {fat + 1, unix.MSDOS_SUPER_MAGIC, false}, {fat + 1, unix.EXT4_SUPER_MAGIC, true}} {
		k.dump.Stream.Length = tt.size
		if err := k.fits(crashdir.LargestFile(tt.fsType)); (err == nil) != tt.fits {
			t.Errorf("%d bytes to a file system of type %#x: %v", tt.size, tt.fsType, err)
		}
	}
}

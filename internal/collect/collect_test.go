package collect

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/rawdump"
)

// Writes stop before they fill the file system, in whatever pieces they come.
func TestBoundedFile(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name       string
		free, most int64
		piece      int
		distance   int64
		want       error
	}{
		{"a byte in each block", 40 * mib, math.MaxInt64, 1, fileBlock, errFills},
		{"a byte in each MiB", 40 * mib, math.MaxInt64, 1, mib, errFills},
		{"whole blocks", 40 * mib, math.MaxInt64, 64 << 10, 64 << 10, errFills},
		{"no room", 0, math.MaxInt64, 1, 1, errFills},
		{"no room but the reserve", keepFree - 1, math.MaxInt64, 1, 1, errFills},
		{"more than a dump can be", 1 << 40, 20 * mib, 1, fileBlock, errTooLarge},
		{"further than a dump can be", 1 << 40, 20 * mib, 1, 21 * mib, errTooLarge},
		{"fits", 80 * mib, 200 * mib, 4096, 4096, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "vmcore"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			written := int64(0) // blocks on a disk of that size
			f := &boundedFile{File: file, most: tt.most, room: func() (int64, error) { return tt.free - written, nil }}
			for n := range int64(16_000) {
				if _, err = f.WriteAt(make([]byte, tt.piece), (n+1)*tt.distance); err != nil {
					break
				}
				written += (int64(tt.piece) + fileBlock - 1) / fileBlock * fileBlock
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if tt.want == errFills && written > 0 && tt.free-written < keepFree/2 {
				t.Errorf("%d bytes are left free", tt.free-written)
			}
		})
	}
}

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

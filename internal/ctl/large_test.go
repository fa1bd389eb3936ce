package ctl

import (
	"math"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/config"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
)

// A FAT file system with 100 GiB free takes no vmcore of 10 GiB.
func TestLargestFile(t *testing.T) {
	const gib = 1 << 30
	fat, other := int64(4*gib-1), int64(math.MaxInt64)
	s := &status{Ours: &loaded{Forecast: &forecast{Bytes: 10 * gib}}}
	esp := targetStatus{Kind: plan.Directory, Dir: "/efi", Free: 100 * gib, known: true, most: fat}
	s.Targets = []targetStatus{esp}
	if err := s.checkRoom(); err == nil || !strings.HasSuffix(err.Error(), "/efi has 100.0 GiB free, but no file above 4.0 GiB") {
		t.Errorf("status: %v", err)
	}
	s.Targets = append(s.Targets, targetStatus{Kind: plan.Directory, Dir: "/srv", Free: 11 * gib, known: true, most: other})
	if err := s.checkRoom(); err != nil {
		t.Errorf("status, with another target: %v", err)
	}

	v := &verification{ctl: &ctl{}, conf: &config.Config{}, forecast: &forecast{Bytes: 10 * gib}}
	v.checkSpace([]space{{name: "/efi", free: 100 * gib, most: fat}})
	if p := v.problems(); len(p) != 1 || !strings.HasSuffix(p[0], "/efi has 100.0 GiB, but takes no file above 4.0 GiB") {
		t.Errorf("verify: %q", p)
	}

	k := &collection{parent: "/efi", dump: &rawdump.Dump{}}
	for _, tt := range []struct {
		size, fsType int64
		fits         bool
	}{{fat, unix.MSDOS_SUPER_MAGIC, true}, {fat + 1, unix.MSDOS_SUPER_MAGIC, false}, {fat + 1, unix.EXT4_SUPER_MAGIC, true}} {
		k.dump.Stream.Length = tt.size
		if err := k.fits(tt.fsType); (err == nil) != tt.fits {
			t.Errorf("collect %d bytes to a file system of type %#x: %v", tt.size, tt.fsType, err)
		}
	}
}

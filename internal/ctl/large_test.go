package ctl

import (
	"math"
	"strings"
	"testing"

	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// A FAT file system with 100 GiB free takes no vmcore of 10 GiB.
func TestStatusLargestFile(t *testing.T) {
	const gib = 1 << 30
	s := &status{Ours: &state.LoadRecord{Forecast: &state.Forecast{Bytes: 10 * gib}}}
	s.Targets = []targetStatus{{Kind: plan.Directory, Dir: "/efi", Free: new(int64(100 * gib)), most: 4*gib - 1}}
	if err := s.noRoom(); err == nil || !strings.HasSuffix(err.Error(), "/efi has 100.0 GiB free, but takes no file above 4.0 GiB") {
		t.Errorf("got %v", err)
	}
	s.Targets = append(s.Targets, targetStatus{Kind: plan.Directory, Dir: "/srv", Free: new(int64(11 * gib)), most: math.MaxInt64})
	if err := s.noRoom(); err != nil {
		t.Errorf("with another target: %v", err)
	}
}

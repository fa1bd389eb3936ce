package capture

import (
	"testing"
	"time"

	"ukdump/internal/plan"
)

// A connection is given up for the next target only if its progress shows that it cannot end
// in time.
func TestTooSlow(t *testing.T) {
	for _, tt := range []struct {
		name    string
		percent float64
		elapsed time.Duration
		left    time.Duration
		targets int
		want    bool
	}{
		{"fast", 50, time.Minute, 10 * time.Minute, 2, false},
		{"in time", 10, time.Minute, 13 * time.Minute, 2, false},
		{"slow", 10, time.Minute, 11 * time.Minute, 2, true},
		{"slow, no other target", 1, time.Minute, time.Minute, 1, false},
		{"too early to tell", 0.1, 20 * time.Second, time.Minute, 2, false},
		{"not known", 0, time.Minute, time.Minute, 2, false},
	} {
		w := &worker{state: &state{}, plan: &plan.Plan{Targets: make([]plan.Target, tt.targets)}, percent: tt.percent}
		w.end = uptime() + tt.left
		r := &server{w: w}
		w.place = r
		if got := w.tooSlow(tt.elapsed); got != tt.want || (r.err != nil) != tt.want {
			t.Errorf("%s: %v, %v", tt.name, got, r.err)
		}
	}
}

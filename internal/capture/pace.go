package capture

import (
	"fmt"
	"time"
)

// sampleTime returns how long a collector that has left for its work must run until its
// speed is known well enough: a disk may stall to begin with.
func sampleTime(left time.Duration) time.Duration {
	return max(left/20, min(2*time.Minute, left/10))
}

// pace is the progress of a collector since it began to copy.
type pace struct {
	left  time.Duration // that it had when it began to copy, 0 before that
	begin time.Duration // uptime at that time
	from  float64       // per cent at that time
}

// late returns why the running collector is stopped before the time is up, "" if it goes
// on. With many TiB the dump of everything may need days: a quicker collector then saves
// at least the kernel. If there is none, the collector goes on for half of the time in any
// case, and to the end if it can save half of the memory: part of a vmcore is better than
// none. One that cannot is stopped: the machine comes back, or another target gets the
// time.
func (w *worker) late(p *pace) string {
	now := uptime()
	if p.left == 0 {
		if w.percent > 0 {
			*p = pace{left: max(w.end-now, 1), begin: now, from: w.percent}
		}
		return ""
	}
	elapsed, done := now-p.begin, w.percent-p.from
	if elapsed < sampleTime(p.left) || done < 1 {
		return ""
	}
	need, left := time.Duration(float64(elapsed)/done*(100-w.percent)), p.left-elapsed
	if need <= left || !w.quicker() && (elapsed < left || need <= elapsed+2*left) {
		return ""
	}
	return fmt.Sprintf("too slow to end in time: it needs another %v and has %v", need.Round(time.Second), left.Round(time.Second))
}

// quicker reports whether a quicker collector follows the running one.
func (w *worker) quicker() bool {
	for i := w.state.Collector; i < len(w.plan.Collectors); i++ {
		if c := &w.plan.Collectors[i]; c.Quick && !w.unable(c) {
			return true
		}
	}
	return false
}

// slow reports whether a collector was too slow at this place.
func (w *worker) slow() bool {
	for _, a := range w.attempts() {
		if a.Slow {
			return true
		}
	}
	return false
}

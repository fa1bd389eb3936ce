package capture

import (
	"fmt"
	"time"

	"ukdump/internal/makedumpfile"
)

// sampleTime returns how long a collector that has left for its work must run until its
// speed is known well enough: a disk may stall to begin with.
func sampleTime(left time.Duration) time.Duration {
	return max(left/20, min(2*time.Minute, left/10))
}

// pace is the progress of a collector since it began to copy.
type pace struct {
	continues bool          // it continues the output of an earlier run
	copies    bool          // it has begun to copy
	start     time.Duration // uptime when the collector started
	begin     time.Duration // uptime when it began to copy; until then, when it last searched for pages
	from      float64       // per cent when it began to copy
}

// update takes progress that the collector has just printed. Copying begins at its first
// progress if that is none or continues an earlier run, and else behind the search for
// pages, which may be long. A collector that shows no search begins with copying.
func (p *pace) update(now time.Duration, pr makedumpfile.Progress) {
	switch {
	case p.copies:
		return
	case !pr.Copying():
		p.begin = now
		return
	case pr.Percent == 0 || p.continues:
		p.begin, p.from = now, pr.Percent
	}
	p.copies = true
}

// need estimates how much longer the collector needs from percent to the end. It returns
// false if that is not known.
func (p *pace) need(now time.Duration, percent float64) (time.Duration, bool) {
	if !p.copies || percent <= p.from {
		return 0, false
	}
	return time.Duration(float64(now-p.begin) / (percent - p.from) * (100 - percent)), true
}

// late returns why the running collector is stopped before the time is up, "" if it goes
// on. With many TiB the dump of everything may need days: a quicker collector then saves
// at least the kernel. If there is none, the collector goes on for half of the time in any
// case, and to the end if it can save half of the memory: part of a vmcore is better than
// none. One that cannot is stopped: the machine comes back, or another target gets the
// time.
func (w *worker) late(p *pace) string {
	now := uptime()
	need, known := p.need(now, w.percent)
	elapsed, left := now-p.begin, w.end-now
	if !known || elapsed < sampleTime(elapsed+left) || w.percent-p.from < 1 {
		return ""
	}
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

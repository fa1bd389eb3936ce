package capture

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// Sizes in bytes.
const (
	// reserve is the free space that is kept for the report and the capture
	// kernel's log.
	reserve = 8 << 20
	// leastRoom is the room below which no collector is started.
	leastRoom = 1 << 20
	// mostDumps is the number of dumps that makeRoom considers, and roomLimit its time.
	mostDumps = 200
	roomLimit = 30 * time.Second
	// nearLimit is the distance from its limit at which a collector counts as full.
	nearLimit = 1 << 20
)

// roomIn returns the largest size of a new vmcore in dir, in bytes.
func roomIn(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0
	}
	free := int64(st.Bavail) * st.Bsize
	return min(free-min(reserve, free/4), crashdir.LargestFile(st.Type))
}

// largestIn returns the largest size of a file in dir even if it is alone, in bytes.
func largestIn(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0
	}
	return crashdir.LargestFile(st.Type)
}

// full reports whether a collector failed for lack of room.
func (w *worker) full(a *crashdir.Attempt) bool {
	if a.Exit == 0 { // its output may be whole
		return false
	}
	return a.Limit > 0 && a.Limit-w.place.taken() < nearLimit || w.place.room() < leastRoom
}

// makeRoom removes expendable older dumps from the directory parent until it has need
// bytes of room, if the plan permits that. It reports whether it removed any. current
// is the name of the dump that is being written, "" before that.
func (w *worker) makeRoom(parent, current string, need int64) bool {
	if !w.plan.MakeSpace || roomIn(parent) >= need || largestIn(parent) < need {
		return false
	}
	// Each entry may cost a read of the disk, and the dump waits.
	end, told := min(w.end, uptime()+roomLimit), uptime()
	all, err := crashdir.ListSome(parent, mostDumps, func() bool {
		now := uptime()
		if now-told > time.Second {
			told = now
			w.super.progress()
		}
		return now < end
	})
	if err != nil {
		w.fail("make room: %v", err)
		return false
	}
	others := all[:0]
	for _, o := range all {
		if o.Name != current {
			others = append(others, o)
		}
	}
	removed := false
	for _, o := range crashdir.Expendable(others) {
		if w.report.Test != "" && !o.Test { // a test costs no dump of a crash
			break
		}
		if roomIn(parent) >= need || uptime() >= end {
			break
		}
		w.log.printf("making room: removing the dump %s, %s", o.Name, o.Outcome)
		if err := crashdir.Remove(o); err != nil {
			w.fail("make room: %v", err)
			continue
		}
		// Some file systems free the space only with the next commit.
		if err := syncFilesystem(parent); err != nil {
			w.fail("make room: %v", err)
		}
		w.super.progress()
		w.report.Removed = append(w.report.Removed, o.Name)
		removed = true
	}
	return removed
}

// roomFor makes room for collector c, which ran out of room in attempt a. It reports
// whether another run is worthwhile.
func (w *worker) roomFor(a *crashdir.Attempt, c *plan.Collector) bool {
	d := w.directory()
	if d == nil {
		return false
	}
	taken := d.taken()
	need := max(2*taken, 64<<20)
	if a.Percent > 1 { // with a tenth to spare
		need = int64(float64(taken) * 110 / a.Percent)
	}
	if w.canResume(c) {
		need -= taken
	}
	if !w.makeRoom(filepath.Dir(d.dir), filepath.Base(d.dir), need) {
		return false
	}
	switch {
	case d.room() >= need:
		return true
	case taken == 0: // part of a vmcore is better than none
		return d.room() >= leastRoom
	}
	// No room beside the old output, which is worth less than a new one.
	if w.canResume(c) || d.room()+taken < need {
		return false
	}
	if err := d.discard(); err != nil {
		w.fail("make room: %v", err)
		return false
	}
	return true
}

package capture

import (
	"path/filepath"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// In bytes.
const (
	// reserve is the free space that no vmcore may take: the report and the
	// capture kernel's log come after it.
	reserve = 8 << 20
	// leastRoom is the room below which no collector is started.
	leastRoom = 1 << 20
	// nearLimit is how close to its limit a collector stops that has run into it.
	nearLimit = 1 << 20
)

// roomIn returns how many bytes a vmcore in dir may have.
func roomIn(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0
	}
	free := int64(st.Bavail) * st.Bsize
	return min(free-min(reserve, free/4), crashdir.LargestFile(st.Type))
}

// largestIn returns how many bytes a file in dir can have, whatever is removed.
func largestIn(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0
	}
	return crashdir.LargestFile(st.Type)
}

// full reports whether a collector failed because there was no more room.
func (w *worker) full(a *crashdir.Attempt) bool {
	if a.Exit == 0 { // its output may be whole
		return false
	}
	return a.Limit > 0 && a.Limit-w.place.taken() < nearLimit || w.place.room() < leastRoom
}

// makeRoom removes expendable older dumps from the directory parent until need
// bytes of room are there, if that is allowed, and reports whether it removed
// any. current is the name of the dump that is being written, "" before that.
func (w *worker) makeRoom(parent, current string, need int64) bool {
	if !w.plan.MakeSpace || roomIn(parent) >= need || largestIn(parent) < need {
		return false
	}
	all, err := crashdir.List(parent)
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
		if roomIn(parent) >= need {
			break
		}
		w.log.printf("making room: removing the dump %s, %s", o.Name, o.Outcome)
		if err := crashdir.Remove(o); err != nil {
			w.fail("make room: %v", err)
			continue
		}
		// Some file systems give the space back only with the next commit.
		if err := syncFilesystem(parent); err != nil {
			w.fail("make room: %v", err)
		}
		w.super.progress()
		w.report.Removed = append(w.report.Removed, o.Name)
		removed = true
	}
	return removed
}

// roomFor makes room for collector c, which ran out of it in attempt a, and reports
// whether it is worth to run it again.
func (w *worker) roomFor(a *crashdir.Attempt, c *plan.Collector) bool {
	d, ok := w.place.(*directory)
	if !ok {
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
	// Not beside its output, which is worth less than that of the next run.
	if w.canResume(c) || d.room()+taken < need {
		return false
	}
	if err := d.discard(); err != nil {
		w.fail("make room: %v", err)
		return false
	}
	return true
}

package crashdir

import (
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Policy limits the dumps of one directory. 0 is no limit.
type Policy struct {
	Keep     int   // dumps, as many tests, and as many logs of dumps at servers
	MaxUse   int64 // bytes on disk of all dumps
	KeepFree int64 // bytes to leave free on their file system
}

// Expendable returns the dumps that may be removed to make room for others, in the
// order of removal. dumps are sorted as by List. The newest dump, the newest complete
// dump, the newest of LogOnly and the newest log of a dump at a server are kept, and those
// that cannot be read: one of these may be the only complete one. Tests come first and are never kept, as nobody has to find their cause. A dump that is still being written must not be among dumps.
func Expendable(dumps []Dump) []Dump {
	// With a wrong clock the newest dump may have the time of the oldest, or an old one
	// the time of the newest. So the newest of those before and after all times that can
	// be right stay as well.
	future := now().Add(clockOff)
	var newest, complete, logs, away [3]int // places of dumps of each era, counted from 1
	for i := range dumps {
		if dumps[i].Test {
			continue
		}
		e := era(&dumps[i], future)
		if dumps[i].At != "" { // a dump here is not older for it
			away[e] = i + 1
			continue
		}
		newest[e] = i + 1
		if dumps[i].Outcome == Complete {
			complete[e] = i + 1
		}
		if dumps[i].LogOnly {
			logs[e] = i + 1
		}
	}
	var tests, list []Dump
	for i := range dumps {
		e := era(&dumps[i], future)
		switch {
		case dumps[i].Test:
			tests = append(tests, dumps[i])
		case i+1 != newest[e] && i+1 != complete[e] && i+1 != logs[e] && i+1 != away[e] && dumps[i].Outcome != Unknown:
			list = append(list, dumps[i])
		}
	}
	return append(tests, list...)
}

// era returns 0 for a dump from before the first dump, 2 for one from the future, else 1.
func era(d *Dump, future time.Time) int {
	if d.Time.Before(clockWrong) {
		return 0
	}
	if future.Before(d.Time) {
		return 2
	}
	return 1
}

var now = time.Now // replaced in tests

// clockOff is how much clocks that are right may differ: a hardware clock can show the
// local time.
const clockOff = 25 * time.Hour

// clockWrong is a time before the first dump that was ever written.
var clockWrong = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// kind is a kind of dumps that Policy.Keep counts for itself.
type kind struct{ test, away bool }

func (d *Dump) kind() kind { return kind{d.Test, d.At != "" && !d.Test} }

// Enforce calls remove for Expendable dumps, oldest first, until p holds. free is the
// free space of their file system now, in bytes. A dump that cannot be removed still
// counts: the next one is removed in its place. Enforce returns the errors.
func (p Policy) Enforce(dumps []Dump, free int64, remove func(Dump) error) (errs []error) {
	count, used := map[kind]int{}, int64(0)
	for _, d := range dumps {
		count[d.kind()]++
		used += d.Used
	}
	for _, d := range Expendable(dumps) {
		if !(p.Keep > 0 && count[d.kind()] > p.Keep || p.MaxUse > 0 && used > p.MaxUse || p.KeepFree > 0 && free < p.KeepFree) {
			continue
		}
		err := remove(d)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // somebody else removed it
			errs = append(errs, err)
			if errors.Is(err, unix.EROFS) { // the others would fail, too
				break
			}
			continue
		}
		count[d.kind()]--
		used, free = used-d.Used, free+d.Used
	}
	return errs
}

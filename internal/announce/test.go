package announce

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/journal"
	"ukdump/internal/state"
)

// testMessage is the MESSAGE_ID of the result of kdumpctl test.
const testMessage = "18489ef1de1b4204a72d8aeab58b9743"

// pendingTest returns the test that an earlier boot has begun and whose result is not
// known yet, nil without one.
func (r *Run) pendingTest() *state.Test {
	t, err := r.Store.LastTest()
	if err != nil {
		r.Out.Warn(fmt.Sprintf("read the state of the test: %v", err))
	}
	if t == nil || t.Result != state.TestPending || t.Boot == r.Store.BootID() {
		return nil
	}
	return t
}

// testDumps takes the dumps of tests out of a list.
func testDumps(all []crashdir.Dump) (tests, crashes []crashdir.Dump) {
	for _, d := range all {
		if d.Test {
			tests = append(tests, d)
		} else {
			crashes = append(crashes, d)
		}
	}
	return tests, crashes
}

// testEvents makes one event for each test: those with dumps, and the pending one. left is
// what its capture has left in pstore, other a crash that came instead; both may be nil.
func (r *Run) testEvents(conf *config.Config, pending *state.Test, tests []crashdir.Dump, left *crashdir.Dump, other *event, known *state.AnnounceLog) (events []event) {
	found := false
	for _, d := range BestOfEach(tests) {
		t := &state.Test{Token: d.Report.Test, Time: d.Time, Keep: true} // of another machine, or forgotten
		if pending != nil && pending.Token == d.Report.Test {
			t, found = pending, true
		}
		if t.Judge(&d); t.Result == state.TestFailed {
			t.Why += likely(d.Report, r.Store.LoadedIn(t.Boot))
		}
		events = append(events, *testEventOf(t, &d))
	}
	if pending != nil && !found {
		if e := r.lostTest(conf, pending, left, other, known); e != nil {
			events = append(events, *e)
		}
	}
	return events
}

// lostTest returns the event of a test that has left no dump, nil if that is not sure. left
// is what its capture has left in pstore, other a crash that came instead; both may be nil.
func (r *Run) lostTest(conf *config.Config, t *state.Test, left *crashdir.Dump, other *event, known *state.AnnounceLog) *event {
	t.Result = state.TestFailed
	switch {
	case other != nil:
		t.Why = "the kernel crashed for another reason: " + other.message
	case left != nil:
		t.Why = cli.Text(strings.Join(left.Report.Errors, "; "), 600)
		return testEventOf(t, left)
	default:
		if doubt := r.mayHaveDump(conf, known); doubt != "" {
			r.Out.Warn("unknown whether the test passed: " + doubt)
			return nil
		}
		t.Why = "nothing was saved: the capture failed, the machine lost power or was reset, or the kernel did not crash" + likely(nil, r.Store.LoadedIn(t.Boot))
	}
	return testEventOf(t, nil)
}

// mayHaveDump says where a dump may be that cannot be seen, "" if nowhere.
func (r *Run) mayHaveDump(conf *config.Config, known *state.AnnounceLog) string {
	if paths, _ := r.waitingDumps(known); len(paths) > 0 {
		return "a dump was NOT COLLECTED from " + cli.Text(strings.Join(paths, " and "), 500) + ", see kdumpctl collect"
	}
	if m := host.MissingMount(r.Root, conf.DumpDirs(r.Root)); m != nil {
		return cli.Text(m.Point, 500) + " is not mounted"
	}
	for _, t := range conf.Targets {
		if t.Remote() {
			return "the dump may be at " + t.String()
		}
	}
	return ""
}

// testEventOf is the event of a test, with the dump d if it is not nil.
func testEventOf(t *state.Test, d *crashdir.Dump) *event {
	e := &event{key: "test-" + t.Token, id: testMessage, test: t, priority: notice}
	begun := t.Time.UTC().Format(time.RFC3339)
	switch t.Result {
	case state.TestPassed:
		saved := "a complete dump of " + cli.Size(t.Bytes)
		if d.At != "" {
			saved += " at " + cli.Text(d.At, 300)
		}
		if t.LogOnly {
			saved = "the kernel log, and no vmcore, as DUMP=log asks,"
		}
		e.message = fmt.Sprintf("the test of %s passed: Linux %s saved %s in %.0f s, with %s of memory to spare",
			begun, cli.Text(d.Report.Capture, 70), saved, t.Seconds, cli.Size(t.Spare))
	default:
		e.priority = critical
		e.message = fmt.Sprintf("the test of %s FAILED: %s", begun, cli.Text(t.Why, 600))
	}
	outcome := "none"
	if d != nil {
		e.key, e.time, outcome = Key(*d), d.Time, string(d.Outcome)
		if d.Path != "" {
			e.message += ": " + cli.Text(d.Path, 4096)
		}
		e.fields = append(e.fields, journal.Field{Name: "UKDUMP_DIRECTORY", Value: cli.Text(d.Path, 4096)})
	}
	e.fields = append(e.fields, journal.Field{Name: "UKDUMP_TEST", Value: string(t.Result)}, journal.Field{Name: "UKDUMP_OUTCOME", Value: outcome})
	return e
}

// saveTest records the result of a test, if it is the last one of this machine.
func (r *Run) saveTest(t *state.Test) (ours bool, err error) {
	last, err := r.Store.LastTest()
	if err != nil || last == nil || last.Token != t.Token {
		return false, nil // status has said what is wrong with the file
	}
	return true, r.Store.SaveTest(t)
}

// removeVmcores removes the vmcores of a test that passed. What they have proven is in the
// reports, which stay.
func removeVmcores(token string, tests []crashdir.Dump) error {
	var errs []error
	for _, d := range tests {
		if d.Report.Test == token && d.Vmcore != "" {
			errs = append(errs, removeVmcore(d))
		}
	}
	return errors.Join(errs...)
}

func removeVmcore(d crashdir.Dump) error {
	dir, err := crashdir.OpenFolder(d)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Remove(filepath.Base(d.Vmcore))
}

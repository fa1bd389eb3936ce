// Package announce reports crashes to the journal and to whoever logs in.
package announce

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
	"ukdump/internal/journal"
	"ukdump/internal/state"
	"ukdump/internal/unseal"
)

// Run is one run of kdumpctl announce.
type Run struct {
	Out          *cli.Program // for messages
	Root         string       // of the machine; "/" but for tests
	Store        state.Store
	JournalLimit time.Duration // how long journald may take to take an entry
	// StartHooks has RunHooks run, and does not wait for it.
	StartHooks func() error
	// Adopt has RunHooks kill each process that a hook leaves behind, also those outside of
	// its process group: every child of this process, which must run nothing else.
	Adopt bool
}

// The MESSAGE_IDs of our entries (sd_journal_print(3)).
const (
	// crashMessage is for a kernel that crashed, whatever was saved.
	crashMessage = "cb264f724de64c638c74f4da74078db0"
	// lostMessage is for a machine that went down without a shutdown and left
	// nothing.
	lostMessage = "88d3927a1a8f4bbaba587891dfbdda2b"
)

// event is one entry.
type event struct {
	key     string    // by which it is remembered
	time    time.Time // of the crash, zero if there is no dump
	id      string    // MESSAGE_ID
	message string
	fields  []journal.Field

	priority string      // see syslog(3)
	test     *state.Test // nil for a crash
}

// Priorities of entries.
const (
	critical = "2"
	notice   = "5"
)

// Announce reports the crashes that were not announced yet. Every error is reported, but
// none keeps it from going on.
func (r *Run) Announce(conf *config.Config) error {
	var errs []error
	known, err := r.Store.Announced()
	if err != nil {
		r.Out.Warn(fmt.Sprintf("read the list of announced crashes: %v", err))
	}
	if known.Boot != r.Store.BootID() {
		known.Boot, known.Crashes, known.Last, known.Test = r.Store.BootID(), 0, "", ""
	}
	pending := r.pendingTest()
	dumps, err := r.newDumps(conf, known, pending)
	if err != nil {
		errs = append(errs, err)
	}
	tests, dumps := testDumps(dumps)
	events := r.events(conf, known, pending, tests, dumps)
	deaf := false
	for _, e := range events {
		deaf = deaf || !r.toJournal(e)
		if deaf {
			fmt.Fprintf(r.Out.Stderr, "%s: %s\n", r.Out.Name, e.message)
		}
		if conf.Hook != "" {
			r.queueHook(e)
		}
		// After the telling: rather twice than never.
		if err := r.remember(known, &e, tests); err != nil {
			errs = append(errs, err)
		}
	}
	if err := r.Store.SaveAnnounced(known); err != nil {
		errs = append(errs, err)
	} else if err := r.Store.EndEarlierWatch(); err != nil { // after the telling, too
		r.Out.Warn(err.Error())
	}
	if err := r.writeMotd(conf.Motd, known); err != nil {
		r.Out.Warn(err.Error())
	}
	if conf.Hook != "" {
		r.startHooks()
	}
	return errors.Join(errs...)
}

// remember records that e was announced. tests are the dumps of tests.
func (r *Run) remember(known *state.AnnounceLog, e *event, tests []crashdir.Dump) error {
	known.Add(e.key, e.time)
	if e.test == nil {
		known.Crashes, known.Last = known.Crashes+1, e.message
		return r.Store.SaveAnnounced(known)
	}
	known.Test = e.message
	ours, err := r.saveTest(e.test)
	if err != nil {
		return err
	}
	if err := r.Store.SaveAnnounced(known); err != nil {
		return err
	}
	if !ours || e.test.Keep || e.test.Result != state.TestPassed {
		return nil
	}
	return removeVmcores(e.test.Token, tests)
}

// events makes the events of everything that is new.
func (r *Run) events(conf *config.Config, known *state.AnnounceLog, pending *state.Test, tests, dumps []crashdir.Dump) []event {
	saved, others := r.pstoreLogs(conf, known, len(dumps)+len(tests) > 0)
	var left *crashdir.Dump // by the capture of the test, in pstore
	if pending != nil && len(saved) > 0 {
		left, saved = &saved[0], saved[1:]
	}
	events := crashEvents(append(dumps, saved...), r.Store.LoadedEarlier())
	var first *event
	if len(events) > 0 {
		first = &events[0]
	}
	events = append(events, r.testEvents(conf, pending, tests, left, first, known)...)
	if e := r.lostEvent(conf, known, len(events) > 0, others); e != nil {
		events = append(events, *e)
	}
	return events
}

// newDumps returns the dumps that are not in known. When nothing is known, those
// from before the boot in which kdumpctl loaded a capture kernel for the last time
// are taken for old. Those of the pending test, if it is not nil, are new at any time.
func (r *Run) newDumps(conf *config.Config, known *state.AnnounceLog, pending *state.Test) ([]crashdir.Dump, error) {
	var fresh []crashdir.Dump
	var errs []error
	for _, dir := range conf.DumpDirs(r.Root) {
		dumps, err := crashdir.List(dir)
		if err != nil {
			errs = append(errs, err)
		}
		for _, d := range dumps {
			switch {
			case pending != nil && d.Test && d.Report.Test == pending.Token:
				fresh = append(fresh, d)
			case known.Has(Key(d), d.Time):
			case known.First && d.Time.Before(r.firstCutoff()):
				known.Add(Key(d), d.Time)
			default:
				fresh = append(fresh, d)
			}
		}
	}
	return fresh, errors.Join(errs...)
}

// firstCutoff is the time before which crashes are old on the first run. The
// clock of the capture kernel can be off by some hours, where the hardware's shows
// local time.
func (r *Run) firstCutoff() time.Time {
	t := time.Now()
	if l := r.Store.LastLoaded(); l != nil && l.BootID != r.Store.BootID() && l.Time.Before(t) {
		t = l.Time
	}
	return t.Add(-24 * time.Hour)
}

// Key is what a dump is remembered by: the crash's ID, so that what two
// targets got of one crash is announced once, else its path.
func Key(d crashdir.Dump) string {
	if id := crashID(d); id != "" {
		return id
	}
	return d.Path
}

// crashID returns the ID in a dump's report, "" if it has none that can be one.
func crashID(d crashdir.Dump) string {
	if d.Report == nil || len(d.Report.ID) > 64 {
		return ""
	}
	for _, r := range d.Report.ID {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' {
			return ""
		}
	}
	return d.Report.ID
}

// crashEvents makes one event for each crash, oldest first. loaded is the set that was
// loaded in an earlier boot, nil if that is not known.
func crashEvents(dumps []crashdir.Dump, loaded *state.LoadRecord) []event {
	var events []event
	for _, d := range BestOfEach(dumps) {
		events = append(events, crashEvent(Key(d), d, loaded))
	}
	return events
}

// BestOfEach sorts dumps and returns the best one of each crash, the oldest crash first:
// several targets can have one.
func BestOfEach(dumps []crashdir.Dump) (best []crashdir.Dump) {
	crashdir.Sort(dumps)
	at := map[string]int{}
	for _, d := range dumps {
		key := Key(d)
		i, ok := at[key]
		switch {
		case !ok:
			at[key] = len(best)
			best = append(best, d)
		case better(&d, &best[i]):
			best[i] = d
		}
	}
	return best
}

// better reports whether a is a better dump of a crash than b. A log by choice is better
// than one that alone was left, and a complete dump at a server is only behind one here.
func better(a, b *crashdir.Dump) bool {
	if (a.At != "") != (b.At != "") {
		return a.At != "" && b.Outcome != crashdir.Complete || a.Outcome == crashdir.Complete
	}
	return a.Outcome.Better(b.Outcome) || a.Outcome == b.Outcome && a.LogOnly && !b.LogOnly
}

func crashEvent(key string, d crashdir.Dump, loaded *state.LoadRecord) event {
	r := d.Report
	if r == nil {
		r = new(crashdir.Report)
	}
	why := ""
	switch {
	case len(r.Errors) > 0:
		why = r.Errors[0]
	case d.ReportErr != nil:
		why = d.ReportErr.Error()
	}
	saved := map[crashdir.Outcome]string{
		crashdir.Complete:   "the dump is complete",
		crashdir.Incomplete: "THE DUMP IS INCOMPLETE",
		crashdir.DmesgOnly:  "ONLY THE KERNEL LOG WAS SAVED",
		crashdir.Failed:     "NOTHING WAS SAVED",
		crashdir.Unknown:    "WHETHER A DUMP WAS SAVED IS NOT KNOWN",
	}[d.Outcome]
	if sealed := unseal.Describe(&d); sealed != "" {
		saved += ", " + sealed
	}
	switch {
	case d.At != "":
		saved = "the dump is complete at " + cli.Text(d.At, 300) + ", log and report are here, too"
	case d.LogOnly:
		saved = "the kernel log was saved, and no vmcore, as DUMP=log asks"
	case why != "" && d.Outcome != crashdir.Complete:
		saved += " (" + cli.Text(why, 200) + ")"
	}
	if d.Outcome == crashdir.Failed || !d.Saved() && r.OutOfMemory() {
		saved += likely(r, loaded)
	}
	found := evidence.OfDump(&d)
	linux, reason := "Linux", cli.Text(found.Panic.Reason(), cli.MaxText)
	if found.Kernel != "" {
		linux += " " + found.Kernel
	}
	switch {
	case reason != "":
	case found.Sealed:
		reason = "the reason is encrypted"
	default:
		reason = "the reason is not known"
	}
	e := event{key: key, time: d.Time, id: crashMessage, priority: critical}
	e.message = cli.Text(fmt.Sprintf("%s crashed: %s; %s", cli.Text(linux, 70), cli.Text(reason, 500), saved), 800)
	if d.Path != "" {
		e.message += ": " + cli.Text(d.Path, 4096)
	}
	e.fields = []journal.Field{
		{Name: "UKDUMP_OUTCOME", Value: string(d.Outcome)},
		{Name: "UKDUMP_DIRECTORY", Value: cli.Text(d.Path, 4096)},
		{Name: "UKDUMP_SERVER", Value: cli.Text(d.At, 4096)},
		{Name: "UKDUMP_PANIC", Value: cli.Text(found.Panic.Line, cli.MaxText)},
		{Name: "UKDUMP_CAUSE", Value: cli.Text(found.Panic.Cause, cli.MaxText)},
		{Name: "UKDUMP_KERNEL", Value: cli.Text(found.Kernel, 70)},
		{Name: "UKDUMP_ID", Value: crashID(d)},
	}
	return e
}

// toJournal makes one entry in the journal and reports whether it took it.
func (r *Run) toJournal(e event) bool {
	entry := []journal.Field{
		{Name: "MESSAGE", Value: e.message},
		{Name: "MESSAGE_ID", Value: e.id},
		{Name: "PRIORITY", Value: e.priority},
		{Name: "SYSLOG_IDENTIFIER", Value: "kdumpctl"},
	}
	for _, f := range e.fields {
		if f.Value != "" {
			entry = append(entry, f)
		}
	}
	return journal.Send(filepath.Join(r.Root, journal.Socket), entry, r.JournalLimit) == nil
}

// motdFile is read by pam_motd(8) at login.
const motdFile = "run/motd.d/ukdump"

// writeMotd makes the lines at login about the crashes and the test found at this boot, or
// removes them if there are none.
func (r *Run) writeMotd(want bool, known *state.AnnounceLog) error {
	path := filepath.Join(r.Root, motdFile)
	if !want || known.Crashes == 0 && known.Test == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	text := ""
	switch {
	case known.Crashes > 1:
		text = fmt.Sprintf("ukdump: %d crashes, the last: %s\n", known.Crashes, known.Last)
	case known.Crashes == 1:
		text = "ukdump: " + known.Last + "\n"
	}
	if known.Test != "" {
		text += "ukdump: " + known.Test + "\n"
	}
	dir, name := filepath.Split(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := crashdir.WriteFile(dir, name, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		return err
	}
	return os.Chmod(path, 0o644) // for everyone who logs in
}

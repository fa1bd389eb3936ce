package announce

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/plan"
	"ukdump/internal/pstore"
	"ukdump/internal/state"
	"ukdump/internal/vmcore"
)

// pid1Line returns what kdumpinit wrote in a line of a kernel log, and whether it
// is one of its lines. The name alone can come from anyone, as in "Comm: NAME".
func pid1Line(line string) (said string, ok bool) {
	const prefix = "kdumpinit: "
	if _, after, ok := strings.Cut(line, "] "+prefix); ok {
		return after, true
	}
	if _, after, ok := strings.Cut(line, ">"); ok && strings.HasPrefix(line, "<") {
		line = after // without time stamps
	}
	return strings.CutPrefix(line, prefix)
}

// ofCapture reports whether a log is a capture kernel's.
func ofCapture(log []byte) bool {
	for line := range strings.Lines(string(log)) {
		if _, ok := pid1Line(line); ok {
			return true
		}
	}
	return false
}

// pstoreLogs looks at the logs that are new in pstore. Those of a capture kernel
// it makes dumps of, so that list and info show them, unless that capture has left
// a dump: saved. others are of other kernels.
func (r *Run) pstoreLogs(conf *config.Config, known *state.AnnounceLog, haveDump bool) (saved []crashdir.Dump, others []pstore.Log) {
	logs, err := pstore.Read(filepath.Join(r.Root, pstore.Store), filepath.Join(r.Root, pstore.Archive))
	if err != nil {
		r.Out.Warn(err.Error()) // what can be read counts
	}
	for _, l := range logs {
		if known.Has(l.ID(), time.Time{}) {
			continue
		}
		switch {
		case known.First && l.Time.Before(r.firstCutoff()):
		case !ofCapture(l.Text):
			others = append(others, l)
		case !haveDump:
			saved = append(saved, r.saveEvidence(conf, l))
			continue // its event is remembered
		}
		known.Add(l.ID(), time.Time{})
	}
	return saved, others
}

// saveEvidence makes a dump of a capture kernel's log, in the first target that
// takes it. Without any it returns a dump without a directory. The records stay in
// pstore.
func (r *Run) saveEvidence(conf *config.Config, l pstore.Log) crashdir.Dump {
	d := crashdir.Dump{Time: l.Time, Outcome: crashdir.Failed, Report: evidenceReport(l)}
	var errs []error
	for _, parent := range conf.DumpDirs(r.Root) {
		if m := host.NotMounted(r.Root, parent); m != nil { // it would be hidden later
			errs = append(errs, fmt.Errorf("%s is not mounted", m.Point))
			continue
		}
		path, err := writeEvidence(parent, l, d.Report)
		if err == nil {
			if read, err := crashdir.Read(path); err == nil && read.Report != nil {
				return read
			}
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		r.Out.Warn("what a capture left in pstore stays there alone: " + err.Error())
	}
	return d
}

func writeEvidence(parent string, l pstore.Log, r *crashdir.Report) (string, error) {
	if err := crashdir.CheckParent(parent); err != nil {
		return "", err
	}
	t := l.Time
	if y := t.UTC().Year(); y < 1970 || y > 9999 {
		t = time.Now()
	}
	dir, err := crashdir.Create(parent, t)
	var report []byte
	if err == nil {
		report, err = r.Encode()
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{crashdir.CaptureLog, l.Text}, {crashdir.ReportFile, report}} { // what has a report is whole
		if err == nil {
			err = crashdir.WriteFile(dir, file.name, func(w io.Writer) error { _, err := w.Write(file.data); return err })
		}
	}
	if err != nil {
		os.RemoveAll(dir) // or it would be a dump of another crash
		return "", err
	}
	return dir, nil
}

// maxEvidence is how many of kdumpinit's errors go into a report.
const maxEvidence = 20

// evidenceReport tells what the log of a capture kernel says.
func evidenceReport(l pstore.Log) *crashdir.Report {
	r := &crashdir.Report{
		Version: crashdir.ReportVersion, Software: plan.Software, Outcome: crashdir.Failed, ID: l.ID(), Started: l.Time,
		Steps:    []crashdir.Step{},
		Errors:   []string{"the capture kernel could write to no target; it left its log in pstore"},
		Warnings: []string{"from " + strings.Join(l.Paths, " ")},
	}
	fail := func(text string) {
		if text = strings.TrimSpace(text); len(r.Errors) < maxEvidence && !slices.Contains(r.Errors, text) {
			r.Errors = append(r.Errors, text)
		}
	}
	// What kdumpinit repeats of the log of the kernel that crashed, and what the
	// capture kernel itself says. kdumpinit ends with a summary.
	var crashed, own strings.Builder
	var trace []string
	for line := range strings.Lines(string(l.Text)) {
		said, ok := pid1Line(line)
		if !ok {
			own.WriteString(line)
			continue
		}
		if release, ok := strings.CutPrefix(said, "crashed kernel: "); ok {
			r.Kernel = strings.TrimSpace(release)
		} else if text, ok := strings.CutPrefix(said, "error: "); ok {
			fail(text)
		} else if severity(line) <= 3 {
			fail(said)
		} else if function, ok := strings.CutPrefix(said, "|  "); ok && len(trace) < maxEvidence {
			trace = append(trace, strings.TrimSpace(function))
		}
		crashed.WriteString(strings.TrimPrefix(said, "| "))
	}
	p := vmcore.FindPanic([]byte(crashed.String()))
	if p.Line == "" { // somewhere in a line of kdumpinit's own
		const panicText = "Kernel panic - not syncing"
		if i := strings.LastIndex(crashed.String(), panicText); i >= 0 {
			p.Line, _, _ = strings.Cut(crashed.String()[i:], "\n")
		}
	}
	if p.Trace != nil {
		trace = p.Trace
	}
	r.Panic = crashdir.Panic{Line: p.Line, Cause: p.Cause, IP: p.Instruction, Trace: trace}
	if p := vmcore.FindPanic([]byte(own.String())); p.Line != "" {
		r.Errors = append(r.Errors, "the end of the capture kernel: "+p.Line)
	}
	return r
}

// severity returns the severity of a line that begins with "<N>", which is a
// priority of syslog(3); without it, the least.
func severity(line string) int {
	digits, _, ok := strings.Cut(strings.TrimPrefix(line, "<"), ">")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return 7
	}
	return n & 7
}

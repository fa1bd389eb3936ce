package announce

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
	"ukdump/internal/host"
	"ukdump/internal/plan"
	"ukdump/internal/pstore"
	"ukdump/internal/state"
)

// pstoreLogs looks at the logs that are new in pstore. Those of a capture kernel
// it makes dumps of, so that list and info show them, unless that capture has left
// a dump: saved. others are of other kernels.
func (r *Run) pstoreLogs(conf *config.Config, known *state.AnnounceLog, haveDump bool) (saved []crashdir.Dump, others []pstore.Log) {
	logs, err := pstore.Read(filepath.Join(r.Root, pstore.Store), filepath.Join(r.Root, pstore.Archive))
	if err != nil {
		r.Out.Warn(err.Error()) // the readable logs count
	}
	for _, l := range logs {
		if known.Has(l.ID(), time.Time{}) {
			continue
		}
		switch {
		case known.First && l.Time.Before(r.firstCutoff()):
		case !evidence.FromCapture(l.Text):
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
	}{{crashdir.CaptureLog, l.Text}, {crashdir.ReportFile, report}} { // a directory with a report is whole
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

// evidenceReport makes a report of the log of a capture kernel.
func evidenceReport(l pstore.Log) *crashdir.Report {
	found := evidence.Parse(l.Text)
	r := &crashdir.Report{
		Version: crashdir.ReportVersion, Software: plan.Software, Outcome: crashdir.Failed, ID: l.ID(), Started: l.Time,
		Kernel: found.Kernel, Panic: found.Panic,
		Steps:    []crashdir.Step{},
		Errors:   []string{"the capture kernel could write to no target; it left its log in pstore"},
		Warnings: []string{"from " + strings.Join(l.Paths, " ")},
	}
	r.Errors = append(r.Errors, found.Errors...)
	if found.End != "" {
		r.Errors = append(r.Errors, "the end of the capture kernel: "+found.End)
	}
	return r
}

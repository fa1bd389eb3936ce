package announce

import (
	"errors"
	"io"
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
	mounts := host.ReadMountTable(r.Root)
	for _, parent := range conf.DumpDirs(r.Root) {
		if missing := mounts.NotReady(parent); len(missing) > 0 { // it would be hidden later
			errs = append(errs, &host.NotMountedError{Point: missing[0].Point})
			continue
		}
		saved, err := writeEvidence(parent, l, d.Report)
		if err == nil {
			return saved
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		r.Out.Warn("logs of a capture stay in pstore only: " + err.Error())
	}
	return d
}

// writeEvidence makes a dump of a log below parent. A directory that cannot be finished
// is removed, or it would be a dump of another crash.
func writeEvidence(parent string, l pstore.Log, r *crashdir.Report) (crashdir.Dump, error) {
	var none crashdir.Dump
	if err := crashdir.CheckParent(parent); err != nil {
		return none, err
	}
	t := l.Time
	if y := t.UTC().Year(); y < 1970 || y > 9999 {
		t = time.Now()
	}
	path, err := crashdir.Create(parent, t)
	if err != nil {
		return none, err
	}
	d, err := crashdir.Read(path)
	if err != nil {
		return none, err
	}
	dir, err := crashdir.OpenFolder(d)
	if err != nil {
		return none, err
	}
	defer dir.Close()
	if err := writeFiles(dir, l.Text, r); err != nil {
		if rerr := crashdir.Remove(d); rerr != nil {
			err = errors.Join(err, rerr)
		}
		return none, err
	}
	return dir.Read()
}

func writeFiles(dir *crashdir.Folder, log []byte, r *crashdir.Report) error {
	report, err := r.Encode()
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{crashdir.CaptureLog, log}, {crashdir.ReportFile, report}} { // a directory with a report is whole
		err := dir.WriteFile(file.name, func(w io.Writer) error { _, err := w.Write(file.data); return err })
		if err != nil {
			return err
		}
	}
	return nil
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

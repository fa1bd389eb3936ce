package capture

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
)

// logWorker is a worker with a plan for the log alone, and three targets. The last is for
// evidence.
func logWorker(t *testing.T) *worker {
	w := testWorker(t)
	w.plan.LogOnly = true
	nowhere := plan.Target{Kind: plan.Mounted, Dir: "/nowhere", Path: "/nowhere", Mount: &plan.SystemMount{Point: "/nowhere"}}
	w.plan.Targets, w.plan.Evidence = []plan.Target{nowhere, nowhere}, []plan.Target{nowhere}
	w.state.Best, w.report.Outcome, w.report.Version = crashdir.Failed, crashdir.Failed, crashdir.ReportVersion
	return w
}

func steps(w *worker) (names []string) {
	for _, s := range w.report.Steps {
		names = append(names, s.Name)
	}
	return names
}

// The log is all that there is to save, on one target.
func TestLogOnly(t *testing.T) {
	w := logWorker(t)
	setMemory(t, withLog(t))
	dir := w.state.Dir
	w.run()
	if w.report.Outcome != crashdir.DmesgOnly || !w.report.LogOnly || w.state.Target != 0 || len(w.report.Errors) > 0 {
		t.Errorf("outcome %s, log only %v, at target %d, errors %q", w.report.Outcome, w.report.LogOnly, w.state.Target, w.report.Errors)
	}
	if got := steps(w); slices.Contains(got, string(stepVmcore)) || len(w.report.Attempts) > 0 {
		t.Errorf("steps %s, attempts %v", got, w.report.Attempts)
	}
	d, err := crashdir.Read(dir)
	if err != nil || !d.LogOnly || d.Vmcore != "" {
		t.Errorf("the dump is %+v, %v", d, err)
	}
	if !w.report.Outcome.Success(w.report.LogOnly) {
		t.Error("it is no success")
	}
}

// Without the log, it is a failure as any other: all targets are tried.
func TestLogOnlyFails(t *testing.T) {
	w := logWorker(t)
	setMemory(t, []byte("garbage"))
	w.run()
	if w.report.Outcome != crashdir.Failed || w.report.LogOnly || w.state.Target != 3 {
		t.Errorf("outcome %s, log only %v, at target %d", w.report.Outcome, w.report.LogOnly, w.state.Target)
	}
}

// A log on a target for evidence is no success: no target could take it.
func TestLogOnlyEvidence(t *testing.T) {
	w := logWorker(t)
	setMemory(t, withLog(t))
	w.state.Target = 2
	w.run()
	if w.report.Outcome != crashdir.DmesgOnly || w.report.LogOnly {
		t.Errorf("outcome %s, log only %v", w.report.Outcome, w.report.LogOnly)
	}
}

// A raw device has the log and the report, and no stream.
func TestLogOnlyRaw(t *testing.T) {
	w, r := rawWorker(t)
	w.plan.LogOnly, w.plan.Targets = true, make([]plan.Target, 1)
	setMemory(t, withLog(t))
	w.run()
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	if w.report.Outcome != crashdir.DmesgOnly || !w.report.LogOnly {
		t.Errorf("outcome %s, log only %v", w.report.Outcome, w.report.LogOnly)
	}
	dev, err := os.Open(r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	d, err := rawdump.Open(dev, 32<<20)
	if err != nil {
		t.Fatal(err)
	}
	if !d.Finished || d.Stream.Length != 0 || len(d.Files) != 3 {
		t.Errorf("finished %v, stream %+v, files %+v", d.Finished, d.Stream, d.Files)
	}
}

// A worker that follows one that died after it has saved the log tries no other target.
func TestLogOnlyResume(t *testing.T) {
	w := logWorker(t)
	w.state.Begun, w.state.LogBegun, w.state.Logged, w.report.LogOnly = true, true, true, true
	w.state.Step, w.stuck, w.place = stepReport, true, nil
	setMemory(t, withLog(t))
	w.run()
	if w.report.Outcome != crashdir.DmesgOnly || !w.report.LogOnly || w.state.Target != 1 {
		t.Errorf("outcome %s, log only %v, at target %d", w.report.Outcome, w.report.LogOnly, w.state.Target)
	}
}

// withLog returns memory with a kernel log that can be decoded.
func withLog(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "vmcore", "testdata", "debian-6.1.core.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

package capture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
	"ukdump/internal/vmcore"
)

// rawWorker is a worker whose place is a file in place of a block device.
func rawWorker(t *testing.T, collectors ...plan.Collector) (*worker, *raw) {
	w := testWorker(t, collectors...)
	dev, err := os.Create(filepath.Join(t.TempDir(), "vda2"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 32 << 20
	if err := dev.Truncate(size); err != nil {
		t.Fatal(err)
	}
	out, err := rawdump.Create(dev, size, rawdump.Header{ID: "id-1"})
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{path: dev.Name(), dev: dev, out: out}
	w.place, w.state.Raw, w.state.Dir = r, "vda2", ""
	return w, r
}

// streams is a collector that writes a flattened dump and then runs the script then.
func streams(t *testing.T, name, then string) plan.Collector {
	t.Helper()
	var b bytes.Buffer
	if err := newCopier(core(), 1<<30).stream(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "flat")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return plan.Collector{Name: name, Stream: []string{"/bin/sh", "-c", fmt.Sprintf("f=%s; %s", file, then)}}
}

func TestRawLadder(t *testing.T) {
	tests := []struct {
		name       string
		collectors []plan.Collector
		ran        int
		outcome    crashdir.Outcome
	}{
		{"good", []plan.Collector{streams(t, "a", "cat $f")}, 1, crashdir.Complete},
		{"exit status after all of it", []plan.Collector{streams(t, "a", "cat $f; exit 1")}, 1, crashdir.Incomplete},
		{"the second is good", []plan.Collector{streams(t, "a", "cat $f $f; exit 1"), streams(t, "b", "cat $f")}, 2, crashdir.Complete},
		{"cut with exit 0", []plan.Collector{streams(t, "a", "head -c 9000 $f")}, 1, crashdir.Incomplete},
		{"garbage with exit 0", []plan.Collector{streams(t, "a", "yes | head -c 9000")}, 1, crashdir.Failed},
		{"nothing with exit 0", []plan.Collector{streams(t, "a", "true")}, 1, crashdir.Failed},
		{"the kernel is not known", []plan.Collector{streams(t, "a", says+"; cat $f"), streams(t, "b", "exit 1")}, 1, crashdir.Complete},
		{"no stream", []plan.Collector{sh("a", "exit 0"), streams(t, "b", "cat $f")}, 1, crashdir.Complete},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, r := rawWorker(t, tt.collectors...)
			w.plan.Collectors[0].Filters = true
			err := w.collect()
			w.settle()
			if (err == nil) != (tt.outcome == crashdir.Complete) || w.report.Outcome != tt.outcome || len(w.report.Attempts) != tt.ran {
				t.Errorf("outcome %s after %d attempts, error %v; want %s after %d", w.report.Outcome, len(w.report.Attempts), err, tt.outcome, tt.ran)
			}
			if err := w.writeReport(); err != nil {
				t.Error(err)
			}
			if err := r.close(); err != nil {
				t.Error(err)
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
			if got := d.Stream.Complete; got != (tt.outcome == crashdir.Complete) {
				t.Errorf("on the device it is complete: %v", got)
			}
		})
	}
}

// A worker that follows goes on with the dump on the device.
func TestRawResume(t *testing.T) {
	w, r := rawWorker(t, streams(t, "a", "cat $f"))
	if err := w.step("dmesg", 1, func() error { return w.writeReport() }); err != nil {
		t.Fatal(err)
	}
	r.dev.Close()
	dev, err := os.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r.out, err = rawdump.Resume(dev, 32<<20, "id-1"); err != nil {
		t.Fatal(err)
	}
	r.dev = dev
	if err := w.collect(); err != nil {
		t.Error(err)
	}
	if !r.out.Has(crashdir.ReportFile) || !r.whole() {
		t.Error("something is missing")
	}
}

// memoryOf is the memory of the crashed kernel.
func memoryOf(t *testing.T) dumpfile.Memory {
	t.Helper()
	core, err := vmcore.Open(bytes.NewReader(elfCore()))
	if err != nil {
		t.Fatal(err)
	}
	marks, err := core.Marks()
	if err != nil {
		t.Fatal(err)
	}
	return dumpfile.Memory{Core: core, Marks: marks}
}

// A worker dies at any point of verify. The next one knows all of the stream, verifies
// it, and trusts nothing that was not verified.
func TestRawDeathInProof(t *testing.T) {
	for name, good := range map[string]bool{"good": true, "garbage": false} {
		script := "cat $f"
		if !good {
			script = "head -c 20000 /dev/zero"
		}
		for at := 1; ; at++ {
			w, r := rawWorker(t, streams(t, "a", script))
			a := w.runCollector(&w.plan.Collectors[0], 1, false)
			died := false
			func() {
				defer func() { died = recover() != nil }()
				n := 0
				r.verify(memoryOf(t), func() {
					if n++; n == at {
						panic("killed")
					}
				})
			}()
			var err error
			if r.out, err = rawdump.Resume(r.dev, 32<<20, "id-1"); err != nil {
				t.Fatal(err)
			}
			r.stream = nil
			if !died {
				if at < 3 {
					t.Errorf("%s: there were only %d points", name, at)
				}
				break
			}
			if got := r.out.Stream(); got.Complete || got.Length != a.Bytes {
				t.Errorf("%s, killed at %d: %d bytes, complete %v; there are %d", name, at, got.Length, got.Complete, a.Bytes)
			}
			if err := r.verify(memoryOf(t), func() {}); (err == nil) != good || r.whole() != good {
				t.Errorf("%s, killed at %d: the next worker: %v, complete %v", name, at, err, r.whole())
			}
		}
	}
}

// An incomplete dump is not read back at the end.
func TestRawSettle(t *testing.T) {
	w, r := rawWorker(t, streams(t, "a", "cat $f; exit 1"))
	w.collect()
	w.settle()
	if s := r.out.Stream(); w.report.Outcome != crashdir.Incomplete || s.Length != w.report.Attempts[0].Bytes || s.Ended {
		t.Errorf("outcome %s, stream %+v", w.report.Outcome, s)
	}
}

// brokenDevice fails the nth sync from now on, once, as fsync(2) does.
type brokenDevice struct {
	*os.File
	fails int
}

func (d *brokenDevice) Sync() error {
	if d.fails--; d.fails == 0 {
		return syscall.EIO
	}
	return d.File.Sync()
}

// The sync of a checkpoint was the only one to say that something is lost.
func TestRawLostWrite(t *testing.T) {
	w, r := rawWorker(t, streams(t, "a", "cat $f; sleep 0.3"), streams(t, "b", "true"))
	dev := &brokenDevice{File: r.dev}
	var err error
	if r.out, err = rawdump.Resume(dev, 32<<20, "id-1"); err != nil {
		t.Fatal(err)
	}
	argv, _, _ := r.begin(&w.plan.Collectors[0], 1, false)
	if argv == nil {
		t.Fatal("no stream")
	}
	r.noted, dev.fails = -checkpointEvery, 1
	if err := r.checkpoint(); err == nil {
		t.Fatal("no error of a checkpoint")
	}
	a := crashdir.Attempt{Name: "a", Limit: 1 << 30}
	if got := w.next(&a, &w.plan.Collectors[0]); got != "" {
		t.Errorf("%s overwrites what is there", got)
	}
	p, err := start([]string{"/bin/true"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	rd, wr, err := pipe()
	if err != nil {
		t.Fatal(err)
	}
	wr.Close()
	defer rd.Close()
	if got, _ := w.follow(p, rd, &outputTail{}, pace{}); !strings.Contains(got, "input/output error") {
		t.Errorf("the collector ended with %q", got)
	}
	if r.begin(&w.plan.Collectors[1], 2, false); r.lost() != nil {
		t.Errorf("of another stream: %v", r.lost())
	}
}

// A stream cannot be continued: its data must not be given up for the same once
// more.
func TestRawCopyOnce(t *testing.T) {
	c := streams(t, "copy", "cat $f; exit 1")
	c.Resumes = true
	w, r := rawWorker(t, c)
	w.collect()
	if n := len(w.report.Attempts); n != 1 || r.size() == 0 {
		t.Errorf("%d attempts, %d bytes left", n, r.size())
	}
}

// A worker dies while it begins the dump. A dump that it has begun is continued,
// and one that it has not is begun.
func TestResumeHeader(t *testing.T) {
	w, r := rawWorker(t)
	w.plan.Targets = []plan.Target{{Kind: plan.Raw}}
	name := "../" + r.path // without a size in sysfs, so that it holds no dump
	w.place, w.state.Raw, w.state.Step = nil, name, "header"
	if again := w.resume(); again != "header" || w.state.Raw != "" || w.state.Target != 0 {
		t.Errorf("not begun: %q again, %q open, target %d", again, w.state.Raw, w.state.Target)
	}
	w.state.Raw, w.state.Step = name, "header"
	if again := w.resume(); again != "" || w.state.Raw != "" || w.state.Target != 1 {
		t.Errorf("twice: %q again, %q open, target %d", again, w.state.Raw, w.state.Target)
	}
	w.state.Raw, w.state.Step, w.state.Target = name, "dmesg", 0
	if w.resume(); w.state.Raw != "" || w.state.Target != 1 {
		t.Errorf("lost: %q open, target %d", w.state.Raw, w.state.Target)
	}
	if err := w.openRaw(&w.plan.Targets[0], name); err == nil {
		t.Error("opened")
	}
	if w.state.Raw != "" {
		t.Errorf("%q is open after an error", w.state.Raw)
	}
}

package rawdump

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
)

// The power goes at every write and every sync of a capture. The device then has
// its own head, or a dump with all that was reported as written.
func TestPowerLossInCapture(t *testing.T) {
	head := swapHead(4096)
	own := newDisk(head).now[:headSize]
	log := strings.Repeat("a line of the log\n", 30000)
	// capture returns how far it came.
	capture := func(d *disk) (step int) {
		w, err := Create(d, testSize, testHeader)
		steps := []func() error{
			func() error { return err },
			func() error { return w.WriteFile(crashdir.Dmesg, text2(log)) },
			func() error { return w.WriteFile(crashdir.ReportFile, text2("report 1")) },
			func() error {
				s, err := w.BeginStream()
				if err == nil {
					_, err = d.WriteAt(bytes.Repeat([]byte("s"), 5000), s.Start)
				}
				return err
			},
			func() error { return w.SaveLength(5000) },
			func() error { return w.WriteFile(crashdir.ReportFile, text2("report 2")) },
			func() error { return w.EndStream(5000, true, func() {}) },
			func() error { return w.WriteFile(crashdir.ReportFile, text2("report 3")) },
			func() error { return w.WriteFile(crashdir.CaptureLog, text2("log")) },
			func() error { return w.Finish() },
		}
		for _, f := range steps {
			if f() != nil {
				break
			}
			step++
		}
		return step
	}
	whole := newDisk(head)
	if n := capture(whole); n != 10 {
		t.Fatalf("with power it came to step %d", n)
	}
	for ops := range whole.done {
		d := newDisk(head)
		d.ops = ops
		step := capture(d)
		if step == 10 {
			t.Fatalf("power for %d of %d operations was enough", ops, whole.done)
		}
		for name, kept := range losses {
			if len(d.cached) == 0 && name != "all lost" {
				continue // nothing can be
			}
			up := d.after(kept)
			dump, err := Open(up, testSize)
			if errors.Is(err, ErrNone) && step == 0 {
				if !bytes.Equal(up.now[:headSize], own) {
					t.Errorf("%d operations, %s: no dump, but the device's head is gone", ops, name)
				}
				continue
			}
			if err != nil {
				t.Errorf("%d operations, %s: after step %d: %v", ops, name, step, err)
				continue
			}
			// at returns the content after this step; during the step the old or the new one may be there.
			reports := []string{"", "", "", "report 1", "report 1", "report 1", "report 2", "report 2", "report 3", "report 3", "report 3"}
			if got := fileText(t, dump, crashdir.ReportFile); got != reports[step] && got != reports[step+1] {
				t.Errorf("%d operations, %s: after step %d: report %q", ops, name, step, got)
			}
			if got := fileText(t, dump, crashdir.Dmesg); got != log && (step >= 2 || got != "") {
				t.Errorf("%d operations, %s: after step %d: the log has %d bytes", ops, name, step, len(got))
			}
			if s := dump.Stream; step >= 5 && s.Length != 5000 || step >= 7 && !s.Complete || step < 6 && s.Ended {
				t.Errorf("%d operations, %s: after step %d: stream %+v", ops, name, step, s)
			}
			if err := checkStream(dump); err != nil {
				t.Errorf("%d operations, %s: after step %d: %v", ops, name, step, err)
			}
			if _, err := Resume(up, testSize, testHeader.ID); err != nil && !(errors.Is(err, ErrFinished) && step >= 9) {
				t.Errorf("%d operations, %s: after step %d: resume: %v", ops, name, step, err)
			}
			if original, err := Restore(up, testSize); err != nil || !original || !bytes.Equal(up.now[:headSize], own) {
				t.Errorf("%d operations, %s: after step %d: restore: %v, %v", ops, name, step, original, err)
			}
		}
	}
}

// The power goes at every write and every sync of Restore. It can be done again,
// or was done.
func TestPowerLossInRestore(t *testing.T) {
	head := swapHead(4096)
	own := newDisk(head).now[:headSize]
	done := 4 // two writes and two syncs
	for ops := range done + 1 {
		d := newDisk(head)
		mustCreate(t, d)
		d.ops = ops
		if _, err := Restore(d, testSize); (err == nil) != (ops == done) {
			t.Fatalf("%d operations: %v", ops, err)
		}
		for name, kept := range losses {
			up := d.after(kept)
			if _, err := Restore(up, testSize); err != nil && !errors.Is(err, ErrNone) {
				t.Errorf("%d operations, %s: %v", ops, name, err)
			}
			if !bytes.Equal(up.now[:headSize], own) {
				t.Errorf("%d operations, %s: the device's head did not come back", ops, name)
			}
		}
	}
}

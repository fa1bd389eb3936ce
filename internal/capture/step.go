package capture

import (
	"fmt"
	"time"

	"ukdump/internal/crashdir"
)

// step is a phase of the worker, and its name in the report. If a worker dies, the next
// one continues by the step in the state.
type step string

// The steps in their order. Those from stepAssemble on are for one target.
const (
	stepLog        step = "log"       // decode the log of the crashed kernel
	stepModules    step = "modules"   // load modules
	stepAssemble   step = "assemble"  // assemble one layer of the target
	stepNetwork    step = "network"   // set the network up; kdumpinit-net alone
	stepDevice     step = "device"    // wait for the device of the target
	stepMount      step = "mount"     // mount the file system
	stepDirectory  step = "directory" // make the directory of the dump
	stepHeader     step = "header"    // begin the dump on a raw device
	stepDmesg      step = "dmesg"     // write the log of the crashed kernel
	stepVmcore     step = "vmcore"    // run the collectors
	stepCaptureLog step = "capture-log"
	stepReport     step = "report"
	stepUmount     step = "umount"
)

// step runs a step. If it reports no progress for limit seconds and a margin, in which
// the step can time out itself, the supervisor kills the worker. step logs an error or
// a panic and records it in the report: a bug in one step must not cost the others.
func (w *worker) step(s step, limit int, f func() error) (err error) {
	w.super.step(s, seconds(limit)+15*time.Second)
	start := round(uptime())
	w.report.Steps = append(w.report.Steps, crashdir.Step{Name: string(s), Start: start})
	w.state.Step, w.state.Begun = s, true
	w.save()
	func() {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("internal error: %v", r)
			}
		}()
		err = f()
	}()
	last := &w.report.Steps[len(w.report.Steps)-1]
	last.Seconds = since(start)
	if err != nil {
		last.Error = err.Error()
		w.fail("%s: %v", s, err)
	}
	w.sample()
	w.state.Step = ""
	w.save()
	return err
}

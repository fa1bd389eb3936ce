package capture

import (
	"fmt"
	"time"

	"ukdump/internal/crashdir"
)

// step is a phase of the worker. A worker that follows one that died decides by
// it where to go on; it is also the name of the phase in the report.
type step string

// The steps in their order. Those from stepAssemble on are for one target.
const (
	stepLog        step = "log"       // decode the log of the crashed kernel
	stepModules    step = "modules"   // load modules
	stepAssemble   step = "assemble"  // bring up one layer of the target
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

// step runs a step. limit is in seconds: if the step reports no progress for
// longer, the supervisor kills the worker, a little later than the step itself
// would give up. An error is logged and recorded in the report, and so is a
// panic: a bug in one step must not cost the others.
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

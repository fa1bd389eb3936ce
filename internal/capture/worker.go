package capture

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
)

// worker follows the plan. Its steps are in run, one after the other. If a worker dies,
// the next one continues from the state.
type worker struct {
	mode     mode
	log      *logger
	super    reporter
	over     overrides
	plan     *plan.Plan
	state    *state
	report   *crashdir.Report // &state.Report
	place    place            // where the dump goes; nil if no target is open
	end      time.Duration    // uptime after which no collector may run
	degraded bool             // mount the file system without some of its devices
	made     []string         // devices that were assembled for the target
	stuck    bool             // the last worker or its collector is stuck in the kernel
	sealed   bool             // place is encrypted

	percent float64 // progress of the running collector
}

// runWorker is the main of the worker. With argStuck the last worker is stuck in the
// kernel.
func runWorker(m mode, args []string) int { return work(m, args, false) }

// runSalvage is the main of a worker that has no time left for a collector.
func runSalvage(m mode, args []string) int { return work(m, args, true) }

func work(m mode, args []string, salvage bool) int {
	unix.CloseOnExec(progressFD)
	setOOMScore(0, 0) // not the supervisor's -1000
	w := newWorker(loadState())
	w.mode, w.stuck = m, len(args) > 0 && args[0] == argStuck
	if salvage {
		w.end = 0
	}
	w.run()
	w.super.done(string(w.report.Outcome))
	w.step(stepUmount, w.finishLimit(), w.close)
	return 0
}

func newWorker(st *state) *worker {
	w := &worker{log: openLog(), super: reporter{progressFD}, state: st, report: &st.Report}
	if r := w.report; r.Version == 0 { // the first worker
		r.Version, r.Software = crashdir.ReportVersion, plan.Software
		r.Outcome, st.Best = crashdir.Failed, crashdir.Failed
		r.Started = time.Now().Add(-uptime()).UTC().Round(time.Second)
		r.Capture = kernelRelease()
		if r.ID == "" {
			r.ID = crashID()
		}
	}
	line, _ := os.ReadFile("/proc/cmdline") // the supervisor reports an error
	w.over = parseCmdline(string(line))
	p, err := readPlan()
	if err != nil {
		w.fail("%v", err)
		return w
	}
	w.plan = p
	// The steps after the collectors and the salvage have time of their own.
	w.end = st.Since + seconds(p.Deadlines.Total-2*p.Deadlines.Finish)
	w.report.Host, w.report.Machine = p.Host.Name, p.Host.MachineID
	return w
}

// run is the whole capture.
func (w *worker) run() {
	again := w.resume()
	// First: this needs no module, no disk and no other program.
	if !w.state.LogBegun || again == stepLog {
		w.state.LogBegun = true
		w.step(stepLog, w.finishLimit(), w.readLog)
	}
	if w.plan == nil || !fileExists(vmcorePath) {
		return
	}
	if w.state.Module < len(w.plan.Modules) {
		w.step(stepModules, w.plan.Deadlines.Module, w.loadModules)
	}
	for ; w.state.Receipts == 0 && w.state.Target < w.targets() && (w.place != nil || !w.state.Best.Success(w.report.LogOnly)); w.state.Target++ {
		t := w.target()
		if w.place == nil && !w.open(t) {
			continue
		}
		w.saveDump(again)
		if w.report.Outcome.Better(w.state.Best) {
			w.state.Best = w.report.Outcome
		}
		if w.enough() || w.state.Target+1 >= w.targets() {
			break // the caller closes it
		}
		w.fail("%s: the dump is not complete: trying the next target", t.Dir)
		w.step(stepUmount, w.finishLimit(), w.close)
	}
	if w.state.Best == crashdir.Failed {
		w.fail("nothing could be saved on any target")
	}
	w.report.Outcome = w.state.Best
	if remote != nil {
		remote.receipt(w)
	}
}

// targets returns the number of targets. Targets for evidence come last and count only
// if nothing was saved.
func (w *worker) targets() int {
	n := len(w.plan.Targets)
	if w.state.Best == crashdir.Failed {
		n += len(w.plan.Evidence)
	}
	return n
}

// target returns the target in use.
func (w *worker) target() *plan.Target {
	if n := w.state.Target - len(w.plan.Targets); n >= 0 {
		return &w.plan.Evidence[n]
	}
	return &w.plan.Targets[w.state.Target]
}

// enough reports whether no other target is needed: all is saved, or there is
// no time for another vmcore and the evidence is saved.
func (w *worker) enough() bool {
	return w.state.Best.Success(w.report.LogOnly) || w.timeLeft() <= 0 && w.state.Best != crashdir.Failed
}

// resume continues after a worker that died and returns the step to repeat, "" for
// none. The first death in a step may be an accident, so the step is repeated. A step in
// which two workers died is skipped. If the last worker is stuck in the kernel, the next
// would get stuck too: its step is skipped at once, and the file system that it used is
// not touched again, not even to write it back.
func (w *worker) resume() (again step) {
	st := w.state
	last := st.Step
	if last == "" && !st.Begun {
		return "" // this is the first worker
	}
	at := [3]int{st.Module, st.Target, st.Collector}
	second := w.stuck || last == st.Fatal && at == st.FatalAt
	st.Fatal, st.FatalAt = last, at
	if last == "" {
		w.fail("the worker ended between two steps")
	} else {
		w.fail("the worker ended in step %s", last)
	}
	w.skip(second)
	if !w.stuck && last != stepUmount {
		w.reopen()
	}
	if w.place == nil && st.open() {
		st.Target++
		st.Dir, st.Raw = "", ""
		st.Best = st.saved(st.Best)
	}
	if w.stuck && w.mounted() {
		unix.Unmount(mountDir, unix.MNT_DETACH)
	} else if w.place == nil {
		w.step(stepUmount, w.finishLimit(), w.close)
	}
	if second {
		return ""
	}
	return last
}

// skip moves the state past the module, device or target in which the last worker died,
// if it was the second death there. A collector is repeated once after the first death.
func (w *worker) skip(second bool) {
	st := w.state
	switch st.Step {
	case stepModules:
		if second {
			st.Module++
		}
	case stepDevice, stepAssemble:
		switch {
		case st.Reading != "" && second: // the target may be another device
			st.Avoid = append(st.Avoid, st.Reading)
			st.Reading, st.Fatal = "", ""
		case second:
			st.Target++
		}
	case stepNetwork, stepMount, stepDirectory, stepHeader:
		if second {
			st.Target++
			st.Raw = "" // the dump was only begun
		}
	case stepUmount:
		if second && !st.open() { // of a target that could not be opened
			st.Target++
		}
	case stepVmcore:
		if a := w.lastAttempt(); a != nil && a.Phase == crashdir.Running && !second {
			st.Collector-- // counted before it ran
		}
	}
}

// open prepares a target for a dump and sets place.
func (w *worker) open(t *plan.Target) bool {
	d := w.plan.Deadlines
	// Reset before place is set: the next worker must not count attempts at the last
	// target as attempts at this one.
	w.state.Collector, w.state.Unconfirmed, w.state.Attempts, w.state.Logged = 0, 0, len(w.report.Attempts), false
	if t.Kind == plan.Mounted {
		return w.openMounted(t)
	}
	if remote != nil && t.Kind != plan.Directory && t.Kind != plan.Raw {
		return remote.open(w, t)
	}
	var dev string
	layers, err := w.assembleAll(t)
	if err == nil {
		err = w.step(stepDevice, d.Device, func() (err error) {
			dev, err = w.waitDevice(t, layers)
			return err
		})
	}
	switch {
	case err != nil:
	case t.Kind == plan.Raw:
		err = w.step(stepHeader, d.Mount, func() error { return w.openRaw(t, dev) })
	default:
		if err = w.step(stepMount, d.Mount, func() error { return w.mount(t, dev) }); err == nil {
			err = w.step(stepDirectory, d.Mount, func() error { return w.makeDir(t) })
		}
	}
	if err != nil {
		w.step(stepUmount, d.Finish, w.close)
		return false
	}
	return true
}

// reopen sets place to that of the last worker, if it is still usable.
func (w *worker) reopen() {
	switch {
	case remote != nil && remote.reopen(w):
	case w.state.Dir != "" && (w.mounted() || w.mode == emergency):
		w.place = &directory{dir: w.state.Dir, w: w}
	case w.state.Raw != "":
		r, err := resumeRaw(w.state.Raw, w.report.ID)
		if w.state.Step == stepHeader && errors.Is(err, rawdump.ErrNone) {
			w.state.Raw = "" // nothing had been written
			return
		}
		if err != nil {
			w.fail("%v", err)
			return
		}
		w.place = r
	}
}

// close writes back all data and releases the target.
func (w *worker) close() error {
	p := w.place
	w.place = nil
	w.state.Dir, w.state.Raw = "", ""
	if p == nil {
		return w.umount() // a step may have failed after mounting
	}
	return p.close()
}

// saveDump writes all files of a dump to place, the most certain first. again is the
// step to repeat.
func (w *worker) saveDump(again step) {
	if remote != nil {
		remote.seal(w)
	}
	if to := w.place.String(); w.state.DmesgBegun != to || again == stepDmesg {
		w.state.DmesgBegun = to
		w.state.Logged = w.step(stepDmesg, w.plan.Deadlines.Finish, w.writeLog) == nil
	}
	onTarget := w.state.Target < len(w.plan.Targets)
	w.report.LogOnly = w.plan.LogOnly && onTarget && w.state.Logged
	if w.timeLeft() > 0 && onTarget && !w.plan.LogOnly {
		w.step(stepVmcore, w.plan.Deadlines.Stall, w.collect)
	}
	w.step(stepCaptureLog, w.plan.Deadlines.Finish, w.writeCaptureLog)
	w.step(stepReport, w.plan.Deadlines.Finish, func() error {
		w.settle()
		return w.writeReport()
	})
}

// finishLimit is the limit of small steps in seconds. It needs no plan.
func (w *worker) finishLimit() int {
	if w.plan == nil {
		return int(defaultFinish / time.Second)
	}
	return w.plan.Deadlines.Finish
}

func (w *worker) save() {
	if err := w.state.save(); err != nil {
		w.log.errorf("keep the state: %v", err)
	}
}

// fail logs an error and records it in the report.
func (w *worker) fail(format string, a ...any) {
	msg := fmt.Sprintf(format, a...)
	w.log.errorf("%s", msg)
	w.report.Errors = append(w.report.Errors, msg)
}

// warn logs a warning and records it in the report.
func (w *worker) warn(format string, a ...any) {
	msg := fmt.Sprintf(format, a...)
	w.log.printf("%s", msg)
	w.report.Warnings = append(w.report.Warnings, msg)
}

// sample records the lowest MemAvailable.
func (w *worker) sample() {
	if m := MemAvailable(); m > 0 && (w.report.LowestMem == 0 || m < w.report.LowestMem) {
		w.report.LowestMem = m
	}
}

// timeLeft returns the time until the last collector must end.
func (w *worker) timeLeft() time.Duration { return w.end - uptime() }

// crashID returns a random name for this crash.
func crashID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/uuid") // random(4)
	if err != nil {
		return strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	return strings.TrimSpace(string(b))
}

// kernelRelease returns the capture kernel's release, as uname -r.
func kernelRelease() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}

// fileExists reports whether path exists.
func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// since returns the seconds since start, which is in seconds since the boot.
func since(start float64) float64 {
	return round(uptime() - time.Duration(start*float64(time.Second)))
}

// round cuts a duration to milliseconds, as seconds for the report.
func round(d time.Duration) float64 {
	return float64(d.Milliseconds()) / 1000
}

package capture

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
)

// worker follows the plan. Its steps stand in run, one after the other. A worker
// that follows one that died goes on where that one was: state says where.
type worker struct {
	log      *logger
	super    reporter
	over     overrides
	plan     *plan.Plan
	state    *state
	report   *crashdir.Report // &state.Report
	place    place            // where the dump goes; nil if no target is open
	end      time.Duration    // uptime after which no collector may run
	degraded bool             // the file system is to be mounted without some of its devices
	made     []string         // devices that were assembled for the target
	stuck    bool             // the worker before this one is stuck in the kernel, or its collector is

	percent float64 // how far the running collector has come
}

// runWorker is the main of the worker and of the salvage, which is a worker
// that has no time left for a collector. stuck says that the one before it is
// stuck in the kernel.
func runWorker(role string, stuck bool) int {
	unix.CloseOnExec(progressFD)
	setOOMScore(0, 0) // not the supervisor's -1000
	w := newWorker(loadState())
	w.stuck = stuck
	if role == roleSalvage {
		w.end = 0
	}
	w.run()
	w.super.done(string(w.report.Outcome))
	w.step("umount", w.finishLimit(), w.close)
	return 0
}

func newWorker(st *state) *worker {
	w := &worker{log: openLog(), super: reporter{progressFD}, state: st, report: &st.Report}
	if r := w.report; r.Version == 0 { // there was no worker before this one
		r.Version, r.Software = crashdir.ReportVersion, plan.Software
		r.Outcome, st.Best = crashdir.Failed, crashdir.Failed
		r.Started = time.Now().Add(-uptime()).UTC().Round(time.Second)
		r.Capture = kernelRelease()
		r.ID = crashID()
	}
	line, _ := os.ReadFile("/proc/cmdline") // the supervisor reports an error
	w.over = parseCmdline(string(line))
	p, err := readPlan()
	if err != nil {
		w.fail("%v", err)
		return w
	}
	w.plan = p
	// What follows the collectors has its own time, and so has the salvage.
	w.end = seconds(p.Deadlines.Total - 2*p.Deadlines.Finish)
	w.report.Host, w.report.Machine = p.Host.Name, p.Host.MachineID
	return w
}

// run is the whole capture.
func (w *worker) run() {
	again := w.resume()
	// First of all: it needs no module, no disk and no other program.
	if !w.begun("log") || again == "log" {
		w.step("log", w.finishLimit(), w.readLog)
	}
	if w.plan == nil || !fileExists(vmcorePath) {
		return
	}
	if w.state.Module < len(w.plan.Modules) {
		w.step("modules", w.plan.Deadlines.Module, w.loadModules)
	}
	for ; w.state.Target < w.targets() && (w.place != nil || w.state.Best != crashdir.Complete); w.state.Target++ {
		t := w.target()
		if w.place == nil && !w.open(t) {
			continue
		}
		w.saveDump(again)
		if better(w.report.Outcome, w.state.Best) {
			w.state.Best = w.report.Outcome
		}
		if w.enough() || w.state.Target+1 >= w.targets() {
			break // it stays open for whoever calls
		}
		w.fail("%s: the dump is not complete: trying the next target", t.Dir)
		w.step("umount", w.finishLimit(), w.close)
	}
	if w.state.Best == crashdir.Failed {
		w.fail("nothing could be saved anywhere")
	}
	w.report.Outcome = w.state.Best
}

// targets returns the number of targets, those for evidence alone included: they
// come last, and only if nothing at all was saved.
func (w *worker) targets() int {
	n := len(w.plan.Targets)
	if w.state.Best == crashdir.Failed {
		n += len(w.plan.Evidence)
	}
	return n
}

// target returns the one in use.
func (w *worker) target() *plan.Target {
	if n := w.state.Target - len(w.plan.Targets); n >= 0 {
		return &w.plan.Evidence[n]
	}
	return &w.plan.Targets[w.state.Target]
}

// enough reports whether no other target needs to be tried: the dump is complete,
// or there is no time for another vmcore and the evidence is saved.
func (w *worker) enough() bool {
	return w.state.Best == crashdir.Complete || w.timeLeft() <= 0 && w.state.Best != crashdir.Failed
}

// resume looks at where the worker before this one ended, if there was one, and
// returns the step that is to be done again. The first end in a step may have
// been an accident; what ended two workers is skipped. What one of them is still
// stuck in would hold up the next one too: it is skipped at once, and a file
// system that was in use is not touched again, not even to write it back.
func (w *worker) resume() (again string) {
	st := w.state
	fatal := st.Step
	if fatal == "" && len(st.Begun) == 0 {
		return "" // there was none
	}
	where := fmt.Sprintf("%s of module %d, target %d, collector %d", fatal, st.Module, st.Target, st.Collector)
	second := w.stuck || where == st.Fatal
	st.Fatal = where
	if fatal == "" {
		w.fail("the worker ended between two steps")
	} else {
		w.fail("the worker ended in step %s", fatal)
	}
	switch fatal {
	case "modules":
		if second {
			st.Module++
		}
	case "device", "assemble":
		switch {
		case st.Reading != "" && second: // the target may be another device
			st.Avoid = append(st.Avoid, st.Reading)
			st.Reading, st.Fatal = "", ""
		case second:
			st.Target++
		}
	case "mount", "directory", "header":
		if second {
			st.Target++
			st.Raw = "" // had only been begun
		}
	case "umount":
		if second && !st.open() { // of a target that could not be opened
			st.Target++
		}
	case "vmcore":
		if list := w.attempts(); len(list) > 0 && list[len(list)-1].Error == unfinished && !second {
			st.Collector-- // it had been counted before it ran
		}
	}
	if !w.stuck && fatal != "umount" {
		w.reopen()
	}
	if w.place == nil && st.open() {
		st.Target++
		st.Dir, st.Raw = "", ""
		st.Best = st.saved()
	}
	if w.stuck && mounted() {
		unix.Unmount(mountDir, unix.MNT_DETACH)
	} else if w.place == nil {
		w.step("umount", w.finishLimit(), w.close)
	}
	if second {
		return ""
	}
	return fatal
}

// better reports whether a is a better outcome than b.
func better(a, b crashdir.Outcome) bool {
	order := []crashdir.Outcome{crashdir.Failed, crashdir.DmesgOnly, crashdir.Incomplete, crashdir.Complete}
	return slices.Index(order, a) > slices.Index(order, b)
}

// open brings a target to the point where a dump can be written to it: place is
// set.
func (w *worker) open(t *plan.Target) bool {
	d := w.plan.Deadlines
	// Before there is a place: a worker that follows must not take what belongs to
	// the target before for this one's.
	w.state.Collector, w.state.Doubtful, w.state.Attempts, w.state.Logged = 0, 0, len(w.report.Attempts), false
	if t.Kind == plan.Mounted {
		return w.openMounted(t)
	}
	var dev string
	layers, err := w.assembleAll(t)
	if err == nil {
		err = w.step("device", d.Device, func() (err error) {
			dev, err = w.waitDevice(t, layers)
			return err
		})
	}
	switch {
	case err != nil:
	case t.Kind == plan.Raw:
		err = w.step("header", d.Mount, func() error { return w.openRaw(t, dev) })
	default:
		if err = w.step("mount", d.Mount, func() error { return w.mount(t, dev) }); err == nil {
			err = w.step("directory", d.Mount, func() error { return w.makeDir(t) })
		}
	}
	if err != nil {
		w.step("umount", d.Finish, w.close)
		return false
	}
	return true
}

// reopen sets place to the one that the worker before this one had open, if it
// still can be used.
func (w *worker) reopen() {
	switch {
	case w.state.Dir != "" && (mounted() || emergency):
		w.place = &directory{dir: w.state.Dir, w: w}
	case w.state.Raw != "":
		r, err := resumeRaw(w.state.Raw, w.report.ID)
		if w.state.Step == "header" && errors.Is(err, rawdump.ErrNone) {
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

// close writes back what is left and lets go of the target.
func (w *worker) close() error {
	p := w.place
	w.place = nil
	w.state.Dir, w.state.Raw = "", ""
	if p == nil {
		return w.umount() // a step may have failed in the middle
	}
	return p.close()
}

// saveDump writes everything that belongs to a dump to place, the most certain
// things first. again is a step that a worker before this one did not come to
// the end of.
func (w *worker) saveDump(again string) {
	if name := "dmesg " + w.place.String(); !w.begun(name) || again == "dmesg" {
		w.state.Logged = w.step(name, w.plan.Deadlines.Finish, w.writeLog) == nil
	}
	if w.timeLeft() > 0 && w.state.Target < len(w.plan.Targets) {
		w.step("vmcore", w.plan.Deadlines.Stall, w.collect)
	}
	w.step("capture-log", w.plan.Deadlines.Finish, w.writeCaptureLog)
	w.step("report", w.plan.Deadlines.Finish, func() error {
		w.settle()
		return w.writeReport()
	})
}

// finishLimit is the limit of small steps, in seconds, also without a plan.
func (w *worker) finishLimit() int {
	if w.plan == nil {
		return int(defaultFinish / time.Second)
	}
	return w.plan.Deadlines.Finish
}

// step runs one phase. limit is in seconds: if the phase reports no progress
// for longer, the supervisor kills the worker, with a little more patience than
// the phase itself where that can act. An error is logged and recorded in the
// report, and so is a panic: a bug in one step must not cost the others.
func (w *worker) step(name string, limit int, f func() error) (err error) {
	short, _, _ := strings.Cut(name, " ")
	w.super.step(short, seconds(limit)+15*time.Second)
	start := round(uptime())
	w.report.Steps = append(w.report.Steps, crashdir.Step{Name: short, Start: start})
	w.state.Step = short
	w.state.Begun = append(w.state.Begun, name)
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
		w.fail("%s: %v", short, err)
	}
	w.sample()
	w.state.Step = ""
	w.save()
	return err
}

func (w *worker) save() {
	if err := w.state.save(); err != nil {
		w.log.errorf("keep the state: %v", err)
	}
}

// begun reports whether this worker or one before it began a step.
func (w *worker) begun(name string) bool { return slices.Contains(w.state.Begun, name) }

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
	if m := memAvailable(); m > 0 && (w.report.LowestMem == 0 || m < w.report.LowestMem) {
		w.report.LowestMem = m
	}
}

// timeLeft returns the time until the last collector has to be over.
func (w *worker) timeLeft() time.Duration { return w.end - uptime() }

// crashID returns a random name for this crash.
func crashID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/uuid") // random(4)
	if err != nil {
		return strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	return strings.TrimSpace(string(b))
}

// kernelRelease returns this kernel's release, as uname -r.
func kernelRelease() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}

// fileExists reports whether path can be seen.
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

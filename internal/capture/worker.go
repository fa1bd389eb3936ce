package capture

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// worker follows the plan. Its steps stand in run, one after the other.
type worker struct {
	log    *logger
	super  reporter
	over   overrides
	plan   *plan.Plan
	state  *state
	report *crashdir.Report // &state.Report
	end    time.Duration    // uptime at which the dump has to be over
}

func newWorker(st *state) *worker {
	w := &worker{
		log:   openLog(),
		super: reporter{os.NewFile(progressFD, "progress")},
		state: st,
	}
	w.report = &st.Report
	if r := w.report; r.Version == 0 { // there was no worker before this one
		r.Version, r.Software = crashdir.ReportVersion, plan.Software
		r.Outcome = crashdir.Failed
		r.Started = time.Now().Add(-uptime()).UTC().Round(time.Second)
		r.Capture = kernelRelease()
	}
	line, _ := os.ReadFile("/proc/cmdline") // the supervisor reports an error
	w.over = parseCmdline(string(line))
	p, err := readPlan()
	if err != nil {
		w.fail("%v", err)
	} else {
		w.plan = p
		w.end = seconds(p.Deadlines.Total - p.Deadlines.Finish)
		w.report.Host, w.report.Machine = p.Host.Name, p.Host.MachineID
	}
	return w
}

// runWorker is the worker's main.
func runWorker() int {
	unix.CloseOnExec(progressFD)
	setOOMScore(0, 0) // not the supervisor's -1000
	w := newWorker(new(state))
	w.run()
	w.super.done(string(w.report.Outcome))
	return 0
}

// runSalvage is the main of the salvage: the worker's steps that save evidence,
// beginning where the worker had come to.
func runSalvage() int {
	unix.CloseOnExec(progressFD)
	setOOMScore(0, 0)
	w := newWorker(loadState())
	begun := w.begun()
	w.fail("the capture did not come to its end; steps begun: %s", strings.Join(begun, " "))
	if w.plan != nil && fileExists(vmcorePath) {
		if !slices.Contains(begun, "modules") {
			w.step("modules", w.plan.Deadlines.Module, w.loadModules)
		}
		// A file system that was mounted when the worker ended, but has no
		// directory for the dump yet, is mounted afresh.
		if w.state.Dir == "" {
			w.step("umount", w.plan.Deadlines.Finish, w.umount)
		}
		if w.openTargets() {
			if !fileExists(filepath.Join(w.state.Dir, crashdir.Dmesg)) {
				w.step("dmesg", w.plan.Deadlines.Finish, w.writeLog)
			}
			w.finish()
		}
	}
	w.super.done(string(w.report.Outcome))
	return 0
}

// run is the whole capture.
func (w *worker) run() {
	limit := 60 // seconds; there is no plan to say better
	if w.plan != nil {
		limit = w.plan.Deadlines.Mount
	}
	// First of all: it needs no module, no disk and no other program.
	w.step("log", limit, w.readLog)
	if w.plan == nil || !fileExists(vmcorePath) {
		return
	}
	w.step("modules", w.plan.Deadlines.Module, w.loadModules)
	if !w.openTargets() {
		return
	}
	w.step("vmcore", w.plan.Deadlines.Stall, w.collect)
	w.finish()
}

// openTargets opens the first target that lets itself be opened, unless there
// is an open one already, and reports whether there is.
func (w *worker) openTargets() bool {
	for i := range w.plan.Targets {
		if w.state.Dir != "" {
			break
		}
		w.openTarget(&w.plan.Targets[i]) // it has logged its error
	}
	if w.state.Dir == "" {
		w.fail("no target could be opened: nothing is saved")
	}
	return w.state.Dir != ""
}

// finish writes what belongs to every dump and leaves the file system clean.
func (w *worker) finish() {
	limit := w.plan.Deadlines.Finish
	w.step("capture log", limit, w.writeCaptureLog)
	w.step("report", limit, func() error {
		// What is there counts, not what was meant to be.
		w.report.Outcome, w.report.Vmcore = outcome(w.state.Dir)
		return w.writeReport()
	})
	w.step("umount", limit, w.umount)
}

// step runs one phase. limit is in seconds: if the phase reports no progress
// for longer, the supervisor kills the worker. An error is logged and recorded
// in the report.
func (w *worker) step(name string, limit int, f func() error) error {
	// The phase's own limit comes first; the supervisor's is for the case
	// that it cannot act.
	w.super.step(name, seconds(limit)+15*time.Second)
	s := crashdir.Step{Name: name, Start: round(uptime())}
	w.report.Steps = append(w.report.Steps, s)
	w.save()
	err := f()
	last := &w.report.Steps[len(w.report.Steps)-1]
	last.Seconds = since(s.Start)
	if err != nil {
		last.Error = err.Error()
		w.fail("%s: %v", name, err)
	}
	w.sample()
	w.save()
	return err
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
	if m := memAvailable(); m > 0 && (w.report.LowestMem == 0 || m < w.report.LowestMem) {
		w.report.LowestMem = m
	}
}

// begun returns the names of the steps that were begun.
func (w *worker) begun() []string {
	var names []string
	for _, s := range w.report.Steps {
		names = append(names, s.Name)
	}
	return names
}

// openTarget brings one target to the point where a dump can be written to it:
// state.Dir is set and holds the kernel log.
func (w *worker) openTarget(t *plan.Target) {
	d := w.plan.Deadlines
	var dev string
	err := w.step("device", d.Device, func() (err error) {
		dev, err = w.waitDevice(t)
		return err
	})
	if err != nil {
		return
	}
	if w.step("mount", d.Mount, func() error { return w.mount(t, dev) }) != nil {
		return
	}
	if w.step("directory", d.Mount, func() error { return w.makeDir(t) }) != nil {
		w.step("umount", d.Finish, w.umount)
		return
	}
	// From here on there is something to show, even if it is the log alone.
	w.step("dmesg", d.Finish, w.writeLog)
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

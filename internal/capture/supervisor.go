package capture

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// Limits for a machine whose plan cannot be read.
const (
	defaultTotal  = 15 * time.Minute
	defaultFinish = 2 * time.Minute
)

// supervise is PID 1, or in emergency mode a service. It returns only if every way to
// reboot the machine failed.
func supervise(m mode) {
	// All signals are caught and never read. Children would inherit ignored ones.
	signal.Notify(make(chan os.Signal, 1))
	ignoreReserved()
	setup := setup
	if m == emergency {
		setup = setupEmergency
		signalGuard(unix.SIGUSR1)
	}
	setupErrs := setup()
	s := newSupervisor()
	s.mode = m
	for _, err := range setupErrs {
		if err != nil {
			s.log.errorf("%v", err)
		}
	}
	setOOMScore(0, -1000)
	if !s.try(s.run) {
		s.try(s.waitOut)
		s.try(func() { s.finalAction(s.failure, "") })
	}
}

// ignoreReserved ignores the signals that C libraries keep for themselves and the
// Go runtime therefore leaves at their default (runtime/sigtab_linux_generic.go).
// The kernel protects PID 1 from them only while no thread blocks them
// (kernel/signal.c, sig_ignored), and the runtime sometimes blocks all signals.
func ignoreReserved() {
	// struct sigaction of the kernel, not of libc: handler, flags, restorer, mask.
	ignore := [4]uintptr{1} // SIG_IGN
	for sig := uintptr(32); sig <= 34; sig++ {
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0)
	}
}

// try reports whether f returned without a panic. A bug must not become "Attempted to
// kill init" before the configured action was tried.
func (s *supervisor) try(f func()) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			s.log.errorf("internal error in the supervisor: %v", r)
		}
	}()
	f()
	return true
}

// waitOut waits for the remaining processes, at most until the total deadline. A worker
// keeps its own deadlines and can end well without the supervisor.
func (s *supervisor) waitOut() {
	for uptime() < s.begun+s.total && !s.alone() {
		s.pause(100 * time.Millisecond)
	}
}

// setup mounts the file systems that every role needs and makes the directories that
// the image may lack.
func setup() []error {
	var errs []error
	for _, d := range []string{"/proc", "/sys", "/dev", "/run/ukdump", "/tmp", mountDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			errs = append(errs, err)
		}
	}
	for _, m := range []struct{ fs, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.fs, m.dir, m.fs, unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil && err != unix.EBUSY {
			errs = append(errs, fmt.Errorf("mount %s on %s: %w", m.fs, m.dir, err))
		}
	}
	// Else the kernel drops messages of a process that logs quickly
	// (Documentation/admin-guide/sysctl/kernel.rst, printk_devkmsg).
	os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	disarm("/proc/sys")
	limitDirty("/proc/sys", MemAvailable())
	return errs
}

// panicPolicies are the sysctls below /proc/sys that make a kernel panic at an event that
// it can survive (Documentation/admin-guide/sysctl/kernel.rst and vm.rst). A kernel may be
// built or started with them for the healthy system; in a capture the process that ran
// into the event is lost, not the dump. A lockup is not among them: after it, nothing runs.
var panicPolicies = []string{
	"kernel/panic_on_oops", "kernel/panic_on_warn", "kernel/panic_on_rcu_stall", "kernel/hung_task_panic",
	"kernel/panic_on_io_nmi", "kernel/panic_on_unrecovered_nmi", "kernel/unknown_nmi_panic", "vm/panic_on_oom",
}

// disarm turns the panicPolicies off. Most kernels lack some of them.
func disarm(sys string) {
	for _, name := range panicPolicies {
		setSysctl(sys+"/"+name, "0\n")
	}
}

// setSysctl writes to a file that exists.
func setSysctl(path, value string) {
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		f.Write([]byte(value))
		f.Close()
	}
}

// limitDirty has the kernel write pages back soon and bounds them, in bytes
// (Documentation/admin-guide/sysctl/vm.rst). With the defaults, parts of the memory, a slow
// disk still has minutes of work when the collector ends, and fsync(2) reports no progress.
// The collector waits in place of the worker. available is the memory in bytes, 0 if it is
// not known: dm-crypt copies what it writes, and in 18 MiB the kernel ended a collector
// when pages of 16 MiB waited for it.
func limitDirty(sys string, available int64) {
	const most, part = 16 << 20, 8
	n := int64(most)
	if available > 0 {
		n = min(most, available/part)
	}
	setSysctl(sys+"/vm/dirty_background_bytes", strconv.FormatInt(n/4, 10)+"\n")
	setSysctl(sys+"/vm/dirty_bytes", strconv.FormatInt(n, 10)+"\n")
}

type supervisor struct {
	mode           mode
	log            *logger
	plan           *plan.Plan // nil if it cannot be read
	over           overrides
	final, failure plan.Action
	total, finish  time.Duration // of the plan's deadlines
	begun          time.Duration // uptime from which total counts: not 0 after retry
	watchdogs      *watchdogs
	stuck          []userProcess // processes that could not be killed so far
}

// newSupervisor returns a supervisor with the defaults of a machine without a plan.
func newSupervisor() *supervisor {
	return &supervisor{log: openLog(), final: plan.Reboot, failure: plan.Reboot, total: defaultTotal, finish: defaultFinish}
}

// configure reads the command line and the plan. The error is that of the plan.
func (s *supervisor) configure() error {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		s.log.errorf("read the command line: %v", err)
	}
	s.over = parseCmdline(string(line))
	if s.plan, err = readPlan(); err == nil {
		s.final, s.failure = s.plan.FinalAction, s.plan.FailureAction
		s.total, s.finish = seconds(s.plan.Deadlines.Total), seconds(s.plan.Deadlines.Finish)
	}
	if s.over.final != "" {
		s.final, s.failure = s.over.final, s.over.final
	}
	return err
}

func (s *supervisor) run() {
	if err := s.configure(); err != nil {
		s.log.errorf("%v: only the kernel log can be shown", err)
	} else {
		s.watchdogs = newWatchdogs(s.plan.Watchdogs, s.total+s.finish)
	}
	s.log.printf(plan.Stamp+" %d MiB of memory available", MemAvailable()>>20)

	s.finalAction(s.attempt())
}

// attempt runs the capture and returns the action for its outcome.
func (s *supervisor) attempt() (plan.Action, crashdir.Outcome) {
	outcome := s.capture()
	if outcome.Success(loadState().Report.LogOnly) {
		s.log.printf("outcome: %s: %s", outcome, s.final)
		return s.final, outcome
	}
	s.log.errorf("outcome: %s: %s", outcome, s.failure)
	return s.failure, outcome
}

// retry captures again from the start, with new deadlines, as a person at the shell
// wished.
func (s *supervisor) retry() (plan.Action, crashdir.Outcome) {
	s.killAll(killLimit) // jobs of the shell
	s.begun = uptime()
	s.watchdogs.extend(s.begun + s.total + s.finish)
	if err := loadState().again(s.begun).save(); err != nil {
		s.log.errorf("keep the state: %v", err)
	}
	return s.attempt()
}

// maxWorkers bounds the number of workers. Each one skips the step in which the last
// one ended.
const maxWorkers = 5

// killLimit bounds the wait for killed processes. A process that takes longer is stuck
// in the kernel, mostly with a device that does not answer.
const killLimit = 5 * time.Second

// capture runs workers, then a salvage if all of them died, and returns the outcome.
// The time to finish belongs to the salvage.
func (s *supervisor) capture() crashdir.Outcome {
	stuck, end := false, s.begun+s.total
	for n := 0; n < maxWorkers && uptime() < end-s.finish; n++ {
		var outcome crashdir.Outcome
		if outcome, stuck = s.watch(roleWorker, stuck, end-s.finish); outcome != "" {
			return outcome
		}
	}
	s.log.errorf("all workers failed: saving the results so far")
	outcome, stuck := s.watch(roleSalvage, stuck, max(end, uptime()+s.finish))
	if outcome == "" {
		st := loadState()
		outcome = st.saved(st.Best)
	}
	if stuck { // its writes may still be under way
		s.killAll(s.finish)
	}
	return outcome
}

// watch runs one role until it ends, is silent for too long or uptime is end. It
// returns the outcome that the role reported, or "", and whether a process is stuck in
// the kernel. stuck is the result of the last watch.
func (s *supervisor) watch(role string, stuck bool, end time.Duration) (crashdir.Outcome, bool) {
	p, m, err := s.start(role, stuck)
	if err != nil {
		s.log.errorf("%v", err)
		s.pause(time.Second) // the error may be temporary
		return "", stuck
	}
	defer m.close()
	for {
		m.wait(100 * time.Millisecond)
		s.reap(p)
		now := uptime()
		last := end
		if m.done != "" && role == roleWorker { // only the unmount is left
			last += s.finish
		}
		switch {
		case p.ended:
			if !p.ok() {
				s.log.errorf("%s ended with %s in step %q", role, p.how(), m.step)
				s.logStderr()
			}
		case m.overdue(now):
			s.log.errorf("%s made no progress for %v in step %q: killing it", role, m.limit, m.step)
		case now > last:
			s.log.errorf("%s has no time left in step %q: killing it", role, m.step)
		default:
			s.watchdogs.feed(now)
			continue
		}
		// The collector too: an orphan would continue to write.
		stuck = s.killAll(killLimit)
		m.drain()
		return crashdir.Outcome(m.done), stuck
	}
}

// killAll kills every process but this one and the feeder and waits up to limit for
// their end. It reports whether another process is now stuck in the kernel that may be
// using a target.
func (s *supervisor) killAll(limit time.Duration) (stuck bool) {
	for end := uptime() + limit; ; s.pause(10 * time.Millisecond) {
		list, err := s.others()
		if err != nil && s.mode == emergency {
			return false
		}
		if err != nil { // no /proc: kill the feeder too, it is started again
			unix.Kill(-1, unix.SIGKILL)
			return false
		}
		if len(list) == 0 {
			return false
		}
		if uptime() > end {
			s.log.errorf("stuck in the kernel: %v", list)
			return s.noteStuck(list)
		}
		for _, p := range list {
			unix.Kill(p.pid, unix.SIGKILL)
		}
		s.reap(nil)
	}
}

// noteStuck remembers the processes that could not be killed. It reports whether one of
// them is new and no loader of modules, which uses no target.
func (s *supervisor) noteStuck(list []userProcess) bool {
	before := s.stuck
	s.stuck = list
	return slices.ContainsFunc(list, func(p userProcess) bool {
		return p.name != roleModules && !slices.Contains(before, p)
	})
}

// others returns the processes beside this one and the feeder.
func (s *supervisor) others() ([]userProcess, error) {
	list, err := userProcesses("/proc", s.watchdogs.pid())
	if s.mode == emergency {
		list = descendants(list)
	}
	return list, err
}

// alone reports whether no other process is left.
func (s *supervisor) alone() bool {
	s.reap(nil)
	list, err := s.others()
	return err == nil && len(list) == 0
}

// pause sleeps for d and has the watchdogs fed meanwhile.
func (s *supervisor) pause(d time.Duration) {
	for end := uptime() + d; ; {
		now := uptime()
		if now >= end {
			return
		}
		s.watchdogs.feed(now)
		time.Sleep(min(end-now, feedTick))
	}
}

// start starts a role with a pipe for its progress. stuck says that the last worker is
// stuck in the kernel.
func (s *supervisor) start(role string, stuck bool) (*process, *monitor, error) {
	null := openNull()
	defer null.Close()
	stderr, err := os.OpenFile(stderrFile, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		stderr = null
	} else {
		defer stderr.Close()
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	wr := os.NewFile(uintptr(fds[1]), "progress")
	defer wr.Close()
	argv := []string{self, role}
	if stuck {
		argv = append(argv, argStuck)
	}
	p, err := start(argv, childEnv, []*os.File{null, stderr, stderr, wr})
	if err != nil {
		unix.Close(fds[0])
		return nil, nil, err
	}
	return p, &monitor{fd: fds[0], step: "start", limit: time.Minute, last: uptime()}, nil
}

// childEnv is the environment of every child. A traceback of all goroutines would only
// fill the memory.
var childEnv = []string{
	"PATH=/usr/bin:/bin", "HOME=/", "TMPDIR=/tmp", "LC_ALL=C",
	"LD_LIBRARY_PATH=/" + plan.LibraryDir, "GOTRACEBACK=single",
}

// reap collects every child that ended, orphans of the worker included, and
// keeps the status of p, which may be nil.
func (s *supervisor) reap(p *process) {
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return
		}
		if p != nil && pid == p.pid {
			p.ended, p.status = true, st
		}
	}
}

// logStderr logs the output of the last role: a Go traceback.
func (s *supervisor) logStderr() {
	f, err := os.Open(stderrFile)
	if err != nil {
		return
	}
	defer f.Close()
	// The reason is at the top of a traceback. All of it would fill the memory, or stop PID 1
	// on a slow serial console.
	b := make([]byte, 1500)
	n, _ := io.ReadFull(f, b)
	if b = b[:n]; n == 0 {
		return
	}
	s.log.errorf("%s", strings.ReplaceAll(string(b), "\t", " "))
}

// readPlan reads the plan of the image.
func readPlan() (*plan.Plan, error) {
	name := "/" + plan.Path
	if !fileExists(name) {
		dir, _ := guardDir()
		name = dir + "/fd/" + strconv.Itoa(planFD)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p, err := plan.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

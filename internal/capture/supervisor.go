package capture

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// Limits for a machine whose plan cannot be read.
const (
	defaultTotal  = 15 * time.Minute
	defaultFinish = 2 * time.Minute
)

// supervise is PID 1. It returns only if nothing was left that could reboot the
// machine.
func supervise() {
	// Caught and never read. Ignored signals would be so in every child too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGPIPE)
	setupErrs := setup()
	s := &supervisor{log: openLog(), final: plan.Reboot, failure: plan.Reboot}
	defer func() {
		// A bug in here must not become "Attempted to kill init" before the
		// configured action was tried.
		if r := recover(); r != nil {
			s.log.errorf("internal error in the supervisor: %v", r)
			s.finalAction(s.failure)
		}
	}()
	for _, err := range setupErrs {
		s.log.errorf("%v", err)
	}
	setOOMScore(0, -1000)
	s.run()
}

// setup mounts what every role needs and makes the directories that the image
// may lack.
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
	return errs
}

type supervisor struct {
	log            *logger
	plan           *plan.Plan // nil if it cannot be read
	over           overrides
	final, failure plan.Action
	finish         time.Duration // Deadlines.Finish
	watchdogs      *watchdogs
}

func (s *supervisor) run() {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		s.log.errorf("read the command line: %v", err)
	}
	s.over = parseCmdline(string(line))
	s.plan, err = readPlan()
	if err != nil {
		s.log.errorf("%v: only the kernel log can be shown", err)
	}
	total, finish := defaultTotal, defaultFinish
	if s.plan != nil {
		s.final, s.failure = s.plan.FinalAction, s.plan.FailureAction
		total, finish = seconds(s.plan.Deadlines.Total), seconds(s.plan.Deadlines.Finish)
		s.watchdogs = newWatchdogs(s.plan.Watchdogs)
	}
	if s.over.final != "" {
		s.final, s.failure = s.over.final, s.over.final
	}
	s.log.printf(plan.Stamp+" %d MiB of memory available", memAvailable()>>20)

	s.finish = finish
	outcome := s.capture(total)
	action := s.failure
	if outcome == crashdir.Complete {
		action = s.final
		s.log.printf("outcome: %s: %s", outcome, action)
	} else {
		s.log.errorf("outcome: %s: %s", outcome, action)
	}
	s.finalAction(action)
}

// maxWorkers bounds how many workers follow each other. Each one skips the step
// in which the one before it ended.
const maxWorkers = 5

// capture runs workers, and if none came to its end a salvage, and returns the
// outcome. total is the uptime of the end; the time to finish belongs to the
// salvage.
func (s *supervisor) capture(total time.Duration) crashdir.Outcome {
	for n := 0; n < maxWorkers && uptime() < total-s.finish; n++ {
		if outcome := s.watch(roleWorker, total-s.finish); outcome != "" {
			return outcome
		}
	}
	s.log.errorf("no worker came to its end: saving what there is")
	end := max(total, uptime()+s.finish)
	outcome := s.watch(roleSalvage, end)
	if outcome == "" {
		outcome = crashdir.Failed
	}
	// Whatever is still stuck in the kernel may be writing what was saved.
	if !s.killAll(end) {
		s.log.errorf("a process is stuck in the kernel")
	}
	return outcome
}

// watch runs one role until it ends, is silent for too long or uptime is end,
// and returns the outcome it reported, or "". Nothing that it started is left,
// unless it is stuck in the kernel.
func (s *supervisor) watch(role string, end time.Duration) crashdir.Outcome {
	p, m, err := s.start(role)
	if err != nil {
		s.log.errorf("%v", err)
		time.Sleep(time.Second) // whatever it is may pass
		return ""
	}
	defer m.close()
	for {
		m.wait(100 * time.Millisecond)
		s.reap(p)
		now := uptime()
		last := end
		if m.done != "" { // only the file system is still to be taken off
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
		// The collector too: an orphan would go on writing.
		if !s.killAll(uptime() + 5*time.Second) {
			s.log.errorf("%s is stuck in the kernel", role)
		}
		m.drain()
		return crashdir.Outcome(m.done)
	}
}

// killAll kills every process but this one, waits for their end, at most until
// uptime is end, and reports whether none is left.
func (s *supervisor) killAll(end time.Duration) bool {
	for {
		unix.Kill(-1, unix.SIGKILL)
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err == unix.ECHILD {
				return true
			}
			if pid <= 0 && err != unix.EINTR {
				break
			}
		}
		if uptime() > end {
			return false
		}
		s.watchdogs.feed(uptime())
		time.Sleep(10 * time.Millisecond)
	}
}

// start starts a role with a pipe to hear its progress.
func (s *supervisor) start(role string) (*process, *monitor, error) {
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
	defer unix.Close(fds[1])
	p, err := start([]string{self, role}, childEnv, []*os.File{null, stderr, stderr, os.NewFile(uintptr(fds[1]), "progress")})
	if err != nil {
		unix.Close(fds[0])
		return nil, nil, err
	}
	return p, &monitor{fd: fds[0], step: "start", limit: time.Minute, last: uptime()}, nil
}

// childEnv is the environment of every child. A Go traceback of more than the
// failing goroutine would only fill the memory.
var childEnv = []string{
	"PATH=/usr/bin:/bin", "HOME=/", "TMPDIR=/tmp", "LC_ALL=C",
	"LD_LIBRARY_PATH=/" + plan.LibraryDir, "GOTRACEBACK=single",
}

// reap collects every child that ended, orphans of the worker included.
func (s *supervisor) reap(p *process) {
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return
		}
		if pid == p.pid {
			p.ended, p.status = true, st
		}
	}
}

// logStderr logs the tail of what the last role printed: a Go traceback.
func (s *supervisor) logStderr() {
	b, err := os.ReadFile(stderrFile)
	if err != nil || len(b) == 0 {
		return
	}
	const max = 1500 // a serial console is slow, and may hold up PID 1
	if len(b) > max {
		b = b[:max] // the reason stands at the top of a traceback
	}
	s.log.errorf("%s", strings.ReplaceAll(string(b), "\t", " "))
}

// readPlan reads the plan of the image.
func readPlan() (*plan.Plan, error) {
	b, err := os.ReadFile("/" + plan.Path)
	if err != nil {
		return nil, err
	}
	p, err := plan.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", plan.Path, err)
	}
	return p, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

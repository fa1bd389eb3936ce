package capture

import (
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// guardName is the name of the guard's process. The '@' at the beginning of its
// first argument keeps systemd from killing it when it changes to the real root and
// before it reboots (systemd.io/ROOT_STORAGE_DAEMONS).
const guardName = "ukdump-guard"

// planFD is the descriptor of the plan, whose file is removed with the initramfs.
const planFD = 3

// becomeGuarded is PID 1 in emergency mode: it starts the guard and becomes the
// distribution's own init. It returns only if the init cannot be started.
func becomeGuarded() {
	if f, err := os.Open("/" + plan.Path); err == nil {
		file := openNull()
		null := file.Fd()
		syscall.ForkExec("/"+plan.GuardPath, []string{"@" + guardName}, &syscall.ProcAttr{
			Dir: "/", Env: childEnv, Files: []uintptr{null, null, null, f.Fd()},
			// A mount namespace of its own: the distribution does not notice it.
			Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS},
		})
		runtime.KeepAlive(file)
	}
	// Without a guard there is no plan either, and the service reboots.
	syscall.Exec("/init", append([]string{"/init"}, os.Args[1:]...), os.Environ())
}

// runGuard makes sure that the machine reboots even if the distribution's system hangs:
// at a prompt for a passphrase, a missing root file system or a shell. If the service
// does not begin in time, the end of the crashed kernel's log goes to the console and,
// if available, to pstore.
func runGuard() {
	// The two expected signals have a channel that no other signal fills.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2)
	signal.Notify(make(chan os.Signal, 1))
	ignoreReserved()
	self = selfLink
	err := leaveRoot()
	errs := append(setup(), err)
	setName(guardName)
	setOOMScore(0, -1000)
	s := newSupervisor()
	for _, err := range errs {
		if err != nil {
			s.log.errorf("guard: %v", err)
		}
	}
	if err := s.configure(); err != nil {
		s.log.errorf("guard: %v", err)
	}
	s.over.shell = false // there is no shell, and pstore must not wait for one
	boot := s.total / 3
	s.log.printf("guard: the capture has to begin within %v", boot)
	action, outcome := s.failure, crashdir.Failed
	for end := boot; uptime() < end; time.Sleep(200 * time.Millisecond) {
		select {
		case sig := <-signals:
			switch sig {
			case unix.SIGUSR1: // the capture has begun and has its own deadlines
				action, outcome, end = plan.Reboot, "", s.total+s.finish+guardLimit
			case unix.SIGUSR2: // the capture is over
				action, outcome, end = plan.Reboot, "", uptime()+guardLimit
			}
		default:
		}
	}
	if outcome == crashdir.Failed {
		s.log.errorf("guard: the system has not come as far as the capture within %v: giving up", boot)
		s.runLimited(roleLog)
	} else {
		s.log.errorf("guard: the system did not reboot: rebooting")
	}
	s.finalAction(action, outcome)
}

// leaveRoot gives this process a root file system of its own, because the system
// empties the initramfs when it changes to the real root.
func leaveRoot() error {
	if err := os.MkdirAll(mountDir, 0o700); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return unix.Mount("ramfs", mountDir, "ramfs", 0, "") },
		func() error { return unix.Chdir(mountDir) },
		func() error { return unix.Mount(".", "/", "", unix.MS_MOVE, "") },
		func() error { return unix.Chroot(".") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return unix.Chdir("/")
}

// runLog is the child of the guard that shows the crashed kernel's log and notes
// the evidence for pstore.
func runLog(mode, []string) int {
	w := newWorker(new(state))
	w.fail("the distribution's own system did not start the capture")
	w.step(stepLog, w.finishLimit(), w.readLog)
	return 0
}

// guardDir returns the directory of the guard's process in /proc, "" if there is
// none, and its number.
func guardDir() (string, int) {
	list, _ := userProcesses("/proc", 0)
	for _, p := range list {
		if p.name == guardName {
			return "/proc/" + strconv.Itoa(p.pid), p.pid
		}
	}
	return "", 0
}

// signalGuard signals the guard that the capture has begun or is over.
func signalGuard(sig unix.Signal) {
	if _, pid := guardDir(); pid > 0 {
		unix.Kill(pid, sig)
	}
}

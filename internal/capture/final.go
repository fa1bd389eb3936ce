package capture

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// How long reboot(2) may take to shut the devices down before the supervisor
// resorts to sysrq.
const rebootLimit = 30 * time.Second

// finalAction ends this kernel. It returns only if both reboot(2) and sysrq failed.
// outcome is "" if unknown.
func (s *supervisor) finalAction(a plan.Action, outcome crashdir.Outcome) {
	next := afterShell(a, 0)
	for s.wantsShell(a) {
		status := s.shell(next)
		if status != plan.ExitCapture {
			next = afterShell(next, status)
			break
		}
		a, outcome = s.retry()
		next = afterShell(a, 0)
	}
	if s.wantsPstore(a, outcome) {
		p := s.runLimited(rolePstore)
		s.log.errorf("no panic for pstore (%s): %s", p.how(), next)
	}
	if s.mode == emergency {
		s.askSystemd(next)
	}
	p := s.runLimited(roleFinal, string(next))
	s.log.errorf("%s failed (%s): trying sysrq", next, p.how())
	// Documentation/admin-guide/sysrq.rst: o powers off, b reboots at once,
	// without asking any device.
	if next == plan.Poweroff {
		sysrq('o')
		s.pause(rebootLimit) // it only schedules the work
	}
	sysrq('b')
}

// runLimited runs a role in a child, because the kernel may hang in it and must not hang
// the supervisor. It returns when the child has ended or its time is over.
func (s *supervisor) runLimited(args ...string) *process {
	end := uptime() + rebootLimit
	s.watchdogs.extend(end)
	p, err := start(append([]string{self}, args...), childEnv, nil)
	if err != nil {
		s.log.errorf("%v", err)
		return &process{ended: true, lost: true}
	}
	for uptime() < end && !p.poll() {
		s.pause(50 * time.Millisecond)
	}
	return p
}

// sysrq acts like a key of sysrq, see Documentation/admin-guide/sysrq.rst.
func sysrq(key byte) {
	os.WriteFile("/proc/sys/kernel/sysrq", []byte("1\n"), 0)
	os.WriteFile("/proc/sysrq-trigger", []byte{key}, 0)
}

// runFinal is the child that calls reboot(2), see there for the constants.
func runFinal(_ mode, args []string) int {
	cmd := unix.LINUX_REBOOT_CMD_RESTART
	if len(args) > 0 {
		switch plan.Action(args[0]) {
		case plan.Poweroff:
			cmd = unix.LINUX_REBOOT_CMD_POWER_OFF
		case plan.Halt:
			cmd = unix.LINUX_REBOOT_CMD_HALT
		}
	}
	unix.Reboot(cmd)
	return 1
}

// wantsShell reports whether a shell runs before action a. A word on the command line
// must permit it: the plan alone does not, since others may start the image. If the
// failure action of the plan is shell, the shell runs only after a failure, otherwise
// always.
func (s *supervisor) wantsShell(a plan.Action) bool {
	if !s.over.shell || s.mode == emergency {
		return false
	}
	return a == plan.Shell || s.plan == nil || s.plan.FailureAction != plan.Shell
}

// afterShell returns the action that follows a shell with that exit status: a, unless
// the person asked for another one.
func afterShell(a plan.Action, status int) plan.Action {
	switch {
	case status == plan.ExitReboot, a == plan.Shell:
		return plan.Reboot
	case status == plan.ExitPoweroff:
		return plan.Poweroff
	case status == plan.ExitHalt:
		return plan.Halt
	}
	return a
}

// shell runs an interactive shell on the console until it ends, if the image has one, and
// returns its exit status. next is the action that follows.
func (s *supervisor) shell(next plan.Action) (status int) {
	path := "/" + plan.RescuePath
	if !fileExists(path) {
		path = "/" + plan.ShellPath
	}
	console, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err != nil {
		s.log.errorf("no shell: %v", err)
		return 0
	}
	defer console.Close()
	s.log.printf("starting the configured shell on the console; when it ends: %s", next)
	env := append(childEnv[:len(childEnv):len(childEnv)], plan.FinalEnv+"="+string(next))
	p, err := start([]string{path, "sh"}, env, []*os.File{console, console, console})
	if err != nil {
		s.log.errorf("no shell: %v", err)
		return 0
	}
	setOOMScore(p.pid, 0)
	for !p.poll() {
		s.watchdogs.extend(uptime() + time.Minute) // a person is there
		s.pause(200 * time.Millisecond)
	}
	s.log.printf("the shell ended: %s", p.how())
	return p.status.ExitStatus()
}

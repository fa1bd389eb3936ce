package capture

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/plan"
)

// How long reboot(2) may take to shut the devices down before the supervisor
// resorts to sysrq.
const rebootLimit = 30 * time.Second

// finalAction ends this kernel. It returns only if neither reboot(2) nor sysrq
// did.
func (s *supervisor) finalAction(a plan.Action) {
	ask := a == plan.Shell || s.over.shell
	if a == plan.Shell {
		a = plan.Reboot
	}
	if ask {
		s.shell(a)
	}
	// In a child: shutting the devices down can hang, and the supervisor must
	// stay able to act.
	p, err := start([]string{self, roleFinal, string(a)}, childEnv, nil)
	if err != nil {
		s.log.errorf("%v", err)
	} else {
		for end := uptime() + rebootLimit; uptime() < end && !p.poll(); {
			time.Sleep(50 * time.Millisecond)
		}
		s.log.errorf("%s did not happen (%s): trying sysrq", a, p.how())
	}
	// Documentation/admin-guide/sysrq.rst: o powers off, b reboots at once.
	os.WriteFile("/proc/sys/kernel/sysrq", []byte("1\n"), 0)
	if a == plan.Poweroff {
		os.WriteFile("/proc/sysrq-trigger", []byte("o"), 0)
		time.Sleep(rebootLimit) // it only schedules the work
	}
	os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0)
}

// runFinal is the child that calls reboot(2), see there for the constants.
func runFinal(args []string) int {
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

// shell runs an interactive shell on the console until it ends: only where the
// user asked for it and packed one. next is what happens then.
func (s *supervisor) shell(next plan.Action) {
	const path = "/" + plan.ShellPath
	if _, err := os.Stat(path); err != nil {
		s.log.errorf("no shell: %v", err)
		return
	}
	console, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err != nil {
		s.log.errorf("no shell: %v", err)
		return
	}
	defer console.Close()
	s.log.printf("a shell on the console, as configured; what follows its end: %s", next)
	p, err := start([]string{path, "sh"}, childEnv, []*os.File{console, console, console})
	if err != nil {
		s.log.errorf("%v", err)
		return
	}
	for !p.poll() {
		s.watchdogs.feed(uptime())
		time.Sleep(200 * time.Millisecond)
	}
}

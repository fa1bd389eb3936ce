// Package capture is PID 1 of the capture kernel: a supervisor that never
// touches a disk, and child processes that do.
//
// The supervisor starts the worker, watches its progress, lets the feeder feed
// watchdogs as long as there is progress, and takes the final action. The worker follows
// the plan in a straight line. Whatever kills the worker — a bug, the OOM
// killer, a deadline — leaves the supervisor, which starts the salvage: it
// writes what the worker had learned, and the machine reboots.
package capture

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"ukdump/internal/plan"
)

// Roles of the child processes, their first argument. PID 1 is recognised by its
// number, never by its arguments: the kernel passes it words of the command
// line that it does not know itself.
const (
	roleWorker  = "worker"
	roleModules = "modules"
	roleSalvage = "salvage"
	roleFeeder  = "feeder"
	rolePstore  = "pstore"
	roleFinal   = "final"
	roleLog     = "log"  // of the guard
	roleCopy    = "copy" // see plan.CopyArgv
)

// argStuck is the second argument of a worker whose forerunner is stuck in the
// kernel.
const argStuck = "stuck"

// Paths inside the capture environment. The root file system is a ramfs.
const (
	stateFile  = "/run/ukdump/state.json"
	stderrFile = "/run/ukdump/stderr"
	mountDir   = "/mnt"
	vmcorePath = "/proc/vmcore"
)

// self is this program.
var self = "/init"

// Main runs the role that this process has. As PID 1 it does not return; in the
// other roles it returns the exit status.
func Main() int {
	// The heap of every role is a few MiB at most. Collecting early keeps it
	// from doubling before the first collection.
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(24 << 20)
	switch {
	case os.Args[0] == "/"+plan.GuardPath && os.Getpid() == 1:
		becomeGuarded()
		return 1
	case os.Args[0] == "@"+guardName:
		runGuard()
		return 1
	}
	// Not as PID 1 of a container: sysrq would reset the machine.
	if os.Getpid() == 1 && (fileExists(self) || fileExists("/"+plan.Path)) {
		supervise()
		return 1 // ends in the kernel's panic, and panic= reboots
	}
	enterEmergency()
	if emergency && len(os.Args) == 2 && os.Args[1] == plan.EmergencyRole {
		supervise()
		return 1 // and the unit's FailureAction reboots
	}
	signal.Ignore(syscall.SIGPIPE)
	if len(os.Args) >= 2 && (os.Getppid() == 1 || emergency) {
		switch setName(os.Args[1]); os.Args[1] {
		case roleWorker, roleSalvage:
			return runWorker(os.Args[1], len(os.Args) > 2 && os.Args[2] == argStuck)
		case roleFeeder:
			return runFeeder(os.Args[2:])
		case roleLog:
			runLog()
			return 0
		case rolePstore:
			return runPstore()
		case roleFinal:
			return runFinal(os.Args[2:])
		}
	}
	if len(os.Args) >= 3 {
		switch os.Args[1] {
		case roleModules:
			setName(roleModules)
			return runModules(os.Args[2])
		case roleCopy:
			setName(roleCopy)
			return runCopy(os.Args[2:])
		}
	}
	fmt.Fprintln(os.Stderr, "kdumpinit: not started: this is PID 1 of the capture kernel, packed into its initramfs by mkkdumpinitrd(8)")
	return 2
}

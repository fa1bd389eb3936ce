// Package capture is PID 1 of the capture kernel: a supervisor that never
// touches a disk, and child processes that do.
//
// The supervisor starts the worker, watches its progress, lets the feeder feed
// watchdogs as long as there is progress, and takes the final action. The worker
// follows the plan in a straight line. If a bug, the OOM killer or a deadline kills the
// worker, the supervisor starts the next one, and at last the salvage, which writes
// the results so far. Then the machine reboots.
package capture

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"ukdump/internal/plan"
)

// Roles of the child processes, their first argument. PID 1 is recognised by its
// number, never by its arguments: the kernel passes unknown words of the command line
// to it.
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

// role is the main function of a child, which returns the exit status.
type role struct {
	name string
	ours bool // only the supervisor or the guard starts it
	args int  // how many arguments it needs
	run  func(m mode, args []string) int
}

var roles = []role{
	{roleWorker, true, 0, runWorker},
	{roleSalvage, true, 0, runSalvage},
	{roleFeeder, true, 0, runFeeder},
	{roleLog, true, 0, runLog},
	{rolePstore, true, 0, runPstore},
	{roleFinal, true, 0, runFinal},
	{roleModules, false, 1, runModules},
	{roleCopy, false, 1, runCopy},
}

// argStuck is the second argument of a worker if the last worker is stuck in the
// kernel.
const argStuck = "stuck"

// Paths inside the capture environment. The root file system is a ramfs.
const (
	stateFile  = "/" + plan.StatePath
	stderrFile = "/run/ukdump/stderr"
	mountDir   = "/mnt"
)

// vmcorePath is the memory of the crashed kernel.
var vmcorePath = "/proc/vmcore"

// self is this program.
var self = "/init"

// processors is how many run: after a crash on another than the first, x86 may start one
// less than the plan expects, see builder.cpuWords.
var processors = runtime.NumCPU()

// Main runs the role that this process has. As PID 1 it does not return; in the
// other roles it returns the exit status.
func Main() int {
	// The heap of every role is a few MiB at most. Collecting early keeps it
	// from doubling before the first collection.
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(24 << 20)
	switch os.Args[0] {
	case "/" + plan.GuardPath:
		if os.Getpid() == 1 {
			becomeGuarded()
			return 1
		}
	case "@" + guardName:
		runGuard()
		return 1
	}
	// Not as PID 1 of a container: sysrq would reset the machine.
	if os.Getpid() == 1 && (fileExists(self) || fileExists("/"+plan.Path)) {
		supervise(initramfs)
		return 1 // ends in the kernel's panic, and panic= reboots
	}
	m := detectMode()
	if m == emergency && len(os.Args) == 2 && os.Args[1] == plan.EmergencyRole {
		supervise(m)
		return 1 // and the unit's FailureAction reboots
	}
	signal.Ignore(syscall.SIGPIPE)
	for _, r := range roles {
		if len(os.Args) < 2+r.args || os.Args[1] != r.name || r.ours && os.Getppid() != 1 && m != emergency {
			continue
		}
		setName(r.name)
		return r.run(m, os.Args[2:])
	}
	fmt.Fprintln(os.Stderr, "kdumpinit: not started: this is PID 1 of the capture kernel, packed into its initramfs by mkkdumpinitrd(8)")
	return 2
}

// Package ctl is kdumpctl(8), one file for each verb.
package ctl

import (
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/collect"
	"ukdump/internal/config"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/host"
	"ukdump/internal/kexec"
	"ukdump/internal/load"
	"ukdump/internal/plan"
	"ukdump/internal/setup"
	"ukdump/internal/state"
	"ukdump/internal/verify"
)

// ctl is one run of kdumpctl.
type ctl struct {
	*cli.Program
	root  string // of the machine; "/" but for tests
	pid1  string // kdumpinit to pack
	store state.Store
	kexec *kexec.Slot
	keys  *cryptkeys.Handover
	uid   int

	columns int // of the terminal, 0 to ask that

	journalLimit time.Duration // how long journald may take to take an entry

	sleep  func(time.Duration)
	swapon func() error // turns on the swap that the machine is configured to have
	// reloadUnit has systemd reload ukdump.service, without waiting for that.
	reloadUnit func() error
	// retry has systemd start or stop the timer of reload --omitted, without waiting.
	retry      func(start bool) error
	startHooks func() error // starts announce --hooks, without waiting for that
	adopt      bool         // this process has no children but those of hooks
	// mountJobs returns where systemd is about to mount something.
	mountJobs func() ([]string, error)
	route     builder.Router // finds the way to a server; nil is host.Route
	askNFS    builder.Asker  // nil is mountd.Ask
	// memUsage runs makedumpfile --mem-usage; nil is the real one.
	memUsage func(program string) ([]byte, error)
	tryWrite func(dir string) error // writes to a directory and leaves nothing there
	ask      func(question string) (bool, error)
	reboot   func() error // begins a shutdown, and returns
	lookPath func(program string) (string, error)
	// exec runs a program in place of this one, and returns only with an error.
	exec func(path string, args []string) error
	wait func(path string, args []string) error // runs a program and waits for it
	// setupMachine returns what setup changes.
	setupMachine func() *setup.Machine
}

// Run runs kdumpctl and returns its exit status.
func Run(p *cli.Program) int {
	const root = "/"
	c := &ctl{
		Program: p, root: root, pid1: builder.DefaultPid1(), store: state.Store{Root: root}, uid: os.Geteuid(),
		kexec: kexec.New(root), keys: cryptkeys.New(root, load.KeyInTable(root)),
		journalLimit: 5 * time.Second, sleep: time.Sleep, swapon: collect.Swapon, reloadUnit: reloadUnit, retry: retryTimer, startHooks: startHooks, mountJobs: host.MountJobs, tryWrite: verify.TryWrite, reboot: reboot,
		lookPath: exec.LookPath, exec: replaceBy, wait: runAndWait, adopt: true,
	}
	c.ask = c.askTerminal
	c.setupMachine = func() *setup.Machine { return setup.New(root, c.store) }
	return p.End(c.run())
}

// loader returns the value that loads for this run.
func (c *ctl) loader() *load.Loader {
	return &load.Loader{
		Out: c.Program, Root: c.root, Pid1: c.pid1, Store: c.store, Slot: c.kexec, Keys: c.keys, Route: c.route, Ask: c.askNFS, Sleep: c.sleep, MountJobs: c.mountJobs, MemUsage: c.memUsage,
	}
}

func (c *ctl) run() error { return c.Dispatch(c.program(), c.verbs(), c.uid) }

// program is kdumpctl without a verb.
func (c *ctl) program() *cli.Command {
	var version bool
	return &cli.Command{
		About: "Loads the capture kernel, reports problems with it, and manages the dumps.",
		Args:  "[VERB [OPTION]... [ARGUMENT]...]",
		Options: func(f *pflag.FlagSet) {
			f.BoolVar(&version, "version", false, "print the version")
		},
		Run: func([]string) error {
			if version {
				return c.version(nil)
			}
			return c.summary()
		},
	}
}

// verbs is the list of verbs, in the order of the help and of kdumpctl(8).
func (c *ctl) verbs() []*cli.Command {
	return []*cli.Command{
		c.setupVerb(), c.loadVerb(), c.reloadVerb(), c.unloadVerb(), c.statusVerb(), c.buildVerb(), c.verifyVerb(), c.testVerb(), c.estimateVerb(), c.shrinkVerb(),
		c.listVerb(), c.infoVerb(), c.reportVerb(), c.logVerb(), c.debugVerb(), c.decryptVerb(), c.exportVerb(), c.importVerb(), c.rmVerb(), c.pruneVerb(), c.collectVerb(), c.announceVerb(), c.metricsVerb(),
		{Name: "completion", Summary: "print the completion script of a shell", About: "Prints the script that completes the command line of kdumpctl in bash, zsh or fish.\nPackages install it for all users.",
			Args: "SHELL", Min: 1, Max: 1, Values: func() []string { return cli.Shells },
			Run: func(args []string) error { return c.Completion(args[0], c.program(), c.verbs()) }},
		{Name: "version", Summary: "print the version", About: "Prints the version.", Run: c.version},
		{Name: "help", Summary: "explain a verb", About: "Explains a verb, or lists them all.", Args: "[VERB]", Max: 1, Values: c.names, Run: c.help},
	}
}

func (c *ctl) version([]string) error {
	c.Say("kdumpctl %s", plan.Software)
	return nil
}

// names returns the names of the verbs.
func (c *ctl) names() (names []string) {
	for _, v := range c.verbs() {
		names = append(names, v.Name)
	}
	return names
}

func (c *ctl) help(args []string) error {
	c.Args = args // an unknown verb is an error
	if len(args) == 0 || slices.Contains(c.names(), args[0]) {
		c.Args = append(slices.Clone(args), "--help")
	}
	return c.run()
}

// locked runs f while no other kdumpctl changes anything.
func (c *ctl) locked(verb string, f func() error) error {
	unlock, err := c.store.Lock(verb, c.sleep)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

// config reads the configuration of the machine.
func (c *ctl) config() (*config.Config, error) { return config.Load(c.root) }

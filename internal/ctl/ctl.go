// Package ctl is kdumpctl(8), one file for each verb.
package ctl

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/collect"
	"ukdump/internal/config"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/kexec"
	"ukdump/internal/load"
	"ukdump/internal/plan"
	"ukdump/internal/state"
	"ukdump/internal/verify"
)

const usage = `Usage: kdumpctl VERB [OPTION]... [ARGUMENT]...

Loads the capture kernel, says what is wrong with it, and manages the dumps.

  load     load the capture kernel; build its image first if it is missing or
           anything that goes into it has changed
  reload   the same; the name says that one is loaded already
  unload   unload the capture kernel
  status   what is loaded, what is missing, where the next dump goes
  build    build the image, but do not load it
  verify   prove that a crash now would be saved, as far as that can be known
  list     list the dumps
  info     show why a kernel crashed and how its dump was made
  rm       remove dumps
  prune    remove the oldest dumps, as far as the configuration says
  collect  make directories of the dumps that lie on raw devices
  announce tell about crashes that nobody was told about yet
  version  print the version

kdumpctl VERB --help tells more.
`

// ctl is one run of kdumpctl.
type ctl struct {
	*cli.Program
	root  string // of the machine; "/" but for tests
	pid1  string // kdumpinit to pack
	store state.Store
	kexec *kexec.Slot
	keys  *cryptkeys.Handover
	uid   int

	journalLimit time.Duration // how long journald may take to take an entry

	sleep  func(time.Duration)
	swapon func() error // turns on the swap that the machine is configured to have
	// mountJobs returns where systemd is about to mount something.
	mountJobs func() ([]string, error)
	// memUsage runs makedumpfile --mem-usage; nil is the real one.
	memUsage func(program string) ([]byte, error)
	tryWrite func(dir string) error // writes to a directory and leaves nothing there
}

// Run runs kdumpctl and returns its exit status.
func Run(p *cli.Program) int {
	const root = "/"
	c := &ctl{
		Program: p, root: root, pid1: builder.DefaultPid1(), store: state.Store{Root: root}, uid: os.Geteuid(),
		kexec: kexec.New(root), keys: cryptkeys.New(root, load.KeyInTable(root)),
		journalLimit: 5 * time.Second, sleep: time.Sleep, swapon: collect.Swapon, mountJobs: collect.MountJobs, tryWrite: verify.TryWrite,
	}
	return p.End(c.run())
}

// loader returns the value that loads for this run.
func (c *ctl) loader() *load.Loader {
	return &load.Loader{
		Out: c.Program, Root: c.root, Pid1: c.pid1, Store: c.store, Slot: c.kexec, Keys: c.keys, Sleep: c.sleep, MemUsage: c.memUsage,
	}
}

// lock waits for other runs of kdumpctl.
func (c *ctl) lock(verb string) (unlock func(), err error) { return c.store.Lock(verb, c.sleep) }

func (c *ctl) run() error {
	if len(c.Args) == 0 {
		return cli.Usage(errors.New("a verb is missing: kdumpctl help lists them"))
	}
	verb, args := c.Args[0], c.Args[1:]
	switch verb {
	case "load":
		return c.load("load", args)
	case "reload":
		return c.load("reload", args)
	case "unload":
		return c.unload(args)
	case "status":
		return c.status(args)
	case "build":
		return c.build(args)
	case "verify":
		return c.verify(args)
	case "list":
		return c.list(args)
	case "info":
		return c.info(args)
	case "rm":
		return c.rm(args)
	case "prune":
		return c.prune(args)
	case "announce":
		return c.announce(args)
	case "collect":
		return c.collect(args)
	case "version", "--version":
		if _, err := cli.Parse(c.Flags("version", "Usage: kdumpctl version\n"), args, 0, 0); err != nil {
			return err
		}
		fmt.Fprintln(c.Stdout, "kdumpctl", plan.Software)
		return nil
	case "help", "--help", "-h":
		if len(args) > 0 && args[0] != "help" && !strings.HasPrefix(args[0], "-") {
			c.Args = []string{args[0], "--help"}
			return c.run()
		}
		fmt.Fprint(c.Stdout, usage)
		return nil
	}
	return cli.Usage(fmt.Errorf("unknown verb %q: kdumpctl help lists them", verb))
}

// config reads the configuration of the machine.
func (c *ctl) config() (*config.Config, error) { return config.Load(c.root) }

func (c *ctl) needRoot(verb string) error {
	if c.uid != 0 {
		return advice.With(fmt.Errorf("%s: only root can do that", verb), "Run sudo kdumpctl "+verb+".")
	}
	return nil
}

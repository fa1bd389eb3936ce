package ctl

import (
	"ukdump/internal/cli"
	"ukdump/internal/collect"
)

const collectUsage = `Usage: kdumpctl collect [--dir DIRECTORY] [--foreign] [--discard]

Looks on all block devices for dumps that a capture kernel wrote there without a
file system, makes directories of them, and gives the devices back: what was
swap is swap again. A dump that cannot be saved stays where it is.

  --dir DIRECTORY  where to save them (default: the first configured directory)
  --foreign        also those of other machines
  --discard        give the devices back without saving what is on them
`

func (c *ctl) collect(args []string) error {
	run := c.collector()
	f := c.Flags("collect", collectUsage)
	f.StringVar(&run.Dir, "dir", "", "")
	f.BoolVar(&run.Foreign, "foreign", false, "")
	f.BoolVar(&run.Discard, "discard", false, "")
	if _, err := cli.Parse(f, args, 0, 0); err != nil {
		return err
	}
	if err := c.needRoot("collect"); err != nil {
		return err
	}
	return run.Collect()
}

// collector returns the value that collects for this run.
func (c *ctl) collector() *collect.Run {
	return &collect.Run{Out: c.Program, Root: c.root, Store: c.store, Sleep: c.sleep, Swapon: c.swapon, MountJobs: c.mountJobs}
}

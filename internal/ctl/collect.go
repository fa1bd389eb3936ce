package ctl

import (
	"github.com/spf13/pflag"

	"ukdump/internal/cli"
	"ukdump/internal/collect"
)

func (c *ctl) collectVerb() *cli.Command {
	run := c.collector()
	return &cli.Command{
		Name: "collect", Summary: "turn raw dumps into directories and give the devices back",
		About: `Looks on all block devices for raw dumps, which a capture kernel wrote without a file
system, turns them into directories, and gives the devices back: swap is swap again.
A dump that cannot be saved stays on its device.`,
		Root: true,
		Options: func(f *pflag.FlagSet) {
			f.StringVar(&run.Dir, "dir", "", "`DIRECTORY` save them here (default: the first that is configured)")
			f.BoolVar(&run.Foreign, "foreign", false, "collect the dumps of other machines, too")
			f.BoolVar(&run.Discard, "discard", false, "give the devices back without saving the dumps")
		},
		Run: func([]string) error { return run.Collect() },
	}
}

// collector returns the value that collects for this run.
func (c *ctl) collector() *collect.Run {
	return &collect.Run{Out: c.Program, Root: c.root, Store: c.store, Sleep: c.sleep, Swapon: c.swapon, MountJobs: c.mountJobs}
}

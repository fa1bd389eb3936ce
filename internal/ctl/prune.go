package ctl

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
)

func (c *ctl) pruneVerb() *cli.Command {
	var dry bool
	return &cli.Command{
		Name: "prune", Summary: "remove the oldest dumps beyond the configured limits",
		About: `Removes the oldest dumps until no directory of TARGET= has more than KEEP, all dumps
together take no more than MAX_USE there and KEEP_FREE is free. The newest dump and
the newest complete one stay. load does the same after each load.`,
		Root:    true,
		Options: func(f *pflag.FlagSet) { f.BoolVar(&dry, "dry-run", false, "only say which dumps would be removed") },
		Run:     func([]string) error { return c.locked("prune", func() error { return c.prune(dry) }) },
	}
}

func (c *ctl) prune(dry bool) error {
	n, err := c.pruneAll(dry)
	if err == nil && n == 0 {
		c.Say("nothing to remove")
	}
	return err
}

// pruneAfterLoad makes room when the machine is protected again. It is no part
// of loading, so nothing that goes wrong makes that fail.
func (c *ctl) pruneAfterLoad() {
	if _, err := c.pruneAll(false); err != nil {
		c.Warn(err.Error())
	}
}

// pruneAll removes the excess dumps of all targets and returns how many dumps
// that were. A target that fails does not keep it from the next.
func (c *ctl) pruneAll(dry bool) (n int, err error) {
	conf, err := c.config()
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, dir := range conf.DumpDirs(c.root) {
		gone, err := c.pruneDir(dir, retention(conf), dry)
		if n += gone; err != nil {
			errs = append(errs, fmt.Errorf("make room in %s: %w", dir, err))
		}
	}
	return n, errors.Join(errs...)
}

func (c *ctl) pruneDir(dir string, p crashdir.Policy, dry bool) (n int, err error) {
	dumps, err := crashdir.List(dir)
	if err != nil || len(dumps) == 0 {
		return 0, err
	}
	room, err := crashdir.RoomIn(dir)
	if err != nil {
		return 0, err
	}
	for _, d := range p.Excess(dumps, room.Free) {
		if dry {
			c.Say("would remove %s, %s", d.Path, cli.Size(d.Used))
		} else {
			if err := crashdir.Remove(d); err != nil {
				return n, err
			}
			c.Say("removed %s, %s", d.Path, cli.Size(d.Used))
		}
		n++
	}
	return n, nil
}

// retention returns the limits of the configuration.
func retention(conf *config.Config) crashdir.Policy {
	return crashdir.Policy{Keep: conf.Keep, MaxUse: conf.MaxUse, KeepFree: conf.KeepFree}
}

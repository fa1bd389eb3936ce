package ctl

import (
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
together take no more than MAX_USE there and KEEP_FREE is free. The newest dump, the
newest complete one and the newest of DUMP=log stay. load does the same after each load.`,
		Root:    true,
		Options: func(f *pflag.FlagSet) { f.BoolVar(&dry, "dry-run", false, "only say which dumps would be removed") },
		Run:     func([]string) error { return c.locked("prune", func() error { return c.prune(dry) }) },
	}
}

func (c *ctl) prune(dry bool) error {
	n, errs := c.pruneAll(dry)
	if len(errs) > 0 {
		last := len(errs) - 1
		for _, err := range errs[:last] {
			c.Warn(err.Error())
		}
		return errs[last]
	}
	if n == 0 {
		c.Say("nothing to remove")
	}
	return nil
}

// pruneAfterLoad makes room when the machine is protected again. It is no part
// of loading, so nothing that goes wrong makes that fail.
func (c *ctl) pruneAfterLoad() {
	_, errs := c.pruneAll(false)
	for _, err := range errs {
		c.Warn(err.Error())
	}
}

// pruneAll removes the excess dumps of all targets and returns how many dumps
// that were. A dump or a target that fails does not keep it from the next.
func (c *ctl) pruneAll(dry bool) (n int, errs []error) {
	conf, err := c.config()
	if err != nil {
		return 0, []error{err}
	}
	for _, dir := range conf.DumpDirs(c.root) {
		gone, failed := c.pruneDir(dir, retention(conf), dry)
		n += gone
		for _, err := range failed {
			errs = append(errs, fmt.Errorf("make room in %s: %w", dir, err))
		}
	}
	return n, errs
}

func (c *ctl) pruneDir(dir string, p crashdir.Policy, dry bool) (n int, errs []error) {
	dumps, err := crashdir.List(dir)
	if err != nil {
		return 0, []error{err}
	}
	if len(dumps) == 0 {
		return 0, nil
	}
	room, err := crashdir.RoomIn(dir)
	if err != nil {
		return 0, []error{fmt.Errorf("statfs: %w", err)}
	}
	errs = p.Enforce(dumps, room.Free, func(d crashdir.Dump) error {
		if err := crashdir.Removable(d); err != nil {
			return err
		}
		if dry {
			n++
			c.Say("would remove %s, %s", d.Path, cli.Size(d.Used))
			return nil
		}
		if err := crashdir.Remove(d); err != nil {
			return err
		}
		n++
		c.Say("removed %s, %s", d.Path, cli.Size(d.Used))
		return nil
	})
	return n, errs
}

// retention returns the limits of the configuration.
func retention(conf *config.Config) crashdir.Policy {
	return crashdir.Policy{Keep: conf.Keep, MaxUse: conf.MaxUse, KeepFree: conf.KeepFree}
}

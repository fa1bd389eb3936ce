package ctl

import (
	"fmt"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

func (c *ctl) rmVerb() *cli.Command {
	var o dumpOptions
	return &cli.Command{
		Name: "rm", Summary: "remove dumps",
		About: `Removes dumps. A vmcore contains the memory of the machine, so remove it when you
are done with it.

DUMP is a name as for info.`,
		Options: o.addDir, Args: "DUMP...", Min: 1, Max: -1, Values: c.dumpNames(&o),
		Run: func(names []string) error { return c.rm(o.dir, names) },
	}
}

func (c *ctl) rm(dir string, names []string) error {
	// All of them before the first is gone: a typing error removes nothing.
	var dumps []crashdir.Dump
	taken := map[string]bool{}
	for _, n := range names {
		if n == "" {
			return cli.Usage(fmt.Errorf("the name of a dump is empty"))
		}
		d, err := c.findDump(dir, n)
		if err != nil {
			return err
		}
		if err := crashdir.Removable(d); err != nil {
			return err
		}
		if !taken[d.Path] {
			taken[d.Path] = true
			dumps = append(dumps, d)
		}
	}
	for _, d := range dumps {
		if err := crashdir.Remove(d); err != nil {
			return err
		}
		fmt.Fprintf(c.Stdout, "removed %s, %s\n", d.Name, cli.Size(d.Size))
	}
	return nil
}

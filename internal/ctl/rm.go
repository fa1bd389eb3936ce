package ctl

import (
	"fmt"
	"os"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

const rmUsage = `Usage: kdumpctl rm [--dir DIRECTORY] DUMP...

Removes dumps. A vmcore contains the memory of the machine: whoever has read it
to the end should remove it.

  DUMP             as for info
  --dir DIRECTORY  where the dumps are (default: all that are configured)
`

func (c *ctl) rm(args []string) error {
	fs := c.Flags("rm", rmUsage)
	dir := fs.String("dir", "", "")
	names, err := cli.Parse(fs, args, 1, -1)
	if err != nil {
		return err
	}
	// All of them before the first is gone: a typing error removes nothing.
	var dumps []crashdir.Dump
	taken := map[string]bool{}
	for _, n := range names {
		if n == "" {
			return cli.Usage(fmt.Errorf("the name of a dump is empty"))
		}
		d, err := c.findDump(*dir, n)
		if err != nil {
			return err
		}
		if err := crashdir.CheckOwner(d.Path); err != nil {
			return err
		}
		if fi, err := os.Lstat(d.Path); err == nil && !fi.IsDir() {
			return fmt.Errorf("%s is not the directory of a dump but a symbolic link", d.Path)
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

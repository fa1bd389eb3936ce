package ctl

import "ukdump/internal/cli"

const buildUsage = `Usage: kdumpctl build [--force]

Builds the image that load would build.

  --force  even if nothing that goes into it has changed
`

func (c *ctl) build(args []string) error {
	f := c.Flags("build", buildUsage)
	force := f.Bool("force", false, "")
	if _, err := cli.Parse(f, args, 0, 0); err != nil {
		return err
	}
	if err := c.needRoot("build"); err != nil {
		return err
	}
	unlock, err := c.lock("build")
	if err != nil {
		return err
	}
	defer unlock()
	return c.loader().Build(*force)
}

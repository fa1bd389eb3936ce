package ctl

import "ukdump/internal/cli"

const unloadUsage = `Usage: kdumpctl unload

Unloads the capture kernel. A crash is then not saved.
`

func (c *ctl) unload(args []string) error {
	if _, err := cli.Parse(c.Flags("unload", unloadUsage), args, 0, 0); err != nil {
		return err
	}
	if err := c.needRoot("unload"); err != nil {
		return err
	}
	unlock, err := c.lock("unload")
	if err != nil {
		return err
	}
	defer unlock()
	return c.loader().Unload()
}

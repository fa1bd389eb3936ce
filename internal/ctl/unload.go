package ctl

import "ukdump/internal/cli"

func (c *ctl) unloadVerb() *cli.Command {
	return &cli.Command{
		Name: "unload", Summary: "unload the capture kernel", About: "Unloads the capture kernel. A crash is then not saved.",
		Root: true,
		Run:  func([]string) error { return c.locked("unload", c.loader().Unload) },
	}
}

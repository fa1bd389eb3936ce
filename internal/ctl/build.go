package ctl

import (
	"github.com/spf13/pflag"

	"ukdump/internal/cli"
)

func (c *ctl) buildVerb() *cli.Command {
	var force bool
	return &cli.Command{
		Name: "build", Summary: "build the image, but do not load it", About: "Builds the image that load would build.",
		Root:    true,
		Options: func(f *pflag.FlagSet) { f.BoolVar(&force, "force", false, "build it even if it is up to date") },
		Run: func([]string) error {
			return c.locked("build", func() error { return c.loader().Build(force) })
		},
	}
}

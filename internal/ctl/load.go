package ctl

import (
	"errors"

	"github.com/spf13/pflag"

	"ukdump/internal/cli"
	"ukdump/internal/kexec"
	"ukdump/internal/load"
)

const aboutLoad = `Loads the capture kernel and its image with kexec_file_load(2). The image is built
first if it is missing, damaged or out of date. Everything is checked before the
kernel drops the set that was loaded before. If the load fails and nothing is loaded
then, the fallback set is loaded: the last kernel, image and command line that could
be loaded.`

// loadOptions are those of load and reload.
type loadOptions struct {
	image      string
	ifReserved bool
	hotplug    bool
	forecast   bool
}

func (o *loadOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.image, "image", "", "`FILE` load this image as it is, and build none")
	f.BoolVar(&o.ifReserved, "if-reserved", false, "do nothing, with status 0, if no memory is reserved for a capture kernel; wait for mounts and raw devices of targets that are yet to appear. For ukdump.service")
}

func (c *ctl) loadVerb() *cli.Command {
	var o loadOptions
	return &cli.Command{
		Name: "load", Summary: "load the capture kernel; build its image first if it is missing or out of date", About: aboutLoad,
		Root: true, Options: o.add,
		Run: func([]string) error { return c.load("load", o) },
	}
}

func (c *ctl) reloadVerb() *cli.Command {
	var o loadOptions
	return &cli.Command{
		Name: "reload", Summary: "load it again; the same as load", About: aboutLoad,
		Root: true,
		Options: func(f *pflag.FlagSet) {
			o.add(f)
			f.BoolVar(&o.hotplug, "hotplug", false, "processors or memory were added or removed: load the same set again, if one is loaded. For ukdump-hotplug.service")
			f.BoolVar(&o.forecast, "forecast", false, "try makedumpfile on the running kernel, and load the same set again if it should know the result. For ukdump-forecast.service")
		},
		Run: func([]string) error {
			switch {
			case o.forecast && (o.hotplug || o.image != ""):
				return cli.Usage(errors.New("--forecast loads the same set again, so it excludes --hotplug and --image"))
			case o.forecast:
				return c.loader().Learn()
			case o.hotplug && o.image != "":
				return cli.Usage(errors.New("--hotplug loads the same set again, so it excludes --image"))
			case o.hotplug:
				return c.loader().Hotplug()
			}
			return c.load("reload", o)
		},
	}
}

func (c *ctl) load(verb string, o loadOptions) error {
	err := c.loader().CheckReserved()
	if o.ifReserved && errors.As(err, new(*kexec.Error)) {
		c.Say("nothing loaded: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	return c.locked(verb, func() error {
		if err := c.loader().Load(load.Options{Image: o.image, Await: o.ifReserved, Later: o.ifReserved}); err != nil {
			return err
		}
		c.pruneAfterLoad()
		return nil
	})
}

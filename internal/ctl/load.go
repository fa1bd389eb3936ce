package ctl

import (
	"errors"

	"ukdump/internal/cli"
	"ukdump/internal/kexec"
	"ukdump/internal/load"
)

const loadUsage = `Usage: kdumpctl load|reload [--image FILE] [--if-reserved]
       kdumpctl reload --hotplug

Loads the capture kernel and its image with kexec_file_load(2). The image is built
first if it is missing, damaged, or if anything that goes into it has changed.
Everything is checked before the kernel gives up what was loaded before. If the
load fails and nothing is loaded then, the last set of kernel, image and command
line that could be loaded is loaded again.

  --image FILE   load this image instead, as it is
  --if-reserved  where no memory is reserved for a capture kernel, do nothing and
                 end with status 0. Raw targets that are not there yet are
                 awaited. For ukdump.service
  --hotplug      processors or memory have come or gone: load again what is
                 loaded, if anything is. For ukdump-hotplug.service
`

func (c *ctl) load(verb string, args []string) error {
	f := c.Flags(verb, loadUsage)
	image := f.String("image", "", "")
	ifReserved := f.Bool("if-reserved", false, "")
	hotplug := new(bool)
	if verb == "reload" {
		hotplug = f.Bool("hotplug", false, "")
	}
	if _, err := cli.Parse(f, args, 0, 0); err != nil {
		return err
	}
	if *hotplug && *image != "" {
		return cli.Usage(errors.New("--hotplug loads what is loaded, so there can be no --image"))
	}
	if err := c.needRoot(verb); err != nil {
		return err
	}
	if *hotplug {
		return c.loader().Hotplug()
	}
	err := c.loader().CheckReserved()
	if *ifReserved && errors.As(err, new(*kexec.Error)) {
		c.Say("nothing loaded: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	unlock, err := c.lock(verb)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.loader().Load(load.Options{Image: *image, Await: *ifReserved}); err != nil {
		return err
	}
	c.pruneAfterLoad()
	return nil
}

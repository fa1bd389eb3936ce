package ctl

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/host"
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
	ifChanged  bool
	omitted    bool
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
			f.BoolVar(&o.ifChanged, "if-changed", false, "kernels or makedumpfile were installed or removed: have ukdump.service load again in the background if the loaded set is out of date, and remove the images of kernels that are gone. For hooks of package managers")
			f.BoolVar(&o.omitted, "omitted", false, "load again if a server that the loaded set omits can be reached. For ukdump-retry.service")
			f.BoolVar(&o.forecast, "forecast", false, "try makedumpfile on the running kernel, and load the same set again if it should know the result. For ukdump-forecast.service")
		},
		Run: func([]string) error {
			switch {
			case o.omitted && (o.ifChanged || o.forecast || o.hotplug || o.image != ""):
				return cli.Usage(errors.New("--omitted loads the configured set, so it excludes --if-changed, --forecast, --hotplug and --image"))
			case o.omitted:
				return c.reloadOmitted()
			case o.ifChanged && (o.forecast || o.hotplug || o.image != ""):
				return cli.Usage(errors.New("--if-changed has ukdump.service load, so it excludes --forecast, --hotplug and --image"))
			case o.ifChanged:
				return c.reloadIfChanged()
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
		return c.loadWith(c.loader(), load.Options{Image: o.image, Await: o.ifReserved, Later: o.ifReserved})
	})
}

// loadWith loads, with the lock, and does the tasks that belong to a load.
func (c *ctl) loadWith(ld *load.Loader, o load.Options) error {
	err := ld.Load(o)
	if errors.As(err, new(*host.AbsentError)) {
		c.retryOmitted()
	}
	if err != nil {
		return err
	}
	c.pruneAfterLoad()
	c.removeImages()
	if ld.Omits {
		c.retryOmitted()
	}
	return nil
}

// retryOmitted has systemd look for the servers that could not be reached.
func (c *ctl) retryOmitted() {
	if err := c.retry(true); err != nil {
		c.Warn(fmt.Sprintf("nothing will look for the server: %v", err), "Run kdumpctl reload when the server can be reached.")
	}
}

// reloadOmitted is for ukdump-retry.service, whose timer it stops when nothing is left to
// do. It has the lock all the time, since the load uses the look at the machine.
func (c *ctl) reloadOmitted() error {
	return c.locked("reload", func() error {
		ld := c.loader()
		reason, wanted := ld.WantsLoad()
		if loaded, err := c.kexec.Loaded(); err == nil && !loaded {
			reason, wanted = "nothing is loaded", true
		}
		if !wanted {
			c.Say("nothing to do: %s", reason)
		} else {
			c.Say("loading: %s", reason)
			if err := ld.CheckReserved(); err != nil {
				return err
			}
			if err := c.loadWith(ld, load.Options{}); err != nil {
				return err
			}
		}
		if ld.Omits {
			return nil
		}
		return c.retry(false)
	})
}

// removeImages is no part of loading either.
func (c *ctl) removeImages() {
	if err := c.loader().RemoveImages(); err != nil {
		c.Warn(fmt.Sprintf("images of kernels that are gone stay: %v", err))
	}
}

// reloadIfChanged is for hooks, which wait for it. So it loads nothing itself and waits
// for no other kdumpctl.
func (c *ctl) reloadIfChanged() error {
	if !c.store.Busy() { // a load that goes on removes them itself
		if err := c.locked("reload", func() error { c.removeImages(); return nil }); err != nil {
			return err
		}
	}
	reason, wanted := c.loader().WantsLoad()
	if !wanted {
		c.Say("nothing to do: %s", reason)
		return nil
	}
	if err := c.reloadUnit(); err != nil {
		return fmt.Errorf("%s: %w", reason, err)
	}
	c.Say("ukdump.service loads again if it is active: %s", reason)
	return nil
}

// reloadUnit has systemd reload ukdump.service if that is active, and does not wait for
// the load.
func reloadUnit() error {
	if !host.SystemdRuns("/") {
		return advice.With(errors.New("systemd does not run"), "Run kdumpctl reload.")
	}
	return systemctl("--no-block", "try-reload-or-restart", "ukdump.service")
}

// retryTimer starts or stops the timer of ukdump-retry.service.
func retryTimer(start bool) error {
	if !host.SystemdRuns("/") {
		return errors.New("systemd does not run")
	}
	if start {
		return systemctl("--no-block", "start", "ukdump-retry.timer")
	}
	return systemctl("--no-block", "stop", "ukdump-retry.timer")
}

// systemctl runs systemctl(1) for a request that it answers at once.
func systemctl(args ...string) error {
	const limit = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args[1:], " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

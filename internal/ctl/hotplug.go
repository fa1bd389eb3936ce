package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A burst of events is over when there was none for hotplugQuiet. After
// hotplugPatience the load is done all the same.
const (
	hotplugQuiet    = time.Second
	hotplugPatience = 10 * time.Second
)

// hotplugFile is made, or its time set, by the udev rule for each event that the
// kernel does not handle itself, and removed by the load that covers it, or by
// reload --hotplug, even if no load follows. ukdump-hotplug.path starts that as long
// as it is there.
func (c *ctl) hotplugFile() string { return filepath.Join(c.root, "run/ukdump-hotplug") }

func (c *ctl) forgetHotplug() {
	if err := os.Remove(c.hotplugFile()); err != nil && !os.IsNotExist(err) {
		c.Warn(err.Error())
	}
}

// settle waits until a burst of events is over. It always takes a while, so that
// systemd does not find that the service is started too often.
func (c *ctl) settle() {
	for waited := time.Duration(0); waited < hotplugPatience; {
		pause := hotplugQuiet
		if fi, err := os.Stat(c.hotplugFile()); err == nil && waited > 0 {
			age := max(0, time.Since(fi.ModTime()))
			if age >= hotplugQuiet {
				return
			}
			pause -= age
		} else if waited > 0 {
			return // another load has covered it
		}
		c.sleep(pause)
		waited += pause
	}
}

// reloadHotplug loads again what is loaded, because the ELF header that the
// kernel made of its processors and memory at the last load is out of date.
// Nothing is read from the configuration and nothing is built, unless the last
// good set could not be kept.
func (c *ctl) reloadHotplug() error {
	c.settle()
	unlock, err := c.lock("reload")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(c.hotplugFile()); err != nil {
		c.Say("nothing to do: no event that the last load does not know")
		return nil
	}
	// What fails from here on would fail again, and systemd starts this for ever
	// as long as the file is there.
	c.forgetHotplug()
	loaded, err := c.kexec.Loaded()
	if err != nil {
		return err
	}
	ours := c.readLoaded()
	why := ""
	switch {
	case !loaded:
		why = "no capture kernel is loaded"
	case c.kernelUpdates():
		why = "the kernel updates its own ELF header"
	case ours == nil:
		why = "what is loaded is not by kdumpctl"
	}
	if why != "" {
		c.Say("nothing to do: %s", why)
		return nil
	}
	// The last good set is what is loaded, unless it could not be kept.
	s, _, _, err := c.readLastGood()
	if err == nil && s.Fingerprint == ours.Fingerprint && s.Cmdline == ours.Cmdline && s.Kernel == ours.Kernel {
		begin := time.Now()
		if s, err = c.loadLastGood(ours.Fallback); err == nil {
			c.Say("loaded %s again in %.1f s", s, time.Since(begin).Seconds())
		}
	} else {
		err = c.loadConfigured("")
	}
	if err != nil {
		return c.afterFailure(err)
	}
	return nil
}

// kernelUpdates reports whether the kernel itself keeps the ELF header of what is
// loaded up to date (Documentation/admin-guide/kdump/kdump.rst, Linux 6.6).
func (c *ctl) kernelUpdates() bool {
	known := false
	for _, of := range []string{"cpu", "memory"} {
		b, err := os.ReadFile(filepath.Join(c.root, "sys/devices/system", of, "crash_hotplug"))
		if err != nil {
			continue
		}
		if known = true; strings.TrimSpace(string(b)) != "1" {
			return false
		}
	}
	return known
}

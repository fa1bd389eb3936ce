package load

import (
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/crashdir"
)

// A burst of events is over when there was none for HotplugQuiet. After
// HotplugPatience the load is done all the same.
const (
	HotplugQuiet    = time.Second
	HotplugPatience = 10 * time.Second
)

// settle waits until a burst of events is over. It always takes a while, so that
// systemd does not find that the service is started too often.
func (ld *Loader) settle() {
	for waited := time.Duration(0); waited < HotplugPatience; {
		pause := HotplugQuiet
		if fi, err := ld.Store.Hotplug(); err == nil && waited > 0 {
			age := max(0, time.Since(fi.ModTime()))
			if age >= HotplugQuiet {
				return
			}
			pause -= age
		} else if waited > 0 {
			return // another load has covered it
		}
		ld.Sleep(pause)
		waited += pause
	}
}

// Hotplug loads the loaded set again, because the ELF header that the
// kernel made of its processors and memory at the last load is out of date.
// Nothing is read from the configuration and nothing is built, unless the last
// good set could not be kept.
func (ld *Loader) Hotplug() error {
	ld.settle()
	unlock, err := ld.Store.Lock("reload", ld.Sleep)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := ld.Store.Hotplug(); err != nil {
		ld.Out.Say("nothing to do: no hotplug event since the last load")
		return nil
	}
	// An error from here on would come again, and systemd starts this for ever
	// as long as the file is there.
	ld.forgetHotplug()
	loaded, err := ld.Slot.Loaded()
	if err != nil {
		return err
	}
	ours := ld.Store.Loaded()
	why := ""
	switch {
	case !loaded:
		why = "no capture kernel is loaded"
	case ld.kernelUpdates():
		why = "the kernel updates its own ELF header"
	case ours == nil:
		why = "kdumpctl has not loaded this capture kernel"
	}
	if why != "" {
		ld.Out.Say("nothing to do: %s", why)
		return nil
	}
	// The fallback set is the loaded one, unless it could not be kept.
	s, _, _, err := ld.Store.Fallback()
	if err == nil && s.Fingerprint == ours.Fingerprint && s.Cmdline == ours.Cmdline && s.Kernel == ours.Kernel {
		begin := time.Now()
		if s, err = ld.loadFallback(ours.Fallback); err == nil {
			ld.Out.Say("loaded %s again in %.1f s", s, time.Since(begin).Seconds())
		}
	} else {
		err = ld.loadConfigured(Options{Later: true})
	}
	if err != nil {
		return ld.afterFailure(err)
	}
	return nil
}

// kernelUpdates reports whether the kernel itself keeps the ELF header of what is
// loaded up to date (Documentation/admin-guide/kdump/kdump.rst, Linux 6.6).
func (ld *Loader) kernelUpdates() bool {
	known := false
	for _, of := range []string{"cpu", "memory"} {
		b, err := crashdir.ReadFile(filepath.Join(ld.Root, "sys/devices/system", of, "crash_hotplug"), 4<<10)
		if err != nil {
			continue
		}
		if known = true; strings.TrimSpace(string(b)) != "1" {
			return false
		}
	}
	return known
}

func (ld *Loader) forgetHotplug() {
	if err := ld.Store.ForgetHotplug(); err != nil {
		ld.Out.Warn(err.Error())
	}
}

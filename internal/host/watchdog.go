package host

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"ukdump/internal/kmod"
)

// Watchdog is a hardware watchdog (Documentation/ABI/testing/sysfs-class-watchdog).
type Watchdog struct {
	Name     string   `json:"name"`  // watchdog0
	State    string   `json:"state"` // active, inactive; empty without CONFIG_WATCHDOG_SYSFS, as are the next fields
	Identity string   `json:"identity"`
	Timeout  int      `json:"timeout"` // seconds
	NoWayOut bool     `json:"nowayout,omitempty"`
	Devices  []Device `json:"devices"` // each after those that it needs; the last is the watchdog's own, if known
}

// Watchdogs returns the watchdogs. Active ones go on counting while the capture
// kernel runs. One that is only software (softdog) is left out: it ends with the
// kernel.
func (h *Host) Watchdogs() ([]Watchdog, error) {
	dogs, err := h.watchdogs()
	if err != nil {
		return nil, fmt.Errorf("look for watchdogs: %w", err)
	}
	return dogs, nil
}

func (h *Host) watchdogs() ([]Watchdog, error) {
	const class = "/sys/class/watchdog"
	names, err := h.names(class)
	if err != nil {
		return nil, err
	}
	var dogs []Watchdog
	for _, name := range names {
		dir, err := h.resolve(path.Join(class, name))
		if err != nil {
			return nil, err
		}
		w := Watchdog{Name: name, State: h.attr(dir, "state"), Identity: h.attr(dir, "identity"), NoWayOut: h.attr(dir, "nowayout") == "1"}
		// The name that drivers/watchdog/softdog.c gives itself.
		if w.Identity == "Software Watchdog" {
			continue
		}
		if n, err := strconv.Atoi(h.attr(dir, "timeout")); err == nil && n > 0 {
			w.Timeout = n
		}
		dirs := []string{dir}
		if strings.HasPrefix(dir, "/sys/devices/virtual/") {
			dirs, err = h.watchdogDevices()
		}
		if err == nil {
			w.Devices, err = h.devices(dirs...)
		}
		if err != nil && w.State != "active" {
			continue // it may never matter
		}
		if err != nil {
			return nil, err
		}
		dogs = append(dogs, w)
	}
	return dogs, nil
}

// IPMIWatchdog reports whether the driver of IPMI's watchdog is there, which has a
// device of its own kind that tells nothing (drivers/char/ipmi/ipmi_watchdog.c).
func (h *Host) IPMIWatchdog() bool { return h.exists("/sys/module/ipmi_watchdog") }

// watchdogDevices returns all devices that are bound to a watchdog driver which
// is a module. It serves those watchdogs that do not say which device they are:
// some drivers, such as i6300esb, do not set the parent.
func (h *Host) watchdogDevices() ([]string, error) {
	release, err := h.Kernel()
	if err != nil {
		return nil, err
	}
	// Without its tree, nothing is known about the running kernel's modules.
	dir := h.ModuleTree(release)
	if dir == "" {
		return nil, nil
	}
	tree, err := kmod.Open(h.FS(h.Inside(dir)), release)
	if err != nil {
		return nil, nil
	}
	drivers, err := filepath.Glob(h.path("/sys/bus/*/drivers/*/module"))
	if err != nil {
		return nil, err
	}
	var devices []string
	for _, module := range drivers {
		target, err := os.Readlink(module)
		if err != nil || !strings.HasPrefix(tree.Path(path.Base(target)), "kernel/drivers/watchdog/") {
			continue
		}
		bound, err := os.ReadDir(filepath.Dir(module))
		if err != nil {
			return nil, err
		}
		for _, e := range bound {
			driver := strings.TrimPrefix(filepath.Dir(module), strings.TrimSuffix(h.root, "/"))
			p, err := h.resolve(path.Join(driver, e.Name()))
			if err == nil && e.Name() != "module" && strings.HasPrefix(p, "/sys/devices/") {
				devices = append(devices, p)
			}
		}
	}
	return devices, nil
}

package host

import (
	"fmt"
	"path"
	"strings"
)

// Device is a device of the driver model (sysfs(5)).
type Device struct {
	Path      string `json:"path"` // below /sys/devices, beginning with /sys
	Subsystem string `json:"subsystem,omitempty"`
	Modalias  string `json:"modalias,omitempty"`
	Driver    string `json:"driver,omitempty"` // that it is bound to
	Module    string `json:"module,omitempty"` // of the driver
	// Loadable says that Module is a file on the running kernel, not built in.
	Loadable bool `json:"loadable,omitempty"`
	// PathHandler is the handler of a SCSI disk's paths: alua, rdac, emc, hp_sw.
	PathHandler string `json:"path_handler,omitempty"`
	// PowerSequence says that a controller of MMC has one of mmc-pwrseq, to which there
	// is no device link.
	PowerSequence bool `json:"power_sequence,omitempty"`
	// IOMMU is the name in /sys/class/iommu of the IOMMU that translates the memory
	// accesses of the device (Documentation/ABI/testing/sysfs-kernel-iommu_groups).
	IOMMU string `json:"iommu,omitempty"`
	// DMABits is how many bits the addresses have that it can use for DMA; 0 if that is
	// not known or it has no driver.
	DMABits int `json:"-"`
}

// device reads the device at a resolved path.
func (h *Host) device(dir string) Device {
	d := Device{
		Path:      dir,
		Subsystem: h.link(dir, "subsystem"),
		Modalias:  h.attr(dir, "modalias"),
		Driver:    h.link(dir, "driver"),
	}
	if d.Modalias == "" {
		// Some buses, such as mmc, tell it only here.
		for line := range strings.Lines(h.attr(dir, "uevent")) {
			if v, ok := strings.CutPrefix(line, "MODALIAS="); ok {
				d.Modalias = strings.TrimSpace(v)
			}
		}
	}
	if strings.HasPrefix(h.attr(dir, "iommu_group/type"), "DMA") {
		d.IOMMU = h.link(dir, "iommu")
	}
	if d.Driver == "" {
		return d
	}
	if dh := h.attr(dir, "dh_state"); dh != "detached" {
		d.PathHandler = dh
	}
	d.PowerSequence = h.exists(path.Join(dir, "of_node/mmc-pwrseq"))
	if d.Master() {
		d.DMABits = h.dmaBits(d, dir)
	}
	if driver, err := h.resolve(path.Join(dir, "driver")); err == nil {
		d.Module = h.link(driver, "module")
		// Only loaded modules have a state; built-in ones have none.
		d.Loadable = d.Module != "" && h.exists(path.Join("/sys/module", d.Module, "initstate"))
	}
	return d
}

// deviceWalk collects devices, each after its parents and suppliers.
type deviceWalk struct {
	host *Host
	seen map[string]bool
	out  []Device
}

// devices returns the devices at the given resolved paths with all devices
// that they need, up to the root of /sys/devices: buses and controllers they
// hang on, and the suppliers of device links (Documentation/driver-api/device_link.rst),
// such as regulators and clocks. A device comes after those that it needs. With ACPI there is no
// device link to an IOMMU, but iommu_device_link() in drivers/iommu/iommu-sysfs.c
// makes a link to PARENT/iommu/NAME, where PARENT is the device with the driver.
func (h *Host) devices(dirs ...string) ([]Device, error) {
	w := deviceWalk{host: h, seen: make(map[string]bool)}
	for _, dir := range dirs {
		if err := w.visit(dir); err != nil {
			return nil, err
		}
	}
	return w.out, nil
}

func (w *deviceWalk) visit(dir string) error {
	if w.seen[dir] || !strings.HasPrefix(dir, "/sys/devices/") {
		return nil
	}
	w.seen[dir] = true
	if err := w.visit(path.Dir(dir)); err != nil {
		return err
	}
	if !w.host.exists(path.Join(dir, "uevent")) {
		return nil // a directory for the children of one class
	}
	names, err := w.host.names(dir)
	if err != nil {
		return fmt.Errorf("find the suppliers of %s: %w", dir, err)
	}
	for _, name := range names {
		var supplier string
		switch {
		case strings.HasPrefix(name, "supplier:"):
			supplier, err = w.host.resolve(path.Join(dir, name, "supplier"))
		case name == "iommu": // of an IOMMU itself it is a directory
			supplier, err = w.host.resolve(path.Join(dir, name))
			supplier = path.Dir(supplier)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("find the suppliers of %s: %w", dir, err)
		}
		// A supplier that is an ancestor was entered already.
		if err := w.visit(supplier); err != nil {
			return err
		}
	}
	w.out = append(w.out, w.host.device(dir))
	return nil
}

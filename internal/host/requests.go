package host

import (
	"cmp"
	"path"
	"strings"

	"ukdump/internal/kmod"
)

// Requests returns the modules that a kernel needs to reach the storage and mount
// it: drivers first, each after those that it needs, then the file system.
func (s *Storage) Requests() []kmod.Request {
	out := deviceRequests(s.Devices)
	out = append(out, kmod.Request{
		Names: []string{"fs-" + s.FSType, s.FSType},
		Why:   "file system " + s.FSType,
	})
	out = append(out, s.Needs...)
	for o := range strings.SplitSeq(s.Options, ",") {
		switch key, value, _ := strings.Cut(o, "="); {
		case key == "codepage":
			out = append(out, kmod.Request{Names: []string{"nls_cp" + value}, Optional: true, Why: "mount option " + o})
		case key == "iocharset":
			out = append(out, kmod.Request{Names: []string{"nls_" + value}, Optional: true, Why: "mount option " + o})
		}
	}
	return out
}

// Requests returns the modules that a kernel needs to reach the watchdog. All are
// optional: a dump without the watchdog is better than none.
func (w *Watchdog) Requests() []kmod.Request {
	out := deviceRequests(w.Devices)
	for i := range out {
		out[i].Optional = true
	}
	return out
}

// PstoreRequests returns the modules that a kernel needs to write to the persistent store
// that the running one uses (Documentation/admin-guide/ramoops.rst; the backend
// is a parameter of fs/pstore). All of it is optional. Of the backends that can be
// modules, systemd loads efi_pstore, and perhaps later than this is asked.
func (h *Host) PstoreRequests() []kmod.Request {
	module := h.attr("/sys/module/pstore/parameters", "backend")
	if (module == "" || module == "(null)") && h.exists("/sys/firmware/efi") && h.hasModule("kernel/drivers/firmware/efi/efi-pstore.ko") {
		module = "efi_pstore"
	}
	if module != "efi_pstore" && module != "ramoops" {
		return nil
	}
	return []kmod.Request{{Names: []string{module}, Optional: true, Why: "backend of pstore", Label: "backend"}}
}

// hasModule reports whether the running kernel has a module file, compressed or not.
func (h *Host) hasModule(file string) bool {
	release, err := h.Kernel()
	dir := h.ModuleTree(release)
	return err == nil && dir != "" && len(h.Glob(path.Join(h.Inside(dir), file+"*"))) > 0
}

// moduleOf has the modules of drivers that have another name: a built-in module
// without parameters is not in /sys/module.
var moduleOf = map[string]string{
	"i6300ESB timer":   "i6300esb",
	"mmcblk":           "mmc_block",
	"sd":               "sd_mod",
	"usb":              "usbcore",
	"vbd":              "xen_blkfront",
	"vif":              "xen_netfront",
	"vmbus":            "hv_vmbus",
	"xen-platform-pci": "platform_pci",
	"xhci_hcd":         "xhci_pci", // the platform's is xhci-hcd
}

// deviceRequests asks for the drivers of all devices that have one here. It
// uses the alias of the device, so that a kernel with another name for the driver
// works. The name of the driver decides between several modules, and serves where
// the chosen kernel has the driver built in.
//
// A driver that is a module here must be a module or built in there. One that seems
// to be built in here may be a part of any kernel, listed nowhere as a module.
func deviceRequests(devices []Device) []kmod.Request {
	var out []kmod.Request
	for _, d := range devices {
		if d.Driver == "" || isBridge(d) || d.Driver == thunderbolt {
			continue
		}
		if d.PowerSequence {
			for _, m := range []string{"pwrseq_emmc", "pwrseq_simple"} {
				out = append(out, kmod.Request{Names: []string{m}, Optional: true, Why: "power sequence of " + d.Path, Label: "power sequence"})
			}
		}
		name := cmp.Or(d.Module, moduleOf[d.Driver], d.Driver)
		out = append(out, kmod.Request{
			Alias:    d.Modalias,
			Names:    []string{name},
			Unlisted: !d.Loadable,
			Why:      "driver " + d.Driver + " of " + d.Path,
			Label:    d.Driver,
			For:      d.Path,
		})
		// Disks of arrays that answer on one of their paths only need to be asked to
		// change that (drivers/scsi/device_handler).
		if d.PathHandler != "" {
			out = append(out, kmod.Request{Names: []string{"scsi_dh_" + d.PathHandler}, Optional: true, Why: "paths of " + d.Path, Label: "paths"})
		}
	}
	return out
}

// thunderbolt is the driver of controllers to which PCI ports and USB have device
// links for the order of power management alone (drivers/thunderbolt/acpi.c).
// Their connections persist without a driver; a driver that starts anew may end them.
const thunderbolt = "thunderbolt"

// isBridge reports whether d is a PCI-to-PCI bridge (class 0604, PCI Code and
// ID Assignment). It passes traffic on without a driver; drivers add hotplug and
// error reporting.
func isBridge(d Device) bool {
	return strings.HasPrefix(d.Modalias, "pci:") && strings.Contains(d.Modalias, "bc06sc04")
}

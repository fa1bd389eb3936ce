package host

import (
	"cmp"
	"strings"

	"ukdump/internal/kmod"
)

// Requests returns what a kernel needs to reach the storage and mount it:
// drivers first, what others need before them, then the file system.
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

// Requests returns what a kernel needs to reach the watchdog. All of it is
// optional: a dump without the watchdog is better than none.
func (w *Watchdog) Requests() []kmod.Request {
	out := deviceRequests(w.Devices)
	for i := range out {
		out[i].Optional = true
	}
	return out
}

// pstoreModules are the backends of pstore that can be modules.
var pstoreModules = map[string]string{"efi_pstore": "efi_pstore", "ramoops": "ramoops"}

// PstoreRequests returns what a kernel needs to write to the persistent store
// that the running one uses (Documentation/admin-guide/ramoops.rst; the backend
// is a parameter of fs/pstore). All of it is optional.
func (h *Host) PstoreRequests() []kmod.Request {
	module := pstoreModules[h.attr("/sys/module/pstore/parameters", "backend")]
	if module == "" {
		return nil
	}
	return []kmod.Request{{Names: []string{module}, Optional: true, Why: "backend of pstore"}}
}

// moduleOf has the modules of drivers that are not called like them: what is built
// in and has no parameters is not in /sys/module.
var moduleOf = map[string]string{
	"i6300ESB timer":   "i6300esb",
	"mmcblk":           "mmc_block",
	"sd":               "sd_mod",
	"usb":              "usbcore",
	"vbd":              "xen_blkfront",
	"vmbus":            "hv_vmbus",
	"xen-platform-pci": "platform_pci",
	"xhci_hcd":         "xhci_pci", // the platform's is xhci-hcd
}

// deviceRequests asks for the drivers of all devices that have one here. It
// goes by what the device says it is, so that a kernel which calls the driver
// differently works; the name of the driver settles which, if there are
// several, and serves where the chosen kernel has it built in.
//
// What is a module here must be something there. What seems to be built in here may
// be a part of any kernel that is not listed as a module anywhere.
func deviceRequests(devices []Device) []kmod.Request {
	var out []kmod.Request
	for _, d := range devices {
		if d.Driver == "" || isBridge(d) {
			continue
		}
		name := cmp.Or(d.Module, moduleOf[d.Driver], d.Driver)
		out = append(out, kmod.Request{
			Alias:    d.Modalias,
			Names:    []string{name},
			Unlisted: !d.Loadable,
			Why:      "driver " + d.Driver + " of " + d.Path,
			For:      d.Path,
		})
		// Disks of arrays that answer on one of their paths only need to be asked to
		// change that (drivers/scsi/device_handler).
		if d.PathHandler != "" {
			out = append(out, kmod.Request{Names: []string{"scsi_dh_" + d.PathHandler}, Optional: true, Why: "paths of " + d.Path})
		}
	}
	return out
}

// isBridge reports whether d is a PCI-to-PCI bridge (class 0604, PCI Code and
// ID Assignment). It passes traffic on without a driver; what drivers add is
// hotplug and error reporting.
func isBridge(d Device) bool {
	return strings.HasPrefix(d.Modalias, "pci:") && strings.Contains(d.Modalias, "bc06sc04")
}

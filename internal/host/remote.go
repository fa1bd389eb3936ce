package host

import (
	"path"
	"strings"
)

// initiators are the drivers of SCSI hosts that are no controllers of this machine, by
// the name in scsi_host/*/proc_name: software that has to be configured, or that has
// to log in to another machine. Hardware with firmware of its own is none of them:
// lpfc, qla2xxx, fnic and qedf find their disks alone.
var initiators = map[string]struct {
	what     string
	obstacle Obstacle
	why      string
}{
	"fcoe":         {"FCoE disk", NoDriver, remote}, // drivers/scsi/fcoe/fcoe.c
	"bnx2fc":       {"FCoE disk", NoDriver, remote},
	"iscsi_tcp":    {"iSCSI disk", NoDriver, remote},
	"iscsi_iser":   {"iSCSI disk", NoDriver, remote},
	"ib_srp":       {"SRP disk", NoDriver, remote},
	"tcm_loopback": {"disk of the LIO target", NoDriver, "the target of this machine has to be configured first"},
	"scsi_debug":   {"simulated disk of scsi_debug", InMemory, inMemory},
}

// remoteParts are elements of paths in sysfs, by their beginning, through which a disk
// is reached that no hardware of this machine has.
var remoteParts = []struct{ prefix, what, why string }{
	{"session", "iSCSI disk", remote}, // scsi_transport_iscsi, with a number
	{"nvme-fabrics", "NVMe over Fabrics disk", remote},
	{"vhci_hcd", "USB/IP disk", remote},
	{"dummy_hcd", "disk of a USB gadget", "the gadget of this machine has to be configured first"},
	{"tcm_loop_", "disk of the LIO target", "the target of this machine has to be configured first"},
	{"vduse", "VDUSE disk", "a program of the running system serves it"},
	{"vdpasim", "simulated vDPA disk", inMemory},
}

// hardwareBuses are subsystems of devices that controllers are, or hang on.
var hardwareBuses = map[string]bool{
	"acpi": true, "amba": true, "ap": true, "auxiliary": true, "ccw": true, "ccwgroup": true, "dio": true, "eisa": true,
	"firewire": true, "gio": true, "i2c": true, "ibmebus": true, "isa": true, "macio": true, "mca": true, "nubus": true,
	"parisc": true, "parport": true, "pci": true, "pci_express": true, "pcmcia": true, "platform": true, "pnp": true,
	"ps3_system_bus": true, "spi": true, "tc": true, "thunderbolt": true, "usb": true, "vio": true, "virtio": true,
	"vmbus": true, "xen": true, "zorro": true,
}

// refuseRemote fills in why the disk or partition at the path of b is none of this
// machine's own, and reports whether there is a reason. For example:
//
//	/sys/devices/virtual/net/eth4.802-fcoe/host3/rport-3:0-4/target3:0:1/3:0:1:0/block/sde
func (h *Host) refuseRemote(e *UnsupportedError, b BlockDevice) bool {
	elems := strings.Split(b.Path, "/")
	host, net := "", ""
	for i, elem := range elems {
		for _, p := range remoteParts {
			if rest, ok := strings.CutPrefix(elem, p.prefix); ok && (p.prefix != "session" || numbered(rest)) {
				e.What, e.Why = p.what, p.why
				if p.why == inMemory {
					e.Obstacle = InMemory
				}
				return true
			}
		}
		if n, ok := strings.CutPrefix(elem, "host"); ok && numbered(n) && host == "" {
			host = strings.Join(elems[:i+1], "/")
		}
		if elem == "net" && i+1 < len(elems) && host == "" {
			net = elems[i+1]
		}
	}
	if host == "" {
		return false
	}
	name := h.attr(path.Join(host, "scsi_host", path.Base(host)), "proc_name")
	if known, ok := initiators[name]; ok {
		e.What, e.Obstacle, e.Why = known.what, known.obstacle, known.why
		return true
	}
	if net != "" { // software FCoE
		e.What, e.Name, e.Why = "FCoE disk", b.Name+" ("+net+")", remote
		return true
	}
	if !h.onHardware(path.Dir(host)) {
		e.What, e.Why = "SCSI disk", "its SCSI host "+path.Base(host)+" is no controller of this machine"
		if name != "" {
			e.Name += " (" + name + ")"
		}
		return true
	}
	return false
}

// onHardware reports whether a device or one above it is on a bus of hardware. The
// directory /sys/devices/platform alone is none: that is the parent of devices that
// have none.
func (h *Host) onHardware(dir string) bool {
	for ; strings.HasPrefix(dir, "/sys/devices/"); dir = path.Dir(dir) {
		if hardwareBuses[h.link(dir, "subsystem")] || strings.HasPrefix(dir, "/sys/devices/pci") && !strings.Contains(dir[len("/sys/devices/"):], "/") {
			return true
		}
	}
	return false
}

// numbered reports whether a name continues with a number.
func numbered(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

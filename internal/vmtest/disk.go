package vmtest

import (
	"fmt"
	"strings"
)

// Bus is the controller that a disk is attached to.
type Bus string

// The buses that a disk can be on. Each disk gets a controller of its own.
const (
	VirtioBlk    Bus = "virtio-blk"
	VirtioBlk4K  Bus = "virtio-blk-4k" // with logical sectors of 4096 bytes
	VirtioSCSI   Bus = "virtio-scsi"
	VirtioSCSI4K Bus = "virtio-scsi-4k"
	NVMe         Bus = "nvme"
	NVMe4K       Bus = "nvme-4k"
	AHCI         Bus = "ahci"
	IDE          Bus = "ide"      // PIIX3, ata_piix
	MegaSAS      Bus = "megasas"  // megaraid_sas
	MegaSAS2     Bus = "megasas2" // second generation
	MPTSAS       Bus = "mptsas"
	LSI          Bus = "lsi" // 53C895A, sym53c8xx
	PVSCSI       Bus = "pvscsi"
	USB          Bus = "usb" // usb-storage on an xHCI controller
	UAS          Bus = "uas" // USB attached SCSI on xHCI
	EHCI         Bus = "ehci"
	SD           Bus = "sd" // a card in an SDHCI controller

	// Two ways lead to the disk: two controllers of an NVMe subsystem, or two
	// SCSI disks with one serial number.
	NVMePaths Bus = "nvme-paths"
	SCSIPaths Bus = "scsi-paths"
)

// scsiAdapters are the devices of QEMU that scsi-hd can hang on.
var scsiAdapters = map[Bus]string{
	VirtioSCSI: "virtio-scsi-pci", VirtioSCSI4K: "virtio-scsi-pci", SCSIPaths: "virtio-scsi-pci",
	MegaSAS: "megasas", MegaSAS2: "megasas-gen2", MPTSAS: "mptsas1068", LSI: "lsi53c895a", PVSCSI: "pvscsi",
}

// Disk is one disk of a machine. The i-th of a machine is the device "disk<i>"
// for VM.Monitor, and its image the drive "disk<i>-image".
type Disk struct {
	Path   string // image on the host, or NBD.URI
	Format string // qcow2 or raw; raw if empty
	Bus    Bus    // VirtioBlk if empty
	Serial string // as the guest sees it, at most 20 bytes; SD cards have none
	First  bool   // the firmware boots it; for VirtioBlk only
}

// sectors4K are the extra options of a device with logical sectors of 4096 bytes.
const sectors4K = ",logical_block_size=4096,physical_block_size=4096"

// args returns the options for one disk on a controller of its own.
func (d Disk) args(id string) ([]string, error) {
	image, bus := id+"-image", id+"-bus"
	dev := "id=" + id + ",drive=" + image
	serial := ""
	if d.Serial != "" {
		serial = ",serial=" + d.Serial
	}
	args := []string{"-drive", d.drive(image)}
	device := func(format string, a ...any) { args = append(args, "-device", fmt.Sprintf(format, a...)) }
	switch adapter := scsiAdapters[d.Bus]; {
	case d.Bus == SCSIPaths:
		// QEMU lets a drive have one device, and locks the file for it.
		args[1] += ",file.locking=off"
		args = append(args, "-drive", d.drive(image+"2")+",file.locking=off")
		device("%s,id=%s", adapter, bus)
		device("scsi-hd,bus=%s.0,%s%s,share-rw=on", bus, dev, serial)
		device("%s,id=%s2", adapter, bus)
		device("scsi-hd,bus=%s2.0,id=%s2,drive=%s2%s,share-rw=on", bus, id, image, serial)
	case adapter != "":
		device("%s,id=%s", adapter, bus)
		if d.Bus == VirtioSCSI4K {
			dev += sectors4K
		}
		if d.Bus == MPTSAS {
			dev += ",wwn=0x5000c50000000001" // the driver ignores disks without one
		}
		device("scsi-hd,bus=%s.0,%s%s", bus, dev, serial)
	case d.Bus == VirtioBlk || d.Bus == "":
		if d.First {
			dev += ",bootindex=1" // QEMU has 0 for -kernel
		}
		device("virtio-blk-pci,%s%s", dev, serial)
	case d.Bus == VirtioBlk4K:
		device("virtio-blk-pci,%s%s%s", dev, sectors4K, serial)
	case d.Bus == NVMe || d.Bus == NVMe4K:
		if d.Bus == NVMe4K {
			dev += sectors4K
		}
		device("nvme,%s,%s", dev, d.nvmeSerial(id))
	case d.Bus == NVMePaths:
		device("nvme-subsys,id=%s,nqn=%s", bus, id)
		for _, path := range []string{"a", "b"} {
			device("nvme,id=%s%s,subsys=%s,%s", bus, path, bus, d.nvmeSerial(id))
		}
		device("nvme-ns,bus=%sa,shared=on,%s", bus, dev)
	case d.Bus == AHCI:
		device("ahci,id=%s", bus)
		device("ide-hd,bus=%s.0,%s%s", bus, dev, serial)
	case d.Bus == IDE:
		// Its ports are those of a PC's first two channels: one to a machine.
		device("piix3-ide,id=%s", bus)
		device("ide-hd,bus=%s.0,%s%s", bus, dev, serial)
	case d.Bus == USB || d.Bus == EHCI:
		controller := "qemu-xhci"
		if d.Bus == EHCI {
			controller = "usb-ehci"
		}
		device("%s,id=%s", controller, bus)
		device("usb-storage,bus=%s.0,%s%s", bus, dev, serial)
	case d.Bus == UAS:
		device("qemu-xhci,id=%s", bus)
		device("usb-uas,id=%s-uas,bus=%s.0", id, bus)
		device("scsi-hd,bus=%s-uas.0,%s%s", id, dev, serial)
	case d.Bus == SD:
		device("sdhci-pci,id=%s", bus)
		device("sd-card,%s", dev) // on the bus that is free
	default:
		return nil, fmt.Errorf("disk %s: unknown bus %q", d.Path, d.Bus)
	}
	return args, nil
}

// nvmeSerial returns the option for the serial number, on which QEMU insists.
func (d Disk) nvmeSerial(id string) string {
	if d.Serial != "" {
		return "serial=" + d.Serial
	}
	return "serial=" + id
}

func (d Disk) drive(id string) string {
	format := d.Format
	if format == "" {
		format = "raw"
	}
	return fmt.Sprintf("file=%s,format=%s,if=none,id=%s,cache=unsafe,discard=unmap", comma(d.Path), format, id)
}

// comma writes the commas of a file name twice (qemu(1), "Block device options").
func comma(name string) string { return strings.ReplaceAll(name, ",", ",,") }

package host

import (
	"path"
	"strconv"
	"strings"
)

// dmaBits returns how many bits the addresses have that a device with a driver can
// use for DMA, 0 if that is not known. Every PCI device tells, for transfers and for
// memory that it shares with the driver (Documentation/ABI/testing/sysfs-bus-pci); an
// IOMMU that translates gives it addresses that it can use
// (Documentation/ABI/testing/sysfs-kernel-iommu_groups).
func (h *Host) dmaBits(d Device, dir string) int {
	if strings.HasPrefix(h.attr(dir, "iommu_group/type"), "DMA") {
		return allBits
	}
	least := 0
	for _, name := range []string{"dma_mask_bits", "consistent_dma_mask_bits"} {
		n, err := strconv.Atoi(h.attr(dir, name))
		if err == nil && n > 0 && n <= allBits && (least == 0 || n < least) {
			least = n
		}
	}
	if least == 0 {
		least = driverBits[d.Driver]
	}
	if limit := h.boardBits(d); limit > 0 && (least == 0 || limit < least) {
		return limit
	}
	return least
}

const allBits = 64

// driverBits are the bits by driver, for devices that do not tell. The drivers of old
// IDE and USB controllers set 32 (ATA_DMA_MASK in include/linux/ata.h), virtio needs
// no mask of its own.
var driverBits = map[string]int{
	"ata_piix": 32, "ata_generic": 32, "pata_acpi": 32, "pata_amd": 32, "pata_atiixp": 32, "pata_via": 32, "pata_legacy": 32,
	"sata_via": 32, "sata_sis": 32, "ehci-pci": 32, "ehci_hcd": 32, "uhci_hcd": 32, "ohci-pci": 32,
	"virtio-mmio": allBits, "virtio-pci": allBits, "nvme": allBits, "vmw_pvscsi": allBits, "hv_storvsc": allBits,
}

// boardBits returns the limit of the machine's buses, 0 if it has none that is known.
// The Raspberry Pi 4 has 4 or 8 GiB of memory, but the peripherals of its BCM2711 reach
// 1 GiB and its PCI bus 3 GiB (dma-ranges in arch/arm/boot/dts/broadcom/bcm2711.dtsi).
func (h *Host) boardBits(d Device) int {
	compatible := h.attr("/proc/device-tree", "compatible")
	if !strings.Contains(compatible, "brcm,bcm2711") {
		return 0
	}
	if d.Subsystem == "pci" {
		return 31
	}
	return 30
}

// pciBridge is the base class of bridges in a modalias of PCI (pci_ids.h).
const pciBridge = "bc06"

// Master reports whether d can be the controller that moves the data of a disk: a PCI
// device or a part of the board, with a driver. Bridges and what hangs on a controller
// move nothing themselves.
func (d *Device) Master() bool {
	switch d.Subsystem {
	case "pci":
		return d.Driver != "" && !strings.Contains(d.Modalias, pciBridge)
	case "platform", "amba":
		return d.Driver != ""
	}
	return false
}

// Masters returns the devices that move the data of the disk at a path of sysfs: the
// nearest one above it. The disk of several NVMe paths lies below none of its
// controllers; there, all storage controllers on PCI count.
func Masters(devices []Device, disk string) []Device {
	var nearest []Device
	for _, d := range devices {
		if !d.Master() || !strings.HasPrefix(disk, d.Path+"/") {
			continue
		}
		if len(nearest) == 0 || len(d.Path) > len(nearest[0].Path) {
			nearest = []Device{d}
		}
	}
	if nearest != nil || !strings.HasPrefix(disk, "/sys/devices/virtual/") {
		return nearest
	}
	const storage = "bc01"
	for _, d := range devices {
		if d.Master() && strings.Contains(path.Base(d.Modalias), storage) {
			nearest = append(nearest, d)
		}
	}
	return nearest
}

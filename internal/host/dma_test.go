package host

import (
	"os"
	"path/filepath"
	"testing"
)

// How many bits the addresses of a controller have: by sysfs, its IOMMU, its driver, the
// board.
func TestDMABits(t *testing.T) {
	const dir = "/sys/devices/pci0000:00/0000:00:01.1"
	ata := Device{Path: dir, Subsystem: "pci", Driver: "ata_piix"}
	for _, tt := range []struct {
		name  string
		d     Device
		files map[string]string
		want  int
	}{
		{"transfers and shared memory", Device{}, map[string]string{"dma_mask_bits": "64\n", "consistent_dma_mask_bits": "64\n"}, 64},
		{"shared memory below 4 GiB", Device{}, map[string]string{"dma_mask_bits": "64\n", "consistent_dma_mask_bits": "32\n"}, 32},
		{"transfers alone", Device{}, map[string]string{"dma_mask_bits": "31\n"}, 31},
		{"nonsense", Device{}, map[string]string{"dma_mask_bits": "999\n", "consistent_dma_mask_bits": "x\n"}, 0},
		{"translated", ata, map[string]string{"dma_mask_bits": "32\n", "iommu_group/type": "DMA-FQ\n"}, 64},
		{"not translated", ata, map[string]string{"dma_mask_bits": "32\n", "iommu_group/type": "identity\n"}, 32},
		{"by driver", ata, nil, 32},
		{"driver not known", Device{Subsystem: "platform", Driver: "dw_mmc"}, nil, 0},
		{"Raspberry Pi 4, card", Device{Subsystem: "platform", Driver: "sdhci-iproc"}, map[string]string{"/proc/device-tree/compatible": "raspberrypi,4-model-b\x00brcm,bcm2711\x00"}, 30},
		{"Raspberry Pi 4, PCI", Device{Subsystem: "pci", Driver: "xhci_hcd"}, map[string]string{"dma_mask_bits": "64\n", "/proc/device-tree/compatible": "brcm,bcm2711\x00"}, 31},
		{"Raspberry Pi 5", Device{Subsystem: "pci", Driver: "nvme"}, map[string]string{"dma_mask_bits": "64\n", "/proc/device-tree/compatible": "brcm,bcm2712\x00"}, 64},
	} {
		root := t.TempDir()
		for name, text := range tt.files {
			if name[0] != '/' {
				name = filepath.Join(dir, name)
			}
			name = filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		h, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.dmaBits(tt.d, dir); got != tt.want {
			t.Errorf("%s: %d bits, want %d", tt.name, got, tt.want)
		}
	}
}

func TestMasters(t *testing.T) {
	const root = "/sys/devices/pci0000:00"
	bridge := Device{Path: root + "/0000:00:02.0", Subsystem: "pci", Driver: "pcieport", Modalias: "pci:v00001B36d0000000Csv00000000sd00000000bc06sc04i00"}
	hba := Device{Path: bridge.Path + "/0000:01:00.0", Subsystem: "pci", Driver: "mpt3sas", Modalias: "pci:v00001000d00000097sv00001000sd00003090bc01sc07i00"}
	disk := Device{Path: hba.Path + "/host0/target0:0:0/0:0:0:0", Subsystem: "scsi", Driver: "sd"}
	iommu := Device{Path: root + "/0000:00:00.2", Subsystem: "pci", Driver: "amd_iommu", Modalias: "pci:v00001022d00001481sv00001022sd00001481bc08sc06i00"}
	host := Device{Path: "/sys/devices/platform/4010000000.pcie", Subsystem: "platform", Driver: "pci-host-generic"}
	nvme := Device{Path: host.Path + "/pci0000:00/0000:00:03.0", Subsystem: "pci", Driver: "nvme", Modalias: "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02"}
	card := Device{Path: "/sys/devices/platform/fe340000.mmc", Subsystem: "platform", Driver: "sdhci-iproc"}
	clock := Device{Path: "/sys/devices/platform/clk", Subsystem: "platform", Driver: "raspberrypi-clk"}
	unbound := Device{Path: root + "/0000:00:05.0", Subsystem: "pci"}
	for _, tt := range []struct {
		name    string
		devices []Device
		disk    string
		want    string // drivers
	}{
		{"HBA behind a bridge", []Device{bridge, iommu, hba, disk}, disk.Path + "/block/sda", "mpt3sas "},
		{"NVMe below the bus of a board", []Device{host, nvme}, nvme.Path + "/nvme/nvme0/nvme0n1", "nvme "},
		{"card of a board, with its clock", []Device{clock, card}, card.Path + "/mmc_host/mmc0/mmc0:0001/block/mmcblk0", "sdhci-iproc "},
		{"no driver", []Device{unbound}, unbound.Path + "/block/sda", ""},
		{"several NVMe paths", []Device{bridge, iommu, nvme, nvme}, "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "nvme nvme "},
		{"Hyper-V", []Device{{Path: "/sys/devices/LNXSYSTM:00/VMBUS:00/x", Subsystem: "vmbus", Driver: "hv_storvsc"}}, "/sys/devices/LNXSYSTM:00/VMBUS:00/x/host0/block/sda", ""},
		{"another disk with a name alike", []Device{hba}, hba.Path + "0/block/sda", ""},
	} {
		got := ""
		for _, d := range Masters(tt.devices, tt.disk) {
			got += d.Driver + " "
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

package builder

import (
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

// The compression for what the target takes.
func TestCompression(t *testing.T) {
	m := buildtest.New(t)
	m.Write("sys/devices/pci0000:00/0000:00:14.0/usb1/speed", "480\n")
	m.Write("sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/speed", "480\n")
	m.Write("sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/speed", "1.5\n")
	m.Write("sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/speed", "5000\n")
	const ata, nvme, blk = "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda", "pci0000:00/nvme/nvme0/nvme0n1", "pci0000:00/0000:00:03.0/virtio0/block/vda"
	for disk, rotational := range map[string]string{ata: "1", nvme: "0", blk: "1"} {
		m.Write("sys/devices/"+disk+"/queue/rotational", rotational+"\n")
	}
	usb := "pci0000:00/0000:00:14.0/usb"
	all := []string{"none", "zlib", "lzo", "snappy", "zstd"}
	disk := func(path string) plan.Target {
		return plan.Target{Kind: plan.Directory, Device: plan.Device{Path: path}}
	}
	layered := func(paths ...string) plan.Target {
		var l plan.Layer
		for _, p := range paths {
			l.Members = append(l.Members, plan.Device{Path: p})
		}
		return plan.Target{Kind: plan.Directory, Device: plan.Device{Path: "virtual/block/dm-0"}, Layers: []plan.Layer{l}}
	}
	const fastest, sd, usb2 = "it takes the least time of the processor", "a memory card is slower than the processor", "USB 2 is slower than the processor"
	for _, tt := range []struct {
		name, want string
		has        []string
		targets    []plan.Target
		cpus       int
		compress   string
		why        string
	}{
		{"NVMe", "auto", all, []plan.Target{disk("pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1")}, 1, "lzo", fastest},
		{"unknown place", "auto", all, []plan.Target{disk("")}, 1, "lzo", fastest},
		{"no target", "auto", all, nil, 1, "lzo", fastest},
		{"memory card", "auto", all, []plan.Target{disk("platform/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0")}, 1, "zstd", sd},
		{"USB 2", "auto", all, []plan.Target{disk(usb + "1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sdb")}, 1, "zstd", usb2},
		{"USB 1", "auto", all, []plan.Target{disk(usb + "1/1-3/1-3:1.0/host6/target6:0:0/6:0:0:0/block/sdb")}, 1, "zstd", usb2},
		{"USB 3", "auto", all, []plan.Target{disk(usb + "2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb")}, 1, "lzo", fastest},
		{"LUKS on USB 2", "auto", all, []plan.Target{layered(usb + "1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sdb")}, 1, "zstd", usb2},
		{"mirror, a leg on a card", "auto", all, []plan.Target{layered("pci0000:00/nvme/nvme0/nvme0n1", "platform/x/mmc_host/mmc0/mmc0:1/block/mmcblk0")}, 1, "zstd", sd},
		{"the second target is slow", "auto", all, []plan.Target{disk("pci0000:00/nvme/nvme0/nvme0n1"), disk("x/mmc_host/mmc0/mmc0:1/block/mmcblk0")}, 1, "lzo", fastest},
		{"network", "auto", all, []plan.Target{{Kind: plan.NFS}}, 1, "zstd", "the network is slower than the processor"},
		{"hard disk, one processor", "auto", all, []plan.Target{disk(ata + "/sda1")}, 1, "lzo", fastest},
		{"hard disk, two processors", "auto", all, []plan.Target{disk(ata + "/sda1")}, 2, "zstd", "a hard disk is slower than 2 processors"},
		{"LVM on a hard disk", "auto", all, []plan.Target{layered(ata)}, 4, "zstd", "a hard disk is slower than 4 processors"},
		{"NVMe, four processors", "auto", all, []plan.Target{disk(nvme + "/nvme0n1p2")}, 4, "lzo", fastest},
		{"virtual disk", "auto", all, []plan.Target{disk(blk + "/vda1")}, 4, "lzo", fastest},
		{"kind of disk unknown", "auto", all, []plan.Target{disk("pci0000:00/host1/block/sdb")}, 4, "lzo", fastest},
		{"network, four processors", "auto", all, []plan.Target{{Kind: plan.NFS}}, 4, "zstd", "the network is slower than 4 processors"},
		{"no zstd", "auto", all[:3], []plan.Target{{Kind: plan.NFS}}, 1, "lzo", "the network is slow, but makedumpfile has no zstd"},
		{"only zlib", "auto", all[:2], []plan.Target{disk("x")}, 1, "zlib", "makedumpfile has no other"},
		{"only zstd", "auto", []string{"none", "zlib", "zstd"}, []plan.Target{disk("x")}, 1, "zstd", "makedumpfile has neither lzo nor snappy"},
		{"asked for", "zlib", all, []plan.Target{disk("x/mmc_host/mmc0/mmc0:1/block/mmcblk0")}, 1, "zlib", "COMPRESS=zlib"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &Build{host: openHost(t, m), CPUs: tt.cpus, Plan: &plan.Plan{Targets: tt.targets}}
			got, err := b.compression(&makedumpfile.Program{Compressions: tt.has}, tt.want)
			if err != nil || got != tt.compress || b.Compress != got || b.CompressWhy != tt.why {
				t.Errorf("got %s (%s), %v; want %s (%s)", got, b.CompressWhy, err, tt.compress, tt.why)
			}
		})
	}
}

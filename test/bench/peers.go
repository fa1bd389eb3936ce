package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"ukdump/test/debian"
)

// peers are what others need for the same: Debian bookworm in a guest with 2 GiB
// and one processor under QEMU's software emulation, each in its default way. The
// floor is busybox, makedumpfile, the same modules and 20 lines of shell, packed
// with zstd -19 and a window of 128 KiB: a tool that does nothing but that.
var peers = map[debian.Flavour][]result{
	debian.Generic: {
		{name: "floor", packed: 3033936, unpacked: 8693201, build: 40, smallest: 96, reboot: 8.6},
		{name: "kdump-tools 1.8.1", packed: 7216577, unpacked: 20149779, build: 97, smallest: 128, reboot: 41.5},
		{name: "kdump-utils (dracut 059)", packed: 18194432, unpacked: 18258657, build: 205, smallest: 128, reboot: 31.9},
		{name: "simple-kdump", packed: 30645618, unpacked: 132028993, build: 522, smallest: 256, reboot: 21.1},
	},
	debian.Cloud: {
		{name: "floor", packed: 2538202, unpacked: 6191341, build: 28, smallest: 80, reboot: 5.9},
		{name: "kdump-tools 1.8.1", packed: 6545526, unpacked: 16955096, build: 80, smallest: 96, reboot: 38.1},
		{name: "kdump-utils (dracut 059)", packed: 17349632, unpacked: 17413718, build: 176, smallest: 112, reboot: 29.6},
		{name: "simple-kdump", packed: 13740097, unpacked: 52659555, build: 180, smallest: 144, reboot: 16.1},
	},
}

// print prints the table of one kernel.
func print(flavour debian.Flavour, r result) {
	fmt.Printf("\n%s kernel, ext4 on virtio-blk, %d MiB of memory\n", flavour, memory)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tpacked\tunpacked\tbuild s\tload s\tsmallest crashkernel\tpanic to reset s\tlowest MemAvailable\t")
	for _, x := range append([]result{r}, peers[flavour]...) {
		load, lowest := "-", "-"
		if x.load > 0 {
			load, lowest = fmt.Sprintf("%.1f", x.load), fmt.Sprintf("%.1f MiB", float64(x.lowest)/(1<<20))
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%s\t%dM\t%.1f\t%s\t\n", x.name, x.packed, x.unpacked, x.build, load, x.smallest, x.reboot, lowest)
	}
	w.Flush()
}

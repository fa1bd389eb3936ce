package test

import "fmt"

// kernelFaults are capture kernels that cannot work fully.
var kernelFaults = append(reservations(),
	fault{name: "no-console", ci: true, words: "console=null", want: want{outcomes: complete}},
	fault{name: "no-vmcore", byHand: true, want: want{outcomes: nothing, says: "not started by a crash"}},
	fault{name: "b9-not-flattened", want: want{outcomes: complete, format: "kdump-compressed"}},
	fault{name: "b11-btrfs-subvolume", fs: "btrfs",
		mkfs: "", prepare: "btrfs subvolume create /dump/@crash && umount /dump && mount -o subvol=@crash LABEL=dump /dump",
		repair: "mkdir -p /dump && mount -o subvol=@crash LABEL=dump /dump", noEarlier: true,
		want: want{outcomes: complete, dir: "/dump"}},
)

// reservations are too small, in steps. kdumpctl may refuse an image that
// cannot fit, or the capture kernel may run out of memory. In both cases the
// machine comes back by the panic= of one of the kernels.
func reservations() (list []fault) {
	for mib := 48; mib <= 96; mib += 16 {
		list = append(list, fault{name: fmt.Sprintf("reservation-%d-mib", mib), reservation: mib,
			load: "kdumpctl load || true",
			want: want{outcomes: anything, panics: true}})
	}
	return list
}

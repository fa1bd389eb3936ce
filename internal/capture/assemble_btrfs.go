package capture

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"ukdump/internal/plan"
)

// btrfsScanDev is BTRFS_IOC_SCAN_DEV, include/uapi/linux/btrfs.h, with struct
// btrfs_ioctl_vol_args: 8 bytes, then the path.
const btrfsScanDev = 0x50009404

// assembleFilesystem finds the devices of a btrfs or bcachefs, tells the kernel of
// them and returns their names. Where not all are there it is to be mounted
// degraded: whether its profiles permit that is for the kernel to say.
func (w *worker) assembleFilesystem(l *plan.Layer) (names []string, err error) {
	use, whole, err := w.gather(w.newScan(), l)
	if err != nil {
		return nil, err
	}
	w.degraded = !whole
	for _, m := range use {
		names = append(names, m.name)
	}
	if l.Kind == plan.Bcachefs { // is told of them by mount(2)
		w.source = "/dev/" + strings.Join(names, ":/dev/")
		return names, nil
	}
	f, err := os.OpenFile("/dev/btrfs-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, name := range names {
		args := make([]byte, 4096)
		copy(args[8:], "/dev/"+name)
		if err := ioctl(f, btrfsScanDev, unsafe.Pointer(&args[0])); err != nil {
			return nil, fmt.Errorf("register %s: %w", name, err)
		}
	}
	return names, nil
}

package capture

import (
	"fmt"
	"os"
	"unsafe"

	"ukdump/internal/plan"
)

// btrfsScanDev is BTRFS_IOC_SCAN_DEV, include/uapi/linux/btrfs.h, with struct
// btrfs_ioctl_vol_args: 8 bytes, then the path.
const btrfsScanDev = 0x50009404

// assembleBtrfs finds the devices of a btrfs, registers them with the kernel and
// returns their names. If some are missing the file system is mounted degraded, which
// the kernel refuses if the profiles do not permit it.
func (w *worker) assembleBtrfs(l *plan.Layer) (names []string, err error) {
	use, whole, err := w.gather(w.newScan(), l)
	if err != nil {
		return nil, err
	}
	w.degraded = !whole
	f, err := os.OpenFile("/dev/btrfs-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, m := range use {
		args := make([]byte, 4096)
		copy(args[8:], "/dev/"+m.name)
		if err := ioctl(f, btrfsScanDev, unsafe.Pointer(&args[0])); err != nil {
			return nil, fmt.Errorf("register %s: %w", m.name, err)
		}
		names = append(names, m.name)
	}
	return names, nil
}

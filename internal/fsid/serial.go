package fsid

import (
	"os"
	"path/filepath"
	"strings"
)

// Serial returns the serial number of a disk without blanks, "" if it has none. dir is
// its directory in sysfs (/sys/block/NAME). Two disks with the same content differ in
// it. It comes from the disk alone: the name that the kernel makes of it (wwid)
// changes between releases.
//
// The attributes are in drivers/block/virtio_blk.c, in drivers/nvme/host/sysfs.c
// (of the controller, or with native multipath of the subsystem; nsid tells its
// namespaces apart), in drivers/mmc/core/mmc.c and sd.c, and in
// drivers/scsi/scsi_sysfs.c: the vital product data page 80h, whose number begins
// at byte 4 (SPC-4, 7.8.15).
func Serial(dir string) string {
	id := word(dir, "serial", 0)
	if id == "" {
		id = word(dir, "device/serial", 0)
	}
	if id == "" {
		id = word(dir, "device/vpd_pg80", 4)
	}
	if ns := word(dir, "nsid", 0); id != "" && ns != "" {
		id += "/" + ns
	}
	return id
}

// word returns the printable ASCII of an attribute without its first bytes, "" without
// the attribute.
func word(dir, name string, skip int) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || len(b) < skip {
		return ""
	}
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return -1
		}
		return c
	}, string(b[skip:]))
}

package fsid

import (
	"encoding/binary"
)

// fakeRAID recognises the firmware RAID formats that md assembles, Intel's IMSM
// and SNIA DDF, by the anchor in one of the last two sectors. Their members,
// too, show the file system inside.
func fakeRAID(d *device) (ID, bool) {
	if d.size == 0 {
		return ID{}, false
	}
	if d.has(d.size-1024, "Intel Raid ISM Cfg Sig. ") {
		return ID{Type: "isw_raid_member"}, true
	}
	return ID{Type: "ddf_raid_member"}, d.has(d.size-512, "\xde\x11\xde\x11")
}

// luks: LUKS1 and LUKS2 On-Disk Format Specification, binary header.
func luks(d *device) (ID, bool) {
	b := d.at(0, 208)
	if b == nil || string(b[:6]) != "LUKS\xba\xbe" {
		return ID{}, false
	}
	id := ID{Type: "crypto_LUKS", UUID: text(b[168:208])}
	switch binary.BigEndian.Uint16(b[6:]) {
	case 1:
	case 2:
		id.Label = text(b[24:72])
	default:
		return ID{}, false
	}
	return id, true
}

// lvm recognises a physical volume by its label in one of the first four
// sectors: lib/format_text/layout.h and lib/label/label.h of LVM2.
func lvm(d *device) (ID, bool) {
	for sector := range int64(4) {
		b := d.at(sector*512, 512)
		if b == nil || string(b[:8]) != "LABELONE" || le.Uint64(b[8:]) != uint64(sector) || string(b[24:32]) != "LVM2 001" {
			continue
		}
		at := le.Uint32(b[20:]) // of the header that begins with the UUID
		if at > 512-32 {
			continue
		}
		u := string(b[at : at+32])
		return ID{Type: "LVM2_member", UUID: u[:6] + "-" + u[6:10] + "-" + u[10:14] + "-" + u[14:18] + "-" +
			u[18:22] + "-" + u[22:26] + "-" + u[26:]}, true
	}
	return ID{}, false
}

// bcache recognises bcache and bcachefs, which began with the same magic:
// struct cache_sb_disk, include/uapi/linux/bcache.h, and struct bch_sb,
// fs/bcachefs/bcachefs_format.h. Both hold their own place, sector 8, but not
// in the same field.
func bcache(d *device) (ID, bool) {
	const (
		oldMagic = "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"
		newMagic = "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"
	)
	b := d.at(4096, 128)
	if b == nil {
		return ID{}, false
	}
	switch magic := string(b[24:40]); {
	case magic == oldMagic && le.Uint64(b[8:]) == 8:
		u := uuid(b[40:56])
		return ID{Type: "bcache", UUID: u, Member: u}, true
	case (magic == oldMagic || magic == newMagic) && le.Uint64(b[104:]) == 8:
		return ID{Type: "bcachefs", UUID: uuid(b[56:72]), Label: text(b[72:104])}, true
	}
	return ID{}, false
}

// swap: union swap_header, include/linux/swap.h. The signature ends the first
// page, whose size is the machine's. Hibernation replaces it: swsuspend.
func swap(d *device) (ID, bool) {
	for page := int64(4096); page <= 64<<10; page *= 2 {
		typ := ""
		switch string(d.at(page-10, 10)) {
		case "SWAPSPACE2", "SWAP-SPACE":
			typ = "swap"
		case "S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00", "LINHIB0001":
			typ = "swsuspend"
		default:
			continue
		}
		b := d.at(1024, 44)
		if b == nil || le.Uint32(b) != 1 {
			return ID{Type: typ}, true // the old format has nothing else
		}
		return ID{Type: typ, UUID: uuid(b[12:28]), Label: text(b[28:44])}, true
	}
	return ID{}, false
}

// zfs recognises the first of a device's labels by the list of names and values
// at 16 KiB, in XDR: NVS_XDR, nvlist version 0, and "version" as the first name
// (lib/libnvpair/nvpair.c and module/zfs/vdev_label.c of OpenZFS). The list also
// has the pool's name and GUID, which are not read.
func zfs(d *device) (ID, bool) {
	b := d.at(16<<10, 32)
	ok := b != nil && b[0] == 1 && b[1] <= 1 && zero(b[2:8]) && binary.BigEndian.Uint32(b[20:]) == 7 && string(b[24:31]) == "version"
	return ID{Type: "zfs_member"}, ok
}

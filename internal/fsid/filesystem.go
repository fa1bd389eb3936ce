package fsid

import "encoding/binary"

// Formats are little-endian unless noted.
var le = binary.LittleEndian

// Features of ext2/3/4: fs/ext4/ext4.h.
const (
	extHasJournal = 0x4 // s_feature_compat

	extJournalDev = 0x8 // s_feature_incompat: a journal only, no file system
	// Features of ext3: filetype, needs_recovery and meta_bg; sparse_super, large_file
	// and btree_dir.
	ext3Incompat = 0x2 | 0x4 | 0x10
	ext3ROCompat = 0x1 | 0x2 | 0x4
)

// ext: struct ext4_super_block, fs/ext4/ext4.h. The three file systems differ only in
// features: ext4 has features that ext3 lacks, ext2 has no journal. A journal device
// is named as blkid does, jbd.
func ext(d *device) (ID, bool) {
	b := d.at(1024, 256)
	if b == nil || le.Uint16(b[56:]) != 0xef53 || le.Uint32(b[24:]) > 6 {
		return ID{}, false
	}
	compat, incompat, roCompat := le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])
	id := ID{UUID: uuid(b[104:120]), Label: text(b[120:136])}
	switch {
	case incompat&extJournalDev != 0:
		id.Type = "jbd"
	case roCompat&^ext3ROCompat != 0, incompat&^ext3Incompat != 0:
		id.Type = "ext4"
	case compat&extHasJournal != 0:
		id.Type = "ext3"
	default:
		id.Type = "ext2"
	}
	return id, true
}

// xfs: struct xfs_dsb, fs/xfs/libxfs/xfs_format.h.
func xfs(d *device) (ID, bool) {
	b := d.at(0, 128)
	if b == nil || string(b[:4]) != "XFSB" {
		return ID{}, false
	}
	return ID{Type: "xfs", UUID: uuid(b[32:48]), Label: text(b[108:120])}, true
}

// btrfs: struct btrfs_super_block, include/uapi/linux/btrfs_tree.h.
func btrfs(d *device) (ID, bool) {
	const at = 64 << 10
	b := d.at(at, 1024)
	if b == nil || string(b[64:72]) != "_BHRfS_M" || le.Uint64(b[48:]) != at {
		return ID{}, false
	}
	return ID{
		Type:       "btrfs",
		UUID:       uuid(b[32:48]),
		Label:      text(b[299:555]),
		Member:     uuid(b[267:283]),
		Members:    le.Uint64(b[136:]),
		Generation: le.Uint64(b[72:]),
	}, true
}

// f2fs: struct f2fs_super_block, include/linux/f2fs_fs.h.
func f2fs(d *device) (ID, bool) {
	b := d.at(1024, 124+1024)
	if b == nil || le.Uint32(b) != 0xf2f52010 {
		return ID{}, false
	}
	return ID{Type: "f2fs", UUID: uuid(b[108:124]), Label: text16(b[124:])}, true
}

// squashfs: struct squashfs_super_block, fs/squashfs/squashfs_fs.h.
func squashfs(d *device) (ID, bool) {
	return ID{Type: "squashfs"}, d.has(0, "hsqs")
}

// erofs: struct erofs_super_block, fs/erofs/erofs_fs.h.
func erofs(d *device) (ID, bool) {
	b := d.at(1024, 128)
	if b == nil || le.Uint32(b) != 0xe0f5e1e2 {
		return ID{}, false
	}
	return ID{Type: "erofs", UUID: uuid(b[48:64]), Label: text(b[64:80])}, true
}

// iso9660: the first volume descriptor, ECMA-119 part 8.4. It has no UUID;
// blkid(8) makes one of the creation date, which nothing here needs.
func iso9660(d *device) (ID, bool) {
	b := d.at(32<<10, 72)
	if b == nil || string(b[1:6]) != "CD001" {
		return ID{}, false
	}
	return ID{Type: "iso9660", Label: text(b[40:72])}, true
}

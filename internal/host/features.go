package host

import (
	"encoding/binary"
	"io"
	"slices"

	"ukdump/internal/kfeature"
	"ukdump/internal/kmod"
)

// features are properties in the superblock of a file system besides its identity.
type features struct {
	apart string // the part of it that is on another device
	needs []kmod.Request
	since kfeature.Feature
}

// flags are bits of a word of flags in a superblock, with the features that they
// stand for. Kernels before their version cannot write to such a file system.
type flags []struct {
	bit uint64
	kfeature.Feature
}

// From fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h, include/uapi/linux/btrfs.h and
// the history of each.
var (
	extReadOnly = flags{{0x10000, kfeature.ExtOrphanFile}} // set while it is mounted
	xfsReadOnly = flags{{1 << 3, kfeature.XFSInobtcount}}
	xfsIncompat = flags{
		{1 << 3, kfeature.XFSBigtime}, {1 << 5, kfeature.XFSNrext64}, {1 << 6, kfeature.XFSExchange},
		{1 << 7, kfeature.XFSParent}, {1 << 8, kfeature.XFSMetadir}, {1 << 9, kfeature.XFSZoned},
	}
	btrfsReadOnly = flags{{1 << 2, kfeature.BtrfsVerity}, {1 << 3, kfeature.BtrfsBlockGroupTree}}
	btrfsIncompat = flags{
		{1 << 11, kfeature.BtrfsRAID1C34}, {1 << 12, kfeature.BtrfsZoned},
		{1 << 14, kfeature.BtrfsRAIDStripeTree}, {1 << 16, kfeature.BtrfsSquota},
	}
)

// youngest notes the youngest of the features in a word of flags.
func (f *features) youngest(word uint64, known flags) {
	for _, k := range known {
		if word&k.bit != 0 && slices.Compare(k.Since[:], f.since.Since[:]) > 0 {
			f.since = k.Feature
		}
	}
}

// Modules that a kernel requests from user space with request_module(). The capture
// kernel has no user space that answers: fs/quota/dquot.c, find_quota_format, and
// fs/unicode/utf8-core.c, utf8_load. Checksums need nothing here: the file systems
// name those in their soft dependencies, or depend on the library.
func quotas(optional bool) kmod.Request {
	return kmod.Request{Names: []string{"quota_v2"}, Optional: optional, Why: "quotas of the file system", Label: "quotas"}
}

func caseFolding() kmod.Request {
	// Before Linux 5.17 the tables were in unicode itself.
	return kmod.Request{Names: []string{"utf8data", "unicode"}, Why: "case folding of the file system", Label: "case folding"}
}

// featuresOf reads the superblock of a file system of a type of fsid. An unreadable
// one has no features.
func featuresOf(r io.ReaderAt, typ string) (f features) {
	b := make([]byte, 8192)
	if n, err := r.ReadAt(b, 0); n < len(b) || err != nil && err != io.EOF {
		return f
	}
	le := binary.LittleEndian
	switch family(typ) {
	case "ext4":
		// Documentation/filesystems/ext4/super.rst.
		const (
			hasJournal = 0x4 // s_feature_compat
			casefold   = 0x20000
			quota      = 0x100 // s_feature_ro_compat
		)
		sb := b[1024:]
		if le.Uint32(sb[0x5c:])&hasJournal != 0 && le.Uint32(sb[0xe0:]) == 0 { // no inode for it
			f.apart = "journal"
		}
		if le.Uint32(sb[0x60:])&casefold != 0 {
			f.needs = append(f.needs, caseFolding())
		}
		if le.Uint32(sb[0x64:])&quota != 0 {
			f.needs = append(f.needs, quotas(false)) // or it cannot be mounted for writing
		}
		f.youngest(uint64(le.Uint32(sb[0x64:])), extReadOnly)
	case "xfs":
		// fs/xfs/libxfs/xfs_format.h: sb_logstart is 0 for an external log.
		if binary.BigEndian.Uint64(b[48:]) == 0 {
			f.apart = "log"
		}
		if b[101]&15 == 5 { // sb_versionnum
			f.youngest(uint64(binary.BigEndian.Uint32(b[212:])), xfsReadOnly)
			f.youngest(uint64(binary.BigEndian.Uint32(b[216:])), xfsIncompat)
		}
	case "btrfs":
		// struct btrfs_super_block, include/uapi/linux/btrfs_tree.h.
		if n, err := r.ReadAt(b[:196], 64<<10); n == 196 || err == nil {
			f.youngest(le.Uint64(b[180:]), btrfsReadOnly)
			f.youngest(le.Uint64(b[188:]), btrfsIncompat)
		}
	case "f2fs":
		// struct f2fs_super_block, include/linux/f2fs_fs.h: feature, and the path
		// of the second of devs.
		const quotaInode, casefold = 0x80, 0x1000
		sb := b[1024:]
		if sb[2269] != 0 {
			f.apart = "second part"
		}
		if le.Uint32(sb[2180:])&casefold != 0 {
			f.needs = append(f.needs, caseFolding())
		}
		if le.Uint32(sb[2180:])&quotaInode != 0 {
			f.needs = append(f.needs, quotas(true))
		}
	}
	return f
}

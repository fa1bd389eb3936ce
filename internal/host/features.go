package host

import (
	"encoding/binary"
	"io"

	"ukdump/internal/kmod"
)

// features is what the superblock of a file system says besides its identity.
type features struct {
	apart string // what part of it is on another device
	needs []kmod.Request
}

// What a kernel asks user space for with request_module(), which the capture
// kernel has not got: fs/quota/dquot.c, find_quota_format, and
// fs/unicode/utf8-core.c, utf8_load. Checksums need nothing here: the file systems
// name those in their soft dependencies, or depend on the library.
func quotas(optional bool) kmod.Request {
	return kmod.Request{Names: []string{"quota_v2"}, Optional: optional, Why: "quotas of the file system"}
}

func caseFolding() kmod.Request {
	// Before Linux 5.17 the tables were in unicode itself.
	return kmod.Request{Names: []string{"utf8data", "unicode"}, Why: "case folding of the file system"}
}

// featuresOf reads the superblock of a file system of a type of fsid. What cannot
// be read has no features.
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
	case "xfs":
		// fs/xfs/libxfs/xfs_format.h: sb_logstart is 0 for an external log.
		if binary.BigEndian.Uint64(b[48:]) == 0 {
			f.apart = "log"
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

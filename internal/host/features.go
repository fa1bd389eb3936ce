package host

import (
	"encoding/binary"
	"fmt"
	"io"

	"ukdump/internal/kfeature"
	"ukdump/internal/kmod"
)

// le is the byte order of superblocks, unless noted.
var le = binary.LittleEndian

// features are properties in the superblock of a file system besides its identity.
type features struct {
	apart     string // the part of it that is on another device
	needs     []kmod.Request
	uses      []kfeature.Feature // those that some kernels lack
	unknown   []string           // flags that no version of ukdump's table has
	blockSize int                // in bytes, of btrfs the size of a sector; 0 if not known
}

// read notes the features of a word of flags in a superblock, and the flags that are
// not in the table, with the name of the word.
func (f *features) read(name string, word uint64, known []kfeature.Flag) {
	for _, k := range known {
		if word&k.Bit == 0 {
			continue
		}
		word &^= k.Bit
		f.use(k.Feature)
	}
	if word != 0 {
		f.unknown = append(f.unknown, fmt.Sprintf("%s %#x", name, word))
	}
}

// use notes a feature, unless every kernel has it.
func (f *features) use(k kfeature.Feature) {
	if k.Option != "" || k.Since != (kfeature.Version{}) || k.Until != (kfeature.Version{}) {
		f.uses = append(f.uses, k)
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
	at := int64(0)
	if typ == "btrfs" {
		at, b = 64<<10, b[:4096]
	}
	if n, err := r.ReadAt(b, at); n < len(b) || err != nil && err != io.EOF {
		return f
	}
	switch family(typ) {
	case "ext4":
		f.ext4(b[1024:])
	case "xfs":
		f.xfs(b)
	case "btrfs":
		f.btrfs(b)
	case "f2fs":
		f.f2fs(b[1024:])
	}
	return f
}

// ext4 reads struct ext4_super_block, Documentation/filesystems/ext4/super.rst.
func (f *features) ext4(sb []byte) {
	const (
		hasJournal = 0x4 // s_feature_compat
		casefold   = 0x20000
		quota      = 0x100 // s_feature_ro_compat
	)
	compat, incompat, readOnly := le.Uint32(sb[0x5c:]), le.Uint32(sb[0x60:]), le.Uint32(sb[0x64:])
	if compat&hasJournal != 0 && le.Uint32(sb[0xe0:]) == 0 { // no inode for it
		f.apart = "journal"
	}
	if incompat&casefold != 0 {
		f.needs = append(f.needs, caseFolding())
	}
	if readOnly&quota != 0 {
		f.needs = append(f.needs, quotas(false)) // or it cannot be mounted for writing
	}
	f.read("", uint64(compat&0x400), kfeature.Ext4Compat)
	f.read("incompat", uint64(incompat), kfeature.Ext4Incompat)
	f.read("ro_compat", uint64(readOnly), kfeature.Ext4ReadOnly)
	if n := le.Uint32(sb[0x18:]); n <= 6 {
		f.blockSize = 1024 << n
	}
}

// xfs reads struct xfs_dsb, fs/xfs/libxfs/xfs_format.h, which is big-endian.
func (f *features) xfs(sb []byte) {
	be := binary.BigEndian
	if be.Uint64(sb[48:]) == 0 { // sb_logstart
		f.apart = "log"
	}
	f.blockSize = int(be.Uint32(sb[4:]))
	if be.Uint64(sb[16:]) != 0 { // sb_rblocks
		f.use(kfeature.XFSRealtime)
	}
	version := be.Uint16(sb[100:])
	f.read("version", uint64(version&^15), kfeature.XFSVersion)
	switch version & 15 {
	case 4:
		f.use(kfeature.XFSVersion4)
		f.read("features2", uint64(be.Uint32(sb[200:])), kfeature.XFSFeatures2)
	case 5:
		f.read("ro_compat", uint64(be.Uint32(sb[212:])), kfeature.XFSReadOnly)
		f.read("incompat", uint64(be.Uint32(sb[216:])), kfeature.XFSIncompat)
		f.read("log_incompat", uint64(be.Uint32(sb[220:])), kfeature.XFSLogIncompat)
	default:
		f.unknown = append(f.unknown, fmt.Sprintf("version %d", version&15))
	}
}

// btrfs reads struct btrfs_super_block, include/uapi/linux/btrfs_tree.h.
func (f *features) btrfs(sb []byte) {
	f.blockSize = int(le.Uint32(sb[144:])) // sectorsize
	f.read("compat_ro", le.Uint64(sb[180:]), kfeature.BtrfsReadOnly)
	f.read("incompat", le.Uint64(sb[188:]), kfeature.BtrfsIncompat)
	switch sum := le.Uint16(sb[196:]); {
	case sum > 3: // crc32c, xxhash, sha256, blake2b
		f.unknown = append(f.unknown, fmt.Sprintf("checksum type %d", sum))
	case sum > 0:
		f.use(kfeature.BtrfsChecksums)
	}
}

// f2fs reads struct f2fs_super_block, include/linux/f2fs_fs.h: log_blocksize, feature,
// and the path of the second of devs.
func (f *features) f2fs(sb []byte) {
	const quotaInode, casefold = 0x80, 0x1000
	if n := le.Uint32(sb[16:]); n >= 12 && n <= 16 {
		f.blockSize = 1 << n
	}
	if sb[2269] != 0 {
		f.apart = "second part"
	}
	word := le.Uint32(sb[2180:])
	if word&casefold != 0 {
		f.needs = append(f.needs, caseFolding())
	}
	if word&quotaInode != 0 {
		f.needs = append(f.needs, quotas(true))
	}
	f.read("features", uint64(word), kfeature.F2FSFeatures)
}

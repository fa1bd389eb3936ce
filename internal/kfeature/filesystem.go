package kfeature

// Flag is a bit of a word of flags in a superblock, with its feature. The zero Version
// stands for Linux before 4.4 here.
type Flag struct {
	Bit uint64
	Feature
}

// never is a feature that no version mounts for writing.
var never = Version{0, 1}

const (
	ext4Header  = "fs/ext4/ext4.h, fs/ext4/super.c"
	xfsHeader   = "fs/xfs/libxfs/xfs_format.h, fs/xfs/xfs_super.c"
	btrfsHeader = "include/uapi/linux/btrfs.h, fs/btrfs/fs.h"
	f2fsHeader  = "fs/f2fs/f2fs.h, fs/f2fs/super.c"

	cannotMount = "the kernel cannot mount the file system for writing without it"
)

// ext, xfs, btrfs and f2fs are features of a file system without an option.
func ext(bit uint64, name string, since Version) Flag { return flag(bit, name, since, ext4Header) }
func xfs(bit uint64, name string, since Version) Flag { return flag(bit, name, since, xfsHeader) }
func btrfs(bit uint64, name string, since Version) Flag {
	return flag(bit, name, since, btrfsHeader)
}
func f2fs(bit uint64, name string, since Version) Flag { return flag(bit, name, since, f2fsHeader) }

func flag(bit uint64, name string, since Version, source string) Flag {
	return Flag{bit, Feature{Name: name, By: Target, Since: since, Why: cannotMount, Source: source}}
}

// with adds the option that f needs.
func (f Flag) with(option string) Flag { f.Option = option; return f }

// sharing adds an option that f needs as other features do. It had another name before
// a version, if that is not zero.
func (f Flag) sharing(option string, since Version, before string) Flag {
	f.Option, f.Shared, f.OptionSince, f.OptionBefore = option, true, since, before
	return f
}

// Flags of superblocks. A kernel does not mount a file system with an incompatible
// flag that it does not know, nor for writing with a read-only compatible one.
var (
	// Of its compatible flags only this one makes a journal that older kernels do
	// not replay (include/linux/jbd2.h, JBD2_FEATURE_INCOMPAT_FAST_COMMIT).
	Ext4Compat   = []Flag{ext(0x400, "fast_commit", Version{5, 10})}
	Ext4Incompat = []Flag{
		ext(0x2, "filetype", Version{}), ext(0x4, "needs_recovery", Version{}), ext(0x10, "meta_bg", Version{}),
		ext(0x40, "extent", Version{}), ext(0x80, "64bit", Version{}), ext(0x100, "mmp", Version{}), ext(0x200, "flex_bg", Version{}),
		ext(0x400, "ea_inode", Version{4, 13}), ext(0x2000, "metadata_csum_seed", Version{4, 4}), ext(0x4000, "large_dir", Version{4, 13}),
		ext(0x8000, "inline_data", Version{}), ext(0x10000, "encrypt", Version{}),
		ext(0x20000, "casefold", Version{5, 2}).with("CONFIG_UNICODE"),
	}
	Ext4ReadOnly = []Flag{
		ext(0x1, "sparse_super", Version{}), ext(0x2, "large_file", Version{}), ext(0x4, "btree_dir", Version{}),
		ext(0x8, "huge_file", Version{}), ext(0x10, "uninit_bg", Version{}), ext(0x20, "dir_nlink", Version{}),
		ext(0x40, "extra_isize", Version{}), ext(0x100, "quota", Version{}).with("CONFIG_QFMT_V2"), ext(0x200, "bigalloc", Version{}),
		ext(0x400, "metadata_csum", Version{}), ext(0x2000, "project", Version{4, 5}).with("CONFIG_QFMT_V2"),
		ext(0x8000, "verity", Version{5, 4}), ext(0x10000, "orphan_file", Version{5, 15}), // set while it is mounted
	}

	// XFSVersion are flags of sb_versionnum in versions 4 and 5 of the format.
	XFSVersion = []Flag{
		xfs(0x10, "attr", Version{}), xfs(0x20, "nlink", Version{}), xfs(0x40, "quota", Version{}), xfs(0x80, "align", Version{}),
		xfs(0x100, "dalign", Version{}), xfs(0x400, "logv2", Version{}), xfs(0x800, "sector", Version{}), xfs(0x1000, "extflg", Version{}),
		xfs(0x2000, "dirv2", Version{}), xfs(0x8000, "morebits", Version{}),
		{0x4000, Feature{Name: "ASCII case folding (ascii-ci=1)", By: Target, Option: "CONFIG_XFS_SUPPORT_ASCII_CI", OptionSince: Version{6, 4},
			Why: cannotMount, Source: "fs/xfs/Kconfig"}},
	}
	XFSFeatures2 = []Flag{ // of version 4
		xfs(0x2, "lazy-count", Version{}), xfs(0x8, "attr2", Version{}), xfs(0x80, "projid32bit", Version{}), xfs(0x200, "ftype", Version{}),
	}
	XFSReadOnly = []Flag{
		xfs(1<<0, "finobt", Version{}), xfs(1<<1, "rmapbt", Version{4, 8}), xfs(1<<2, "reflink", Version{4, 9}), xfs(1<<3, "inobtcount", Version{5, 10}),
	}
	XFSIncompat = []Flag{
		xfs(1<<0, "ftype", Version{}), xfs(1<<1, "sparse", Version{}), xfs(1<<2, "meta_uuid", Version{}), xfs(1<<3, "bigtime", Version{5, 10}),
		{1 << 4, Feature{Name: "needsrepair", By: Target, Until: never, Why: "it is not mounted before xfs_repair(8)", Source: xfsHeader}},
		xfs(1<<5, "nrext64", Version{5, 19}), xfs(1<<6, "exchange", Version{6, 10}), xfs(1<<7, "parent", Version{6, 10}),
		xfs(1<<8, "metadir", Version{6, 13}), xfs(1<<9, "zoned", Version{6, 15}).sharing("CONFIG_XFS_RT", Version{}, ""),
		xfs(1<<10, "zone gaps", Version{6, 15}),
	}
	XFSLogIncompat = []Flag{xfs(1<<0, "larp", Version{5, 19})}

	BtrfsReadOnly = []Flag{
		btrfs(1<<0, "free-space-tree", Version{4, 5}), btrfs(1<<1, "free-space-tree-valid", Version{4, 9}),
		btrfs(1<<2, "verity", Version{5, 15}), btrfs(1<<3, "block-group-tree", Version{6, 1}),
	}
	BtrfsIncompat = []Flag{
		btrfs(1<<0, "mixed-backref", Version{}), btrfs(1<<1, "default-subvol", Version{}), btrfs(1<<2, "mixed-bg", Version{}),
		btrfs(1<<3, "compress-lzo", Version{}), btrfs(1<<4, "compress-zstd", Version{4, 14}), btrfs(1<<5, "big-metadata", Version{}),
		btrfs(1<<6, "extref", Version{}), btrfs(1<<7, "raid56", Version{}), btrfs(1<<8, "skinny-metadata", Version{}),
		btrfs(1<<9, "no-holes", Version{}), btrfs(1<<10, "metadata-uuid", Version{5, 0}), btrfs(1<<11, "raid1c34", Version{5, 5}),
		btrfs(1<<12, "zoned", Version{5, 11}).sharing("CONFIG_BLK_DEV_ZONED", Version{}, ""),
		btrfs(1<<13, "extent-tree-v2", Version{5, 18}).sharing("CONFIG_BTRFS_EXPERIMENTAL", Version{6, 13}, "CONFIG_BTRFS_DEBUG"),
		btrfs(1<<14, "raid-stripe-tree", Version{6, 7}).sharing("CONFIG_BTRFS_EXPERIMENTAL", Version{6, 13}, "CONFIG_BTRFS_DEBUG"),
		btrfs(1<<16, "squota", Version{6, 7}),
	}

	// F2fs does not look for flags that it does not know, but would write wrongly.
	F2FSFeatures = []Flag{
		f2fs(0x1, "encrypt", Version{}), f2fs(0x2, "zoned", Version{4, 10}).with("CONFIG_BLK_DEV_ZONED"), f2fs(0x4, "atomic_write", Version{}),
		f2fs(0x8, "extra_attr", Version{4, 14}), f2fs(0x10, "project_quota", Version{4, 14}).with("CONFIG_QUOTA"),
		f2fs(0x20, "inode_checksum", Version{4, 14}), f2fs(0x40, "flexible_inline_xattr", Version{4, 15}),
		f2fs(0x80, "quota", Version{4, 15}).with("CONFIG_QUOTA"), f2fs(0x100, "inode_crtime", Version{4, 17}), f2fs(0x200, "lost_found", Version{4, 17}),
		f2fs(0x400, "verity", Version{5, 4}), f2fs(0x800, "sb_checksum", Version{4, 19}), f2fs(0x1000, "casefold", Version{5, 4}).with("CONFIG_UNICODE"),
		f2fs(0x2000, "compression", Version{5, 6}), f2fs(0x8000, "device_alias", Version{6, 13}),
	}
)

// Properties of file systems that are no flags.
var (
	XFSVersion4 = Feature{Name: "format version 4 (crc=0)", By: Target, Option: "CONFIG_XFS_SUPPORT_V4", OptionSince: Version{5, 10},
		Why: cannotMount, Source: "fs/xfs/Kconfig"}
	XFSRealtime = Feature{Name: "a realtime section", By: Target, Option: "CONFIG_XFS_RT",
		Why: cannotMount, Source: "fs/xfs/Kconfig"}
	BtrfsChecksums = Feature{Name: "checksums other than crc32c", By: Target, Since: Version{5, 5},
		Why: cannotMount, Source: btrfsHeader}
)

// BlockSize returns the feature that a kernel needs to mount a file system of a type
// with blocks (of btrfs sectors) of size bytes, if its pages have page bytes. ok is
// false if every kernel mounts it.
func BlockSize(typ string, size, page int) (f Feature, ok bool) {
	f = Feature{By: Target, Why: cannotMount}
	switch {
	case typ == "f2fs" && size != page:
		f.Name, f.Until, f.Source = "blocks of another size than pages", never, f2fsHeader
	case typ == "f2fs" && size != 4096:
		f.Name, f.Since, f.Source = "blocks of another size than 4 KiB", Version{6, 7}, f2fsHeader
	case typ == "btrfs" && size == 4096 && size < page:
		f.Name, f.Since, f.Source = "sectors smaller than pages", Version{5, 15}, "fs/btrfs/fs.c"
	case typ == "btrfs" && size != page:
		f.Name, f.Since, f.Source = "sectors neither of 4 KiB nor of the size of pages", Version{6, 18}, "fs/btrfs/fs.c"
		f.Option, f.Shared = "CONFIG_BTRFS_EXPERIMENTAL", true
	case typ == "ext4" && size > page:
		f.Name, f.Since, f.Source = "blocks larger than pages", Version{6, 19}, "fs/ext4/super.c"
		f.Option, f.Shared = "CONFIG_TRANSPARENT_HUGEPAGE", true
	case typ == "xfs" && size > page:
		f.Name, f.Since, f.Source = "blocks larger than pages", Version{6, 12}, "fs/xfs/xfs_super.c"
		f.Option, f.Shared = "CONFIG_TRANSPARENT_HUGEPAGE", true
	default:
		return Feature{}, false
	}
	return f, true
}

package kfeature

// Features that a capture kernel must have.
var (
	ProcVmcore = Feature{Name: "/proc/vmcore", Option: "CONFIG_PROC_VMCORE",
		Why: "PID 1 reads the memory of the crashed kernel there", Source: "Documentation/admin-guide/kdump/kdump.rst"}
	Initrd = Feature{Name: "initramfs", Option: "CONFIG_BLK_DEV_INITRD",
		Why: "PID 1 and its plan are in the initramfs", Source: "init/Kconfig"}
	Devtmpfs = Feature{Name: "devtmpfs", Option: "CONFIG_DEVTMPFS",
		Why: "it makes the device nodes, as there is no udev", Source: "drivers/base/Kconfig"}
)

// Required are the features that every capture kernel must have.
var Required = []Feature{ProcVmcore, Initrd, Devtmpfs}

// Compressions of an initramfs.
var (
	UnpacksZstd = Feature{Name: "initramfs packed with zstd", Option: "CONFIG_RD_ZSTD",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
	UnpacksGzip = Feature{Name: "initramfs packed with gzip", Option: "CONFIG_RD_GZIP",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
	UnpacksXZ = Feature{Name: "initramfs packed with xz", Option: "CONFIG_RD_XZ",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
)

// Features that save memory or open volumes.
var (
	CrashDMCrypt = Feature{Name: "volume keys for the capture kernel", Since: Version{6, 16}, Option: "CONFIG_CRASH_DM_CRYPT",
		Why: "without it a LUKS volume needs its passphrase after the crash", Source: "Documentation/admin-guide/kdump/kdump.rst"}
	Eventfs = Feature{Name: "eventfs", Since: Version{6, 6},
		Why:    "tracefs makes its files only when they are looked at; older ones make some 10,000 inodes at boot, 8 MiB and more",
		Source: "fs/tracefs/event_inode.c"}
	LockdownLSM = Feature{Name: "lockdown", Option: "CONFIG_SECURITY_LOCKDOWN_LSM",
		Why: "lockdown=confidentiality keeps tracefs from making files", Source: "security/lockdown/Kconfig"}
	ModuleSig = Feature{Name: "module signatures", Option: "CONFIG_MODULE_SIG",
		Why: "a kernel that is locked down refuses modules without one", Source: "kernel/module/Kconfig"}
	Modules = Feature{Name: "loadable modules", Option: "CONFIG_MODULES",
		Why: "a kernel without them has its drivers built in", Source: "Documentation/kbuild/kconfig-language.rst"}
)

const writes = "older kernels cannot mount the file system for writing"

// Features of file systems that are younger than Linux 5.4, from the history of
// their headers.
var (
	ExtOrphanFile = Feature{Name: "orphan_file", Since: Version{5, 15}, Why: writes, Source: "fs/ext4/ext4.h"}

	XFSInobtcount = Feature{Name: "inobtcount", Since: Version{5, 10}, Why: writes, Source: "fs/xfs/libxfs/xfs_format.h"}
	XFSBigtime    = Feature{Name: "bigtime", Since: Version{5, 10}, Why: writes, Source: "fs/xfs/libxfs/xfs_format.h"}
	XFSNrext64    = Feature{Name: "nrext64", Since: Version{5, 19}, Why: writes, Source: "fs/xfs/libxfs/xfs_format.h"}
	XFSExchange   = Feature{Name: "exchange", Since: Version{6, 10}, Why: writes, Source: "fs/xfs/libxfs/xfs_format.h"}
	XFSParent     = Feature{Name: "parent", Since: Version{6, 10}, Why: writes, Source: "fs/xfs/libxfs/xfs_format.h"}
	XFSMetadir    = Feature{Name: "metadir", Since: Version{6, 13}, Why: writes, Source: "fs/xfs/libxfs/xfs_format.h"}
	XFSZoned      = Feature{Name: "zoned", Since: Version{6, 15}, Why: writes, Source: "fs/xfs/libxfs/xfs_format.h"}

	BtrfsVerity         = Feature{Name: "verity", Since: Version{5, 15}, Why: writes, Source: "include/uapi/linux/btrfs.h"}
	BtrfsBlockGroupTree = Feature{Name: "block-group-tree", Since: Version{6, 1}, Why: writes, Source: "include/uapi/linux/btrfs.h"}
	BtrfsRAID1C34       = Feature{Name: "raid1c34", Since: Version{5, 5}, Why: writes, Source: "include/uapi/linux/btrfs.h"}
	BtrfsZoned          = Feature{Name: "zoned", Since: Version{5, 11}, Why: writes, Source: "include/uapi/linux/btrfs.h"}
	BtrfsRAIDStripeTree = Feature{Name: "raid-stripe-tree", Since: Version{6, 7}, Why: writes, Source: "include/uapi/linux/btrfs.h"}
	BtrfsSquota         = Feature{Name: "squota", Since: Version{6, 7}, Why: writes, Source: "include/uapi/linux/btrfs.h"}
)

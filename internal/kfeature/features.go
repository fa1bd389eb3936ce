package kfeature

// Compressions of an initramfs.
var (
	UnpacksZstd = Feature{Name: "initramfs packed with zstd", By: Image, Since: Version{5, 9}, Option: "CONFIG_RD_ZSTD",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
	UnpacksGzip = Feature{Name: "initramfs packed with gzip", By: Image, Option: "CONFIG_RD_GZIP",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
	UnpacksXZ = Feature{Name: "initramfs packed with xz", By: Image, Option: "CONFIG_RD_XZ",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
	UnpacksLZMA = Feature{Name: "initramfs packed with lzma", By: Image, Option: "CONFIG_RD_LZMA",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
	UnpacksLZ4 = Feature{Name: "initramfs packed with lz4", By: Image, Option: "CONFIG_RD_LZ4",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
	UnpacksLZO = Feature{Name: "initramfs packed with lzo", By: Image, Option: "CONFIG_RD_LZO",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
	UnpacksBzip2 = Feature{Name: "initramfs packed with bzip2", By: Image, Option: "CONFIG_RD_BZIP2",
		Why: "the image is packed with it", Source: "usr/Kconfig"}
)

// Unpacks has the features that unpack an initramfs, by the first bytes of the packed
// one (lib/decompress.c).
var Unpacks = []struct {
	Magic string
	Feature
}{
	{"\x1f\x8b", UnpacksGzip}, {"\x1f\x9e", UnpacksGzip}, {"BZh", UnpacksBzip2}, {"\x5d\x00\x00", UnpacksLZMA},
	{"\xfd7zXZ\x00", UnpacksXZ}, {"\x89LZO", UnpacksLZO}, {"\x02\x21\x4c\x18", UnpacksLZ4}, {"\x28\xb5\x2f\xfd", UnpacksZstd},
}

// Features that save memory or open volumes.
var (
	CrashDMCrypt = Feature{Name: "volume keys for the capture kernel", By: Target, Since: Version{6, 16}, Option: "CONFIG_CRASH_DM_CRYPT",
		Why: "without it a LUKS volume needs its passphrase after the crash", Source: "Documentation/admin-guide/kdump/kdump.rst"}
	Eventfs = Feature{Name: "eventfs", By: CommandLine, Since: Version{6, 6},
		Why:    "tracefs makes its files only when they are looked at; older ones make some 10,000 inodes at boot, 8 MiB and more",
		Source: "fs/tracefs/event_inode.c"}
	Tracing = Feature{Name: "tracing", By: Reservation, Option: "CONFIG_TRACING",
		Why:    "its tables of events and functions take memory at boot, and so does tracefs",
		Source: "kernel/trace/Kconfig"}
	BtrfsAtMount = Feature{Name: "btrfs reserves memory to compress at the mount", By: Reservation, Since: Version{6, 18},
		Why:    "older kernels reserve 3.4 MiB when btrfs starts, although nothing is mounted",
		Source: "fs/btrfs/compression.c (btrfs_alloc_compress_wsm)"}
	LockdownLSM = Feature{Name: "lockdown", By: CommandLine, Since: Version{5, 4}, Option: "CONFIG_SECURITY_LOCKDOWN_LSM",
		Why: "lockdown=confidentiality keeps tracefs from making files", Source: "security/lockdown/Kconfig"}
	LockdownActive = Feature{Name: "lockdown in the list of security modules", By: CommandLine, Since: Version{5, 4}, Option: "CONFIG_LSM", Item: "lockdown",
		Why: "a module that is not in the list is not asked", Source: "security/Kconfig"}
	ModuleSig = Feature{Name: "module signatures", By: CommandLine, Option: "CONFIG_MODULE_SIG",
		Why: "a kernel that is locked down refuses modules without one", Source: "kernel/module/Kconfig"}
	Modules = Feature{Name: "loadable modules", By: Target, Option: "CONFIG_MODULES",
		Why: "a kernel without them has its drivers built in", Source: "Documentation/kbuild/kconfig-language.rst"}
	// LentReservation is a part of the reserved memory that programs use until a crash.
	LentReservation = Feature{Name: "crashkernel=SIZE,cma", By: Reservation, Since: Version{6, 17}, Arch: "amd64", Option: "CONFIG_CMA", Shared: true,
		Why: "less memory is lost to the running system", Source: "Documentation/admin-guide/kdump/kdump.rst, arch/x86/kernel/setup.c"}
	FiveLevel = Feature{Name: "start from 5-level page tables", By: PID1, Since: Version{5, 2}, Arch: "amd64",
		Why:    "kexec_file_load(2) refuses a kernel without it if the running kernel uses 5-level page tables",
		Source: "arch/x86/kernel/kexec-bzimage64.c (XLF_5LEVEL)"}
)

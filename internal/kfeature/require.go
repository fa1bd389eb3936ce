package kfeature

// Required are the features that every capture kernel must have. The Go runtime of
// PID 1 ends at once without epoll, eventfd and futex; the collector and its C library
// need none that PID 1 does not need.
var Required = []Feature{
	{Name: "crash dumps", By: PID1, Option: "CONFIG_CRASH_DUMP",
		Why: "the kernel finds the memory of the crashed one", Source: "kernel/Kconfig.kexec"},
	{Name: "/proc", By: PID1, Option: "CONFIG_PROC_FS",
		Why: "PID 1 and makedumpfile read it", Source: "fs/proc/Kconfig"},
	{Name: "/proc/vmcore", By: Collector, Option: "CONFIG_PROC_VMCORE",
		Why: "the memory of the crashed kernel is read there", Source: "Documentation/admin-guide/kdump/kdump.rst"},
	{Name: "a place other than that of the crashed kernel", By: Image, Arch: "amd64", Option: "CONFIG_RELOCATABLE",
		Why: "the kernel runs in the reserved memory", Source: "arch/x86/Kconfig"},
	{Name: "initramfs", By: Image, Option: "CONFIG_BLK_DEV_INITRD",
		Why: "PID 1 and its plan are in the initramfs", Source: "init/Kconfig"},
	{Name: "programs in ELF", By: PID1, Option: "CONFIG_BINFMT_ELF",
		Why: "PID 1 and makedumpfile are such programs", Source: "fs/Kconfig.binfmt"},
	{Name: "futex(2)", By: PID1, Option: "CONFIG_FUTEX",
		Why: "the Go runtime of PID 1 and the C library of makedumpfile wait with it", Source: "init/Kconfig; runtime/os_linux.go"},
	{Name: "epoll(7)", By: PID1, Option: "CONFIG_EPOLL",
		Why: "the Go runtime of PID 1 waits with it", Source: "init/Kconfig; runtime/netpoll_epoll.go"},
	{Name: "eventfd(2)", By: PID1, Option: "CONFIG_EVENTFD",
		Why: "the Go runtime of PID 1 wakes with it", Source: "init/Kconfig; runtime/netpoll_epoll.go"},
	{Name: "posix_fadvise(2)", By: PID1, Option: "CONFIG_ADVISE_SYSCALLS", OptionSince: Version{3, 18},
		Why: "PID 1 reads a vmcore back from the disk with it, and no vmcore counts as complete without that", Source: "init/Kconfig"},
	{Name: "sysfs", By: PID1, Option: "CONFIG_SYSFS",
		Why: "PID 1 finds the disks there", Source: "fs/sysfs/Kconfig"},
	{Name: "devtmpfs", By: PID1, Option: "CONFIG_DEVTMPFS",
		Why: "it makes the device nodes, as there is no udev", Source: "drivers/base/Kconfig"},
	{Name: "block devices", By: Target, Option: "CONFIG_BLOCK",
		Why: "the target is on one", Source: "block/Kconfig"},
}

// RequiredByServers are the features that a target at a server needs besides the drivers
// of the way to it.
var RequiredByServers = []Feature{
	{Name: "networking", By: Target, Option: "CONFIG_NET", Why: reached, Source: "net/Kconfig"},
	{Name: "TCP/IP", By: Target, Option: "CONFIG_INET", Why: reached, Source: "net/Kconfig"},
}

const reached = "a target is at a server"

// RequiredBySystemd are the features that emergency mode needs in addition: the
// requirements in the README of systemd, without those of Required.
var RequiredBySystemd = []Feature{
	{Name: "cgroups", By: Systemd, Option: "CONFIG_CGROUPS", Why: requirement, Source: "systemd README"},
	{Name: "inotify(7)", By: Systemd, Option: "CONFIG_INOTIFY_USER", Why: requirement, Source: "systemd README"},
	{Name: "signalfd(2)", By: Systemd, Option: "CONFIG_SIGNALFD", Why: requirement, Source: "systemd README"},
	{Name: "timerfd_create(2)", By: Systemd, Option: "CONFIG_TIMERFD", Why: requirement, Source: "systemd README"},
	{Name: "unix(7)", By: Systemd, Option: "CONFIG_UNIX", Why: requirement, Source: "systemd README"},
	{Name: "open_by_handle_at(2)", By: Systemd, Option: "CONFIG_FHANDLE", Why: requirement, Source: "systemd README"},
	{Name: "tmpfs", By: Systemd, Option: "CONFIG_TMPFS", Why: "systemd mounts it on /run", Source: "fs/Kconfig"},
}

const requirement = "systemd, which emergency mode starts, needs it"

// Forbidden are the features that no capture kernel may have.
var Forbidden = []Feature{
	{Name: "a command line of its own", By: CommandLine, Arch: "amd64", Option: "CONFIG_CMDLINE_OVERRIDE",
		Why: "it ignores the command line that it is loaded with", Source: "arch/x86/Kconfig"},
	{Name: "a command line of its own", By: CommandLine, Arch: "arm64", Option: "CONFIG_CMDLINE_FORCE",
		Why: "it ignores the command line that it is loaded with", Source: "arch/arm64/Kconfig"},
	{Name: "an initramfs of its own", By: Image, Option: "CONFIG_INITRAMFS_FORCE",
		Why: "it ignores the image that it is loaded with", Source: "usr/Kconfig"},
}

// Options that make a kernel add words to its command line. With CmdlineFirst the words
// of the loader come later and win; with CmdlineLast those of the kernel do.
var (
	CmdlineFirst = Feature{Name: "words before the command line", By: CommandLine, Arch: "amd64", Option: "CONFIG_CMDLINE_BOOL",
		Why: "its words count as well", Source: "arch/x86/kernel/setup.c"}
	CmdlineLast = Feature{Name: "words after the command line", By: CommandLine, Arch: "arm64", Option: "CONFIG_CMDLINE_EXTEND", Until: Version{5, 12},
		Why: "its words override ours", Source: "arch/arm64/Kconfig of Linux 5.11"}
)

// A boot configuration in the kernel adds words before the command line, so that ours win.
// The kernel reads it if the command line has the word bootconfig, or if it is forced to.
var (
	BootConfig = Feature{Name: "a boot configuration of its own", By: CommandLine, Since: Version{5, 19}, Option: "CONFIG_BOOT_CONFIG_EMBED",
		Why: "its words count as well, and the kernel's configuration does not have them", Source: "Documentation/admin-guide/bootconfig.rst"}
	BootConfigForced = Feature{Name: "a boot configuration without being asked for it", By: CommandLine, Since: Version{6, 3}, Option: "CONFIG_BOOT_CONFIG_FORCE",
		Why: "it reads its boot configuration at every start", Source: "init/Kconfig"}
)

// BootConfigFile is the option with the name of the file that was embedded, "" for none.
const BootConfigFile = "CONFIG_BOOT_CONFIG_EMBED_FILE"

// LoadPinEnforced makes a kernel read modules and firmware from one file system only, that
// of the first one, and refuse init_module(2). PID 1 is not hindered: it loads all modules
// from the image, with finit_module(2). The distribution in emergency mode is, once it
// loads a module from the root file system or unpacks one itself.
var LoadPinEnforced = Feature{Name: "modules from one file system only", By: Systemd, Since: Version{4, 20}, Option: "CONFIG_SECURITY_LOADPIN_ENFORCE",
	Why: "modules are refused after the change to the root file system", Source: "security/loadpin/loadpin.c; Documentation/admin-guide/LSM/LoadPin.rst"}

// CmdlineWords is the option with the words of CmdlineFirst and CmdlineLast.
const CmdlineWords = "CONFIG_CMDLINE"

// OnlySigned are the features with which a kernel loads no module without a valid
// signature. CONFIG_MODULE_SIG alone does not refuse one.
var OnlySigned = []Feature{
	{Name: "only signed modules", By: Target, Option: "CONFIG_MODULE_SIG_FORCE",
		Why: "it refuses modules without a signature", Source: "kernel/module/Kconfig"},
	{Name: "lockdown from the start", By: Target, Since: Version{5, 4}, Option: "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY",
		Why: "it refuses modules without a signature", Source: "security/lockdown/Kconfig"},
	{Name: "lockdown from the start", By: Target, Since: Version{5, 4}, Option: "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
		Why: "it refuses modules without a signature", Source: "security/lockdown/Kconfig"},
}

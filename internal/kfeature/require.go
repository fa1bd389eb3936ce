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
	{Name: "sysfs", By: PID1, Option: "CONFIG_SYSFS",
		Why: "PID 1 finds the disks there", Source: "fs/sysfs/Kconfig"},
	{Name: "devtmpfs", By: PID1, Option: "CONFIG_DEVTMPFS",
		Why: "it makes the device nodes, as there is no udev", Source: "drivers/base/Kconfig"},
	{Name: "block devices", By: Target, Option: "CONFIG_BLOCK",
		Why: "the target is on one", Source: "block/Kconfig"},
}

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

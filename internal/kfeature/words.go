package kfeature

// Words are the words of our command line that make sense only for a kernel with a
// feature. Others would complain about most of them and hand them to PID 1.
var Words = map[string]Feature{
	"softlockup_panic=1": word("CONFIG_SOFTLOCKUP_DETECTOR"),
	"watchdog_thresh=30": word("CONFIG_SOFTLOCKUP_DETECTOR"),
	// Off in kernels without the option; it is a number since 6.19.
	"sysctl.kernel.panic_on_oops=0":   word("CONFIG_PANIC_ON_OOPS"),
	"sysctl.kernel.hung_task_panic=0": word("CONFIG_BOOTPARAM_HUNG_TASK_PANIC"),
	"sysctl.vm.overcommit_memory=1":   word("CONFIG_PROC_SYSCTL"),
	"novmcoredd":                      word("CONFIG_PROC_VMCORE_DEVICE_DUMP"),
	"cma=0":                           word("CONFIG_CMA"),
	"raid=noautodetect":               word("CONFIG_MD_AUTODETECT"),
	"hest_disable":                    word("CONFIG_ACPI_APEI"),
	"acpi_no_memhotplug":              word("CONFIG_ACPI_HOTPLUG_MEMORY"),
	"cgroup_disable=memory":           word("CONFIG_CGROUPS"),
	"transparent_hugepage=never":      word("CONFIG_TRANSPARENT_HUGEPAGE"),
}

func word(option string) Feature {
	return Feature{Name: "the word", By: CommandLine, Option: option,
		Why: "a kernel without it does not know the word", Source: "Documentation/admin-guide/kernel-parameters.txt"}
}

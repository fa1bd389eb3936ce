package builder

import (
	"strconv"
	"strings"
)

// fate says what becomes of a word of the running kernel's command line.
type fate int

const (
	drop  fate = iota // only emergency mode inherits the word
	carry             // the capture kernel gets the word
	never             // emergency mode does not inherit the word either
)

// rule is the fate of some parameters of the kernel.
type rule struct {
	fate    fate
	refused bool                    // in BOOT_OPTIONS, with why as the reason
	why     string                  // one reason for all names
	names   string                  // separated by blanks; "x." stands for every parameter of module x, "x*" for every name that begins so
	when    func(value string) bool // the rule is only for these values; nil is for all
}

// wordRules decide by the first rule that has the name. Source:
// Documentation/admin-guide/kernel-parameters.txt of Linux 7.2, and of 6.1 for
// parameters that are gone. A parameter without a rule is dropped, unless it
// belongs to a built-in driver of storageDirs.
var wordRules = []rule{
	// For the hardware. A capture kernel meets the same machine.
	{fate: carry, why: "the console that a person reads",
		names: "console earlycon earlyprintk no_console_suspend 8250. 8250_core. nr_uarts"},
	{fate: carry, why: "tables of the firmware that are wrong or have to be found",
		names: "acpi acpi_apic_instance acpi_enforce_resources acpi_fake_ecdt acpi_force_32bit_fadt_addr acpi_force_table_verification " +
			"acpi_irq_balance acpi_irq_isa acpi_irq_nobalance acpi_irq_pci acpi_mask_gpe acpi_no_auto_serialize acpi_no_static_ssdt " +
			"acpi_no_watchdog acpi_os_name acpi_osi acpi_rev_override acpi_rsdp acpi_sci acpica_no_return_repair noacpi " +
			"bert_disable erst_disable bgrt_disable dmi. efi noefi efi_no_storage_paranoia efivar_ssdt add_efi_memmap edd " +
			"acpi. pnpacpi pnpbios isapnp noisapnp pnp_reserve_dma pnp_reserve_io pnp_reserve_irq pnp_reserve_mem reserve sbf"},
	{fate: carry, why: "interrupts that are routed wrongly",
		names: "apic noapic nolapic lapic disableapic disable_apic acpi_skip_timer_override acpi_use_timer_override disable_timer_pin_1 " +
			"enable_timer_pin_1 disable_8254_timer enable_8254_timer pirq x2apic_phys nox2apic no_x2apic_optout intremap nointremap " +
			"x86_intel_mid_timer irqchip. xen.event_eoi_delay xen.event_loop_timeout xen.fifo_events"},
	{fate: carry, why: "clocks that stop, drift or hang",
		names: "no_timer_check noapictimer nolapic_timer lapic_timer_c2_ok apicpmtimer acpi_pm_good clock clocksource tsc notsc tsc_early_khz " +
			"hpet nohpet hpet_mmap pmtmr io_delay highres nohz no_kvmclock no_kvmapf no_vmw_sched_clock xen_timer_slop"},
	{fate: carry, why: "states of the processor that do not work",
		names: "idle nohlt intel_idle. processor. cpuidle. intel_pstate amd_pstate thermal. rdrand nordrand microcode dis_ucode_ldr " +
			"clearcpuid setcpuid nofxsr nofsgsbase noinvpcid nopcid nopku nosmap nosmep nosgx noxsave noxsaveopt noxsaves nopat nogbpages gbpages no5lvl " +
			"nohugeiomap nohugevmalloc fred arm64. id_aa64* nokaslr"},
	{fate: carry, why: "memory types of the firmware that hide memory",
		names: "disable_mtrr_cleanup disable_mtrr_trim enable_mtrr_cleanup mtrr_chunk_size mtrr_gran_size mtrr_spare_reg_nr gart_fix_e820 mem_encrypt"},
	{fate: carry, why: "the way from the processor to the disk",
		names: "iommu intel_iommu amd_iommu amd_iommu_intr iommu. ivrs_acpihid ivrs_hpet ivrs_ioapic arm_smmu. arm_smmu_v3. " +
			"pci pcie_aspm pcie_pme pcie_port_pm pcie_ports pciehp. " +
			"clk_ignore_unused pd_ignore_unused regulator_ignore_unused fw_devlink fw_devlink. deferred_probe_timeout " +
			"virtio_mmio. nopv xen_nopv xen_emul_unplug xen_no_vector_callback"},
	{fate: carry, why: "the driver of the disk, also built in",
		names: "libata. ahci. nvme_core. nvme. scsi_mod. usbcore. nousb usb_storage. uas. xhci_hcd. mmc_core. aic7xxx aic79xx sym53c8xx BusLogic"},
	{fate: carry, why: "partitions that are not on the disk, or are where the kernel would not look",
		names: "blkdevparts mtdparts gpt"},
	{fate: carry, why: "persistent memory below a target", names: "memmap", when: func(v string) bool { return pmem(v) != "" }},
	{fate: carry, why: "devices that hang the boot if they are probed",
		names: "module_blacklist initcall_blacklist i8042. tpm. tpm_tis. nomodeset video"},
	{fate: carry, why: "the reboot after the dump, and the log that survives it", names: "reboot pstore. ramoops. efi_pstore."},

	// Never for a capture kernel.
	{fate: never, refused: true, why: "reserves memory of the capture kernel for another one", names: "crashkernel"},
	{fate: drop, why: "of 32-bit kernels", names: "mem", when: func(v string) bool { return v == "nopentium" }},
	{fate: never, refused: true, why: changesMemory, names: "mem memmap"},
	{fate: never, refused: true, why: "takes memory that the capture needs",
		names: "hugepages hugetlb_cma reserve_mem sysctl.vm.nr_hugepages", when: hasNonzero},
	{fate: never, why: "the same without any memory", names: "hugepages hugetlb_cma reserve_mem sysctl.vm.nr_hugepages"},
	{fate: never, refused: true, why: "keeps memory from programs that the capture needs",
		names: "sysctl.vm.min_free_kbytes", when: func(v string) bool { return memoryOf(v) > mostReserve }},
	{fate: never, refused: true, why: "lets the kernel refuse memory to PID 1, which maps more than it uses",
		names: "sysctl.vm.overcommit_memory", when: func(v string) bool { return v != "1" }},
	{fate: never, refused: true, why: "keeps the kernel out of a part of its memory", names: "kernelcore movablecore"},
	{fate: never, refused: true, why: "is set by kexec_file_load", names: "elfcorehdr dmcryptkeys"},
	{fate: never, refused: true, why: "replaces the image", names: "initrdmem"},
	{fate: never, refused: true, why: "replaces the image", // as initrdmem= does, init/do_mounts_initrd.c
		names: "initrd", when: func(v string) bool { return strings.Contains(v, ",") }},
	{fate: never, refused: true, why: "replaces the program that saves the dump", names: "rdinit"},
	{fate: never, refused: true, why: "waits for a debugger", names: "kgdbwait"},
	{fate: never, refused: true, why: "lets a machine hang whose capture kernel crashes",
		names: "panic sysctl.kernel.panic", when: func(v string) bool { return !hasNonzero(v) }},
	{fate: never, refused: true, why: "is set by ukdump", names: "ukdump.emergency"},
	{fate: never, why: "of the boot loader", names: "BOOT_IMAGE initrd ukdump."},
	{fate: never, why: "memory and processors of the running kernel",
		names: "hugepagesz default_hugepagesz log_buf_len slub_debug slab_debug swiotlb page_owner kasan kfence. maxcpus isolcpus nohz_full rcu_nocbs"},
	{fate: never, why: "crashes of the running kernel",
		names: "oops panic_* hung_task_panic unknown_nmi_panic hardlockup_panic nmi_watchdog pause_on_oops crash_kexec_post_notifiers workqueue. sysctl. " +
			"edac_core."},
	{fate: never, why: "end and looks of the boot of the running system",
		names: "systemd.unit rd.systemd.unit rd.break single emergency rescue 1 2 3 4 5 s S -s -b quiet splash rhgb resume resume_offset ignition.firstboot"},

	// Without use in a capture kernel with its own initramfs.
	{why: "of the root file system and of PID 1: the plan has both",
		names: "init root rootflags rootfstype rootdelay rootwait ro rw nfsroot nfsaddrs nfsrootdebug ip netdev noinitrd retain_initrd keepinitrd " +
			"initramfs_async initramfs_options ramdisk_size ramdisk_start hostname bootconfig modprobe. systemd. rd. nomodule"},
	{why: "set by ukdump's own words", names: "panic nr_cpus irqpoll irqfixup noirqdebug reset_devices numa mce nomce hest_disable acpi_no_memhotplug " +
		"cgroup_disable cgroup_no_v1 cgroup_v1_proc cgroup_favordynmods cgroup. transparent_hugepage transparent_hugepage_shmem " +
		"transparent_hugepage_tmpfs thp_anon thp_shmem novmcoredd cma cma_pernuma numa_cma raid init_on_alloc init_on_free printk. " +
		"loglevel ignore_loglevel debug softlockup_panic watchdog_thresh lockdown"},
	{why: "arrays and volumes: PID 1 assembles those of the plan", names: "md dm_mod.create dm_verity. max_loop loop. noresume resumedelay resumewait"},
	{why: "several processors: one captures",
		names: "nosmp nosmt smt possible_cpus cpuhp. cpu_init_udelay additional_cpus disable_cpu_apicid irqaffinity irqhandler. threadirqs " +
			"rcu_nocb_poll relax_domain_level sched_proxy_exec sched_verbose schedstats sched_thermal_decay_shift skew_tick " +
			"noautogroup numa_balancing numa_zonelist_order nopvspin hv_nopvspin no_steal_acc xen_512gb_limit percpu_alloc preempt rt_group_sched " +
			"rcutree. rcupdate. srcutree. smp. csdlock_debug nmi_backtrace. intel_epb amd_prefcore amd_dynamic_epp cpufreq. int_pln_enable split_llc"},
	{why: "memory of a large machine, in a small one",
		names: "accept_memory coherent_pool hashdist dhash_entries ihash_entries mhash_entries mphash_entries thash_entries tcpmhash_entries uhash_entries " +
			"hugepage_alloc_threads hugetlb_cma_only hugetlb_free_vmemmap kho kho_scratch liveupdate memhp_default_state memory_hotplug. movable_node " +
			"page_alloc. page_reporting. slab_max_order slab_merge slab_nomerge slab_min_objects slab_min_order slab_strict_numa stack_guard_gap vmalloc highmem " +
			"zswap. xen_scrub_pages rproc_mem"},
	{why: "tests and debugging", names: "acpi.debug_layer acpi.debug_level pnp.debug amd_iommu_dump boot_delay debug_boot_weak_hash debug_guardpage_minorder " +
		"debug_locks_verbose debug_objects no_debug_objects debug_pagealloc debugfs debugpat check_pages early_ioremap_debug early_page_ext dma_debug dma_debug_driver " +
		"dma_debug_entries dyndbg dump_apple_properties edac_report ekgdboc fail_make_request fail_page_alloc fail_skb_realloc fail_usercopy failslab gcov_persist " +
		"hash_pointers no_hash_pointers initcall_debug kasan_multi_shot kgdbdbgp kgdboc kgdboc_earlycon keep_bootcon kmemleak kunit. memblock memory_corruption_check " +
		"memory_corruption_check_period memory_corruption_check_size memtest mminit_loglevel mtrr ohci1394_dma page_poison print_fatal_signals profile show_lapic " +
		"stack_depot_disable stack_depot_max_pools test_suspend torture. locktorture. rcutorture. rcuscale. refscale. scftorture. clocksource_wdtest. " +
		"unwind_debug vm_debug xen_mc_debug console_msg_format log_* lsm.debug module.enable_dups_trace cryptomgr. coresight_cpu_debug. " +
		"iommu.debug_pagealloc reg_file_data_sampling rseq_debug xen_console_io lpj"},
	{why: "tracing", names: "alloc_snapshot ftrace ftrace_* kprobe_event stacktrace stacktrace_filter tp_printk tp_printk_stop_on_boot trace_* " +
		"traceoff_after_boot traceoff_on_warning delayacct psi"},
	{why: "events that the running kernel panics for",
		names: "hardlockup_all_cpu_backtrace softlockup_all_cpu_backtrace nowatchdog nosoftlockup " +
			"ras split_lock_detect apic_extnmi hw_protection xen_legacy_crash coredump_filter nonmi_ipi bau"},
	{why: "defence against attackers: a capture kernel runs only our programs",
		names: "mitigations cfi gather_data_sampling hardened_usercopy init_pkru indirect_target_selection kpti l1d_flush l1tf mds mmio_stale_data nopti pti nospec_store_bypass_disable " +
			"nospectre_bhb nospectre_v1 nospectre_v2 randomize_kstack_offset norandmaps retbleed rodata spec_rstack_overflow spec_store_bypass_disable spectre_bhi " +
			"spectre_v2 spectre_v2_user srbds ssbd tsa tsx tsx_async_abort vmscape vsyscall iomem proc_mem. random. syscall. ring3mwait " +
			"xen_msr_safe apparmor audit audit_backlog_limit ca_keys checkreqprot enforcing selinux security lsm evm ima ima_* integrity_audit ipe. keys. trusted. encrypted. " +
			"module.sig_enforce module.async_probe no_file_caps bdev_allow_write_mounted attack_vector* no_uaccess_flush"},
	{why: "programs and devices that no capture has",
		names: "agp align_va_addr allow_mismatched_32bit_el0 atkbd. autoconf disable disable_ipv6 carrier_timeout cio_ignore consoleblank cs89x0_dma cs89x0_media " +
			"driver_async_probe drm. drm_* ether fb_tunnels floppy gamma goldfish gpio_mockup. hd hibernate hibernate. hibernate_* nohibernate i2c_bus i2c_touchscreen_props " +
			"ipcmni_extend js lockd. logo. lp max_addr mem_sleep_default mga mousedev. netpoll. nf_conntrack. nfs. nfs4. nfsd. no_scroll noexec32 " +
			"olpc_ec_timeout parport parport_init_mode plip pm_async pm_debug_messages psmouse. pty. r128 rdt rfkill. rseq_slice_ext sdw_mclk_divider sev " +
			"shapers slram snd_* sonypi. stifb sunrpc. suspend. sysrq_always_enabled tdfx tpm_suspend_pcr usbhid. user_debug vdso vdso32 vga vt. " +
			"i810 ia32_emulation ignore_rlimit_data kvm. kvm_amd. kvm_intel. kvm_arm. acpi_backlight acpi_sleep video. apm apc ALSA hlt MTD_Partition MTD_Region " +
			"mtouchusb. amijoy. analog. db9. gamecon. turbografx. inport. logibm. parkbd. dell_smm_hwmon. bttv. dscc4. grcan. smsc_ircc2. cpcihp_generic " +
			"n2 c101 ports pcmv smart2 xirc2ps_cs omap_mux onenand. mini2440 machtype rockchip. iucv memchunk tlbi reservetop " +
			"pata_legacy. pata_platform."},
}

const changesMemory = "changes the memory that the capture kernel was given"

// mostReserve is the largest vm.min_free_kbytes in KiB that leaves a capture room.
const mostReserve = 16 << 10

// memoryOf reads the value of a sysctl as the kernel does, 0 if it refuses it.
func memoryOf(value string) uint64 {
	n, _ := strconv.ParseUint(value, 0, 64)
	return n
}

// hasNonzero reports whether a value has a digit other than 0: "0:0,1:512".
func hasNonzero(value string) bool { return strings.ContainsAny(value, "123456789") }

// pmem returns the parts of the value of memmap= that are persistent memory,
// SIZE!START. It does not take memory from the capture kernel.
func pmem(value string) string {
	var parts []string
	for part := range strings.SplitSeq(value, ",") {
		if strings.Contains(part, "!") {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ",")
}

// ruleIndex has the rules of each name, in their order.
var ruleIndex = func() map[string][]*rule {
	index := make(map[string][]*rule)
	for i := range wordRules {
		for name := range strings.FieldsSeq(wordRules[i].names) {
			index[name] = append(index[name], &wordRules[i])
		}
	}
	return index
}()

// ruleOf returns the rule for a word, nil if the table has none.
func ruleOf(word string) *rule {
	name, value := key(word), valueOf(word)
	if r := firstRule(name, value); r != nil {
		return r
	}
	if module, _, ok := strings.Cut(name, "."); ok {
		if r := firstRule(module+".", value); r != nil {
			return r
		}
	}
	for i := len(name) - 1; i > 0; i-- {
		if r := firstRule(name[:i]+"*", value); r != nil {
			return r
		}
	}
	return nil
}

func firstRule(name, value string) *rule {
	for _, r := range ruleIndex[name] {
		if r.when == nil || r.when(value) {
			return r
		}
	}
	return nil
}

// key returns the name of a parameter without its value and without an index in
// brackets. The kernel takes '-' and '_' for the same, '/' and '.' in sysctl., and
// quotes around the whole word for nothing.
func key(word string) string {
	k, _, _ := strings.Cut(strings.Trim(word, `"`), "=")
	k, _, _ = strings.Cut(k, "[")
	if strings.HasPrefix(k, "sysctl.") || strings.HasPrefix(k, "sysctl/") {
		return strings.ReplaceAll(k, "/", ".")
	}
	if len(k) > 2 {
		k = strings.ReplaceAll(k, "-", "_")
	}
	return k
}

// valueOf returns the value of a parameter without quotes.
func valueOf(word string) string {
	_, v, _ := strings.Cut(strings.Trim(word, `"`), "=")
	return strings.Trim(v, `"`)
}

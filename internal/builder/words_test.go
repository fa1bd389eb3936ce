package builder

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/config"
)

// Every parameter of the kernel for amd64 and arm64 has a rule, or is of a module: the
// tree of modules decides about those.
func TestWordRulesAreComplete(t *testing.T) {
	f, err := os.Open("testdata/kernel-parameters.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	n := 0
	for ; s.Scan(); n++ {
		name := s.Text()
		r := ruleOf(name + "=1")
		if r == nil && !strings.Contains(name, ".") {
			t.Errorf("%s: no rule", name)
		}
	}
	if s.Err() != nil || n < 900 {
		t.Errorf("read %d parameters: %v", n, s.Err())
	}
	seen := make(map[string]int)
	for i, r := range wordRules {
		if r.why == "" || r.refused && r.fate != never {
			t.Errorf("rule %d: %+v", i, r)
		}
		for name := range strings.FieldsSeq(r.names) {
			if j, ok := seen[name]; ok && wordRules[j].when == nil {
				t.Errorf("%s: rule %d decides before rule %d", name, j, i)
			}
			if k := key(name); k != name {
				t.Errorf("%s is written %s", name, k)
			}
			seen[name] = i
		}
	}
}

// driversOf are the drivers of an image: the disk is on virtio-scsi, or what else is named.
func driversOf(needed ...string) *parts {
	p := &parts{
		modules: map[string]string{"virtio_scsi": "kernel/drivers/scsi/virtio_scsi.ko", "sd_mod": "kernel/drivers/scsi/sd_mod.ko", "iTCO_wdt": "kernel/drivers/watchdog/iTCO_wdt.ko"},
		builtin: map[string]string{
			"sdhci": "kernel/drivers/mmc/host/sdhci.ko", "megaraid_sas": "kernel/drivers/scsi/megaraid/megaraid_sas.ko",
			"mpt3sas": "kernel/drivers/scsi/mpt3sas/mpt3sas.ko", "xen_blkfront": "kernel/drivers/block/xen-blkfront.ko",
			"vmd": "kernel/drivers/pci/controller/vmd.ko", "usbcore": "kernel/drivers/usb/core/usbcore.ko", "usb_storage": "kernel/drivers/usb/storage/usb-storage.ko",
			"scsi_mod": "kernel/drivers/scsi/scsi_mod.ko", "i915": "kernel/drivers/gpu/drm/i915/i915.ko", "zswap": "kernel/mm/zswap.ko",
			"libata": "kernel/drivers/ata/libata.ko", "snd_hda_intel": "kernel/sound/pci/hda/snd-hda-intel.ko",
		},
		needed: map[string]bool{},
		inits:  map[string]string{"virtio_scsi_init": "virtio_scsi", "init_sd": "sd_mod", "iTCO_wdt_driver_init": "iTCO_wdt"},
	}
	for _, n := range needed {
		p.needed[n] = true
	}
	return p
}

func TestCarried(t *testing.T) {
	scsi, usb, ata := driversOf("virtio_scsi", "sd_mod"), driversOf("usb_storage", "sd_mod"), driversOf("libata", "sd_mod")
	for _, tt := range []struct {
		parts *parts
		line  string
		want  string
	}{
		{nil, "blkdevparts=vda:1G(a),-(b) mtdparts=x gpt", "blkdevparts=vda:1G(a),-(b) mtdparts=x gpt"},
		{nil, "memmap=2G!4G", "memmap=2G!4G"},
		{nil, "memmap=64M$1G,2G!4G,1G!8G", "memmap=2G!4G,1G!8G"},
		{nil, "memmap=64M$1G memmap=exactmap memmap=1M@1M memmap=1K#3M mem=4G", ""},
		{nil, "acpi_skip_timer_override acpi_use_timer_override disable_timer_pin_1 nolapic_timer nopat pnpacpi=off no5lvl",
			"acpi_skip_timer_override acpi_use_timer_override disable_timer_pin_1 nolapic_timer nopat pnpacpi=off no5lvl"},
		{nil, "ivrs_ioapic[10]=00:14.0 ivrs-hpet[0]=00:14.0 ivrs_acpihid=@0:1,x", "ivrs_ioapic[10]=00:14.0 ivrs-hpet[0]=00:14.0 ivrs_acpihid=@0:1,x"},
		{nil, "clearcpuid=smap dis_ucode_ldr notsc id_aa64mmfr1.vh=0", "clearcpuid=smap dis_ucode_ldr notsc id_aa64mmfr1.vh=0"},
		{nil, "8250.nr_uarts=8 i8042.noaux tpm_tis.interrupts=0 ramoops.mem_address=0x1", "8250.nr_uarts=8 i8042.noaux tpm_tis.interrupts=0 ramoops.mem_address=0x1"},
		{nil, "acpi.ec_delay=1000 acpi.debug_level=2 xen.fifo_events=0 xen.balloon_boot_timeout=9 pciehp.pciehp_poll_mode=1", "acpi.ec_delay=1000 xen.fifo_events=0 pciehp.pciehp_poll_mode=1"},
		{nil, "hugepages=128 hugepagesz=2M panic=0 init=/x rdinit=/y crashkernel=1G quiet mitigations=off nosmt isolcpus=1-3", ""},
		{nil, "acpi_backlight=native rcutree.kthread_prio=1 kvm.nx_huge_pages=off drm.edid_firmware=x sysctl.vm.swappiness=1 unknownword", ""},

		// Drivers that are built in.
		{nil, "sdhci.debug_quirks=0x40 megaraid_sas.msix_disable=1", ""},
		{scsi, "sdhci.debug_quirks=0x40 megaraid-sas.msix_disable=1 mpt3sas.max_queue_depth=1 xen_blkfront.max=1 vmd.x=1",
			"sdhci.debug_quirks=0x40 megaraid-sas.msix_disable=1 mpt3sas.max_queue_depth=1 xen_blkfront.max=1 vmd.x=1"},
		{scsi, "i915.modeset=0 zswap.enabled=1 snd_hda_intel.x=1 virtio_scsi.x=1 nosuch.x=1 rd.luks.uuid=1", ""},
		{&parts{needed: map[string]bool{"ahci": true}}, "nosuch.x=1 sdhci.y=2 systemd.unit=z rcutree.x=1", "nosuch.x=1 sdhci.y=2"}, // no list of its parts

		// Words that keep the disk away.
		{scsi, "scsi_mod.scan=none scsi-mod.scan=manual scsi_mod.scan=sync scsi_mod.max_luns=8", "scsi_mod.scan=sync scsi_mod.max_luns=8"},
		{scsi, "usbcore.nousb usbcore.authorized_default=0 nousb", "usbcore.nousb usbcore.authorized_default=0 nousb"},
		{usb, "usbcore.nousb usbcore.nousb=1 nousb=on usbcore.authorized_default=0 usbcore.authorized_default=2", ""},
		{usb, "usbcore.nousb=0 usbcore.authorized_default=1 usbcore.autosuspend=-1", "usbcore.nousb=0 usbcore.authorized_default=1 usbcore.autosuspend=-1"},
		{ata, "libata.force=disable libata.force=3:disable", "libata.force=3:disable"},
		{ata, "libata.force=noncq,disable", ""},
		{scsi, "libata.force=disable", "libata.force=disable"},
		{scsi, "module_blacklist=nouveau,virtio-scsi module_blacklist=sd_mod", "module_blacklist=nouveau"},
		{scsi, "initcall_blacklist=virtio_scsi_init,simpledrm_platform_driver_init", "initcall_blacklist=simpledrm_platform_driver_init"},
		{usb, "initcall_blacklist=usb_storage_driver_init,init_sd", ""},
		{driversOf("megaraid_sas"), "initcall_blacklist=megasas_init", ""},
		{driversOf("usbcore"), "initcall_blacklist=usb_init,acpi_cpufreq_init", "initcall_blacklist=acpi_cpufreq_init"},
		{scsi, "initcall_blacklist=vmcore_init,foo_init initcall_blacklist=populate_rootfs", "initcall_blacklist=foo_init"},
		{driversOf("virtio_pci"), "pci=off pci=nomsi,off pci=nomsi", "pci=nomsi"},
		{driversOf("virtio_mmio"), "pci=off", "pci=off"},
		{scsi, "initcall_blacklist=megasas_init", "initcall_blacklist=megasas_init"}, // not for this disk
	} {
		if got := strings.Join(hardware(tt.line, tt.parts), " "); got != tt.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.line, got, tt.want)
		}
	}
}

func TestWithoutKeepAway(t *testing.T) {
	for _, tt := range []struct{ module, params, want string }{
		{"scsi_mod", `scan=none max_luns=8 dev_flags="a b"`, `max_luns=8 dev_flags="a b"`},
		{"scsi_mod", "scan=async", "scan=async"},
		{"sd_mod", "scan=none", "scan=none"},
		{"usbcore", "nousb=1", "nousb=1"}, // the disk is elsewhere
	} {
		if got := driversOf("virtio_scsi", "sd_mod").withoutKeepAway(tt.module, tt.params); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.module, tt.params, got, tt.want)
		}
	}
}

func TestRefuses(t *testing.T) {
	dedicated, emergency := config.Default(), config.Default()
	emergency.Initramfs = "/boot/initrd.img"
	usb := driversOf("usb_storage", "sd_mod")
	unsigned := driversOf("sd_mod")
	unsigned.unsigned = "extra"
	for _, tt := range []struct {
		conf  *config.Config
		parts *parts
		good  string
		bad   string
	}{
		{dedicated, nil, "mem=nopentium memmap=2G!4G", "crashkernel=64M mem=1G memmap=exactmap memmap=1G$1G,2G!4G"},
		{dedicated, nil, "hugepages=0 hugepages=0:0 hugepagesz=2M default_hugepagesz=1G sysctl.vm.nr_hugepages=0",
			"hugepages=64 hugepages=0:0,1:512 sysctl.vm.nr_hugepages=9 sysctl/vm/nr_hugepages=9 hugetlb_cma=1G reserve_mem=12M:4096:trace kernelcore=64M movablecore=50%"},
		{dedicated, nil, "panic=10 panic=-1 sysctl.kernel.panic=5", "panic=0 panic=00 sysctl.kernel.panic=0"},
		{dedicated, nil, "sysctl.vm.overcommit_memory=1 sysctl.vm.min_free_kbytes=8192 sysctl.kernel.modules_disabled=0 initrd=/x initcall_blacklist=foo_init",
			"sysctl.vm.overcommit_memory=2 sysctl/vm/overcommit_memory=0 sysctl.vm.min_free_kbytes=500000 initrd=0x1000,1M " +
				"initcall_blacklist=vmcore_init initcall_blacklist=a,populate_rootfs initcall_blacklist=eventpoll_init"},
		{dedicated, driversOf("nvme"), "pci=nomsi", "pci=off pci=noaer,off sysctl.kernel.modules_disabled=1 sysctl/kernel/modules_disabled=1"},
		{dedicated, nil, "root=/dev/sda1 quiet log_buf_len=1M nr_cpus=2 nokaslr anything", "init=/bin/sh rdinit=/bin/sh initrdmem=1,2 elfcorehdr=0x1 dmcryptkeys=0x1 kgdbwait"},
		{dedicated, nil, "ukdump.debug ukdump.shell ukdump.final=halt", "ukdump.final=sleep ukdump.dbug ukdump.emergency"},
		{emergency, nil, "init=/sbin/init root=UUID=1 systemd.unit=rescue.target initrd=/x", "rdinit=/x hugepages=1 mem=1G panic=0 crashkernel=1M"},
		{dedicated, usb, "scsi_mod.scan=sync module_blacklist=nouveau,iTCO_wdt initcall_blacklist=foo_init libata.force=disable",
			"scsi_mod.scan=none scsi_mod.scan=manual usbcore.nousb nousb usbcore.authorized_default=0 module_blacklist=a,sd-mod initcall_blacklist=init_sd initcall_blacklist=usb_storage_driver_init nomodule"},
		{dedicated, driversOf("virtio_scsi"), "usbcore.nousb nousb=1 usbcore.authorized_default=0", ""},
		{emergency, nil, "scsi_mod.scan=none module_blacklist=sd_mod nomodule", ""},
		{dedicated, unsigned, "module.sig_enforce=0 lockdown=none", "module.sig_enforce module.sig_enforce=1 lockdown=integrity lockdown=confidentiality"},
		{dedicated, usb, "module.sig_enforce=1 lockdown=integrity", ""},
	} {
		b := &Build{parts: tt.parts}
		for w := range strings.FieldsSeq(tt.good) {
			if why := b.refuses(tt.conf, w); why != "" {
				t.Errorf("%s is refused: it %s", w, why)
			}
		}
		for w := range strings.FieldsSeq(tt.bad) {
			if b.refuses(tt.conf, w) == "" {
				t.Errorf("%s is not refused", w)
			}
		}
	}
}

// Errors of New, each with the file and the line.
func TestBootOptions(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"fine", "BOOT_OPTIONS=debug usbcore.nousb -- hugepages=1", ""},
		{"two words", "BOOT_OPTIONS=mem=1G debug init=/bin/sh",
			":2: BOOT_OPTIONS: mem=1G changes the memory that the capture kernel was given; init=/bin/sh has no effect: kdumpinit is PID 1"},
		{"too long", "BOOT_OPTIONS=" + strings.Repeat("x", 1800), ":2: BOOT_OPTIONS: the command line of the capture kernel would have "},
		{"limit of the image", "BOOT_OPTIONS=" + strings.Repeat("x", 1000), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := buildtest.New(t)
			m.Write("etc/ukdump.conf", "# first\n"+tt.line+"\n")
			_, err := New(options(t, m))
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "etc/ukdump.conf"+tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestInherited(t *testing.T) {
	got := inherited("BOOT_IMAGE=/x root=UUID=1 ro memmap=2G!4G memmap=1G$1G hugepages=9 mem=1G init=/nix/init crashkernel=1G quiet scsi_mod.scan=none ukdump.x=1 3 console=ttyS0 -- x", []string{"console=tty0"})
	if want := []string{"root=UUID=1", "ro", "memmap=2G!4G", "init=/nix/init", "scsi_mod.scan=none", "console=ttyS0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

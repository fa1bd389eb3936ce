package builder

import (
	"slices"
	"strings"

	"ukdump/internal/kmod"
)

// parts are the drivers of an image that words of the command line can touch. A nil
// parts stands for drivers that are not known.
type parts struct {
	modules  map[string]string // modules of the image: their paths in the module tree
	builtin  map[string]string // built-in parts of the kernel: the paths that they would have as modules
	needed   map[string]bool   // drivers without which a target cannot be reached
	inits    map[string]string // functions that start modules of the image: the module
	unsigned string            // a module of the image without a signature, "" if none
}

// storageDirs have the drivers that a capture kernel starts on its way to a disk, or
// in any case. A parameter of one that is built in is carried, because the same
// hardware needs it in every kernel.
var storageDirs = func() []string {
	var dirs []string
	for d := range strings.FieldsSeq("acpi amba ata base block bus clk cxl dax dma firmware gpio hv i2c input/serio iommu irqchip mailbox md message mfd " +
		"mmc mtd nvdimm nvme nvmem of pci phy pinctrl platform pmdomain power regulator reset rtc scsi soc spi spmi tty/serial ufs usb/core usb/host " +
		"usb/storage usb/dwc2 usb/dwc3 usb/phy usb/roles usb/typec virt virtio watchdog xen") {
		dirs = append(dirs, "kernel/drivers/"+d+"/")
	}
	return dirs
}()

// drives reports whether name is a parameter of a built-in driver that a target needs
// or that is in storageDirs. Of a kernel that does not list its parts, any may be one.
func (p *parts) drives(name string) bool {
	module, _, ok := strings.Cut(name, ".")
	if p == nil || !ok || p.modules[module] != "" { // the plan has the parameters of modules
		return false
	}
	if p.needed[module] || len(p.builtin) == 0 {
		return true
	}
	path := p.builtin[module]
	return slices.ContainsFunc(storageDirs, func(dir string) bool { return strings.HasPrefix(path, dir) })
}

// keepAway is a parameter with which the kernel finds no disks of a kind until user
// space asks for them. A running system can use such a disk; PID 1 cannot.
var keepAway = []struct {
	names string
	when  func(value string) bool
	dir   string // of the drivers in the module tree
	parts string // the same drivers by their names
}{
	{"scsi_mod.scan", func(v string) bool { return v == "none" || v == "manual" }, // drivers/scsi/scsi_scan.c
		"kernel/drivers/scsi/", "scsi_mod sd_mod"},
	{"usbcore.nousb nousb", isTrue, // drivers/usb/core/usb.c
		"kernel/drivers/usb/", usbParts},
	{"usbcore.authorized_default", func(v string) bool { return v == "0" || v == "2" }, // drivers/usb/core/hcd.c
		"kernel/drivers/usb/", usbParts},
	{"libata.force", func(v string) bool { // without a port: all of them
		first, _, _ := strings.Cut(v, ":")
		return slices.Contains(strings.Split(first, ","), "disable")
	}, "kernel/drivers/ata/", "libata ahci ata_piix"},
	{"pci", func(v string) bool { return slices.Contains(strings.Split(v, ","), "off") }, // arch/x86/pci/common.c
		"kernel/drivers/virtio/virtio_pci", "ahci ata_piix nvme virtio_pci " + pciParts},
}

const pciParts = "xhci_pci ehci_pci sdhci_pci megaraid_sas mpt3sas mptsas sym53c8xx vmw_pvscsi vmd hpsa smartpqi aacraid"

const usbParts = "usbcore usb_storage uas xhci_hcd xhci_pci ehci_hcd ehci_pci ohci_pci uhci_hcd"

// isTrue reports whether the kernel reads value as a true bool, as kstrtobool does. A
// parameter without a value is one.
func isTrue(value string) bool {
	return value == "" || strings.ContainsAny(value[:1], "yYtT1") || strings.EqualFold(value, "on")
}

// keptAway returns a needed driver that a parameter makes useless, "" if none.
func (p *parts) keptAway(name, value string) string {
	if p == nil {
		return ""
	}
	for _, k := range keepAway {
		if !slices.Contains(strings.Fields(k.names), name) || !k.when(value) {
			continue
		}
		for _, driver := range sorted(p.needed) {
			if strings.HasPrefix(p.path(driver), k.dir) || slices.Contains(strings.Fields(k.parts), driver) {
				return driver
			}
		}
	}
	return ""
}

func (p *parts) path(driver string) string {
	if path := p.modules[driver]; path != "" {
		return path
	}
	return p.builtin[driver]
}

func sorted(set map[string]bool) []string {
	var names []string
	for n := range set {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// loads returns the module that the image loads under a name of module_blacklist=, ""
// if none.
func (p *parts) loads(name string) string {
	if p == nil || p.modules[kmod.Normalise(name)] == "" {
		return ""
	}
	return kmod.Normalise(name)
}

// starts returns the driver that a function of initcall_blacklist= starts: a module of
// the image or a needed part of the kernel. It is "" if none is known to.
func (p *parts) starts(function string) string {
	if p == nil {
		return ""
	}
	if m := p.inits[function]; m != "" {
		return m
	}
	for _, driver := range sorted(p.needed) {
		if p.modules[driver] == "" && slices.Contains(initNames(driver), function) {
			return driver
		}
	}
	return ""
}

// oddInits are the initcalls of drivers that are named after something else.
var oddInits = map[string]string{
	"ata_piix": "piix_init", "dm_mod": "dm_init", "hv_storvsc": "storvsc_drv_init", "hv_vmbus": "hv_acpi_init", "libata": "ata_init",
	"md_mod": "md_init", "megaraid_sas": "megasas_init", "sdhci_pci": "sdhci_driver_init", "usbcore": "usb_init", "xen_blkfront": "xlblk_init",
}

// vitalInits are functions that initcall_blacklist= must not name, whatever the disk:
// what a capture lacks without each.
var vitalInits = map[string]string{
	"populate_rootfs":   "the image",     // init/initramfs.c
	"vmcore_init":       "/proc/vmcore",  // fs/proc/vmcore.c
	"init_elf_binfmt":   "programs",      // fs/binfmt_elf.c
	"futex_init":        "futex(2)",      // kernel/futex/core.c
	"eventpoll_init":    "epoll(7)",      // fs/eventpoll.c
	"anon_inode_init":   "epoll(7)",      // fs/anon_inodes.c
	"init_pipe_fs":      "pipes",         // fs/pipe.c
	"init_bio":          "block devices", // block/bio.c
	"genhd_device_init": "block devices", // block/genhd.c
}

// omitsInit returns what a function of initcall_blacklist= must not be blacklisted for,
// "" if it may be.
func (p *parts) omitsInit(function string) string {
	if what := vitalInits[function]; what != "" {
		return what
	}
	return p.starts(function)
}

// initNames returns the usual names of the initcall of a built-in driver.
func initNames(driver string) []string {
	stem := strings.TrimSuffix(driver, "_mod")
	return []string{
		driver + "_init", "_" + driver + "_init", "init_" + driver, "init_" + stem, driver + "_module_init", driver + "_init_module",
		driver + "_driver_init", driver + "_drv_init", driver + "_pci_driver_init", driver + "_init_fs", "init_" + driver + "_fs", oddInits[driver],
	}
}

// carried returns a word of the running kernel's command line as the capture kernel
// gets it, "" if it does not.
func carried(word string, p *parts) string {
	name, value := key(word), valueOf(word)
	r := ruleOf(word)
	switch {
	case r == nil && !p.drives(name), r != nil && r.fate != carry, p.keptAway(name, value) != "":
		return ""
	case name == "memmap":
		return listWord("memmap", strings.Split(pmem(value), ","), func(string) string { return "" })
	case name == "module_blacklist":
		return listWord("module_blacklist", strings.Split(value, ","), p.loads)
	case name == "initcall_blacklist":
		return listWord("initcall_blacklist", strings.Split(value, ","), p.omitsInit)
	}
	return word
}

// listWord returns NAME=LIST without the items for which omit returns something; "" if
// none remains.
func listWord(name string, items []string, omit func(string) string) string {
	items = slices.DeleteFunc(items, func(s string) bool { return s == "" || omit(s) != "" })
	if len(items) == 0 {
		return ""
	}
	return name + "=" + strings.Join(items, ",")
}

// withoutKeepAway returns the parameters of a module, as finit_module(2) takes them,
// without those that keep a needed disk away.
func (p *parts) withoutKeepAway(module, params string) string {
	words := slices.DeleteFunc(splitWords(params), func(w string) bool { return p.keptAway(key(module+"."+w), valueOf(w)) != "" })
	return strings.Join(words, " ")
}

// findParts fills in b.parts for the requests. The module tree is nil for a
// monolithic kernel, whose drivers are known by name alone.
func (b *Build) findParts(tree *kmod.Tree, requests []kmod.Request) error {
	p := &parts{modules: make(map[string]string), needed: make(map[string]bool), inits: make(map[string]string)}
	b.parts = p
	required := slices.DeleteFunc(slices.Clone(requests), func(r kmod.Request) bool { return r.Optional })
	if tree == nil {
		for _, r := range required {
			for _, n := range r.Names {
				p.needed[kmod.Normalise(strings.TrimPrefix(n, "fs-"))] = true
			}
		}
		return nil
	}
	p.builtin = tree.BuiltinPaths()
	res, err := tree.Resolve(required...)
	if err != nil {
		return b.explain(err)
	}
	for _, x := range res.Builtin {
		p.needed[x.Name] = true
	}
	for _, m := range res.Modules {
		if m.Dependency {
			continue // perhaps a soft one
		}
		p.needed[m.Name] = true
		for _, d := range tree.Depends(m.Name) {
			p.needed[d] = true
		}
	}
	return nil
}

// addPart notes a module of the image and its function that the kernel calls.
func (p *parts) addPart(m kmod.Module, info *kmod.Info) {
	p.modules[m.Name] = m.Path
	if info.Init != "" {
		p.inits[info.Init] = m.Name
	}
	if !info.Signed && p.unsigned == "" {
		p.unsigned = m.Name
	}
}

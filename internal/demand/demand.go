// Package demand estimates how much memory a capture needs, from the kernel, its
// image, the reservation and the machine, and corrects that by earlier captures.
//
// docs/measured.md has the measurements behind the constants.
package demand

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/kexec"
	"ukdump/internal/kfeature"
	"ukdump/internal/netplan"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = uint64(1) << 30
)

// What a kernel needs beside its own image until it has unpacked the initramfs, in
// bytes.
const (
	// afterInit is the memory above init_size of an x86 kernel with tracing. Kernels
	// without it have captured with init_size alone. init_size has memory for unpacking
	// the kernel that is free again afterwards: some 13 MiB of Debian's kernels.
	afterInit = 3 * mib
	// afterImage takes the place of these 13 MiB for an arm64 kernel, whose image_size
	// has nothing but the kernel.
	afterImage = 13 * mib
	// afterSmallImage is the same for an arm64 kernel without tracing. One was measured.
	afterSmallImage = 7 * mib
	// largePages is what stacks, page tables and caches take more with pages of 64 KiB. One
	// kernel was measured.
	largePages = 15 * mib
	// sinceLinux7 is needed in addition by Linux 7. No option is known to be the reason.
	sinceLinux7 = 7 * mib
	// sinceSmallLinux7 is the same for an x86 kernel without tracing. One for arm64 needed
	// no more than with Linux 6.12.
	sinceSmallLinux7 = 3 * mib
	// builtin is for builtinDrivers of a kernel without tracing, which start although no
	// target needs them.
	builtin = 2 * mib
	// btrfs is what btrfs reserves to compress, see kfeature.BtrfsAtMount.
	btrfs = 17 * mib / 5
	// tracefs is for the inodes that tracefs makes before Linux 6.6.
	tracefs = 19 * mib / 2
	// systemd is for the services of a distribution's initramfs.
	systemd = 10 * mib
	// perCPU is for each processor but the first: its areas, stacks, caches and queues
	// of devices.
	perCPU = mib
	// perPCI is for each device on a PCI bus, perIOMMU for the table of an IOMMU that
	// remaps interrupts (INTR_REMAP_PAGE_ORDER in drivers/iommu/intel/irq_remapping.h).
	perPCI, perIOMMU = 10 * kib, mib
)

// bounceSize is the size of the bounce buffers that a kernel with memory above 4 GiB
// makes below that (IO_TLB_DEFAULT_SIZE in include/linux/swiotlb.h).
const bounceSize = 64 * mib

// linux7 is the first version that needs sinceLinux7. Versions between 6.12 and 7.2
// were not measured.
var linux7 = kfeature.Version{7, 0}

// builtinDrivers are the options that one kernel of docs/measured.md had and the other one
// had not. How much each of them takes was not measured.
var builtinDrivers = []string{"CONFIG_XFS_FS", "CONFIG_F2FS_FS", "CONFIG_EXFAT_FS", "CONFIG_USB", "CONFIG_MMC"}

// Capture is a capture kernel with its image. Sizes are in bytes.
type Capture struct {
	Arch      string // GOARCH
	Release   string // as uname -r prints it
	PageSize  int    // 0 if it is not known
	InitSize  int64  // as kimage.Image.InitSize
	Cmdline   string
	Packed    int64 // image
	Unpacked  int64 // files of the image
	Emergency bool  // the image is the distribution's own
	LogOnly   bool  // no vmcore is saved
	Uploads   bool  // a vmcore is uploaded in parts
	// Config is the configuration of the kernel. nil, if it is not known, stands for that
	// of a distribution.
	Config kfeature.Config
}

// Machine has the facts about the machine that add to the demand.
type Machine struct {
	CPUs   int // that can be there, 1 at least
	PCI    int // devices
	IOMMUs int
}

// ReadMachine reads the machine whose sys is below root.
func ReadMachine(root string) Machine {
	count := func(dir string) int {
		entries, _ := os.ReadDir(filepath.Join(root, dir))
		return len(entries)
	}
	m := Machine{CPUs: 1, PCI: count("sys/bus/pci/devices"), IOMMUs: count("sys/class/iommu")}
	possible, _ := os.ReadFile(filepath.Join(root, "sys/devices/system/cpu/possible")) // 0-7
	_, last, ok := strings.Cut(strings.TrimSpace(string(possible)), "-")
	if n, err := strconv.Atoi(last); ok && err == nil && n > 0 && n < maxCPUs {
		m.CPUs = n + 1
	}
	return m
}

// maxCPUs is the highest NR_CPUS of x86 and arm64 (arch/x86/Kconfig).
const maxCPUs = 8192

// Part is a part of the demand.
type Part struct {
	Name  string `json:"part"`
	Bytes int64  `json:"bytes"`
}

// Parts returns what the memory that c needs in the reservation r is made of.
func (c *Capture) Parts(r *kexec.Memory, m Machine) []Part {
	list := []Part{
		{"kernel", c.kernel()}, {"image, packed", c.Packed}, {"image, unpacked", c.Unpacked},
		{"descriptors of pages", c.pages(r)},
	}
	add := func(name string, n int64) {
		if n > 0 {
			list = append(list, Part{name, n})
		}
	}
	if kfeature.Eventfs.In(c.Release, nil) == kfeature.No && !c.lacks(kfeature.Tracing) && c.word("lockdown") != "confidentiality" {
		add("tracefs", tracefs)
	}
	if c.lacks(kfeature.Tracing) && slices.ContainsFunc(builtinDrivers, c.builtIn) {
		add("built-in drivers", builtin)
	}
	if c.builtIn("CONFIG_BTRFS_FS") && kfeature.BtrfsAtMount.In(c.Release, nil) == kfeature.No {
		add("btrfs", btrfs)
	}
	if c.PageSize == 64<<10 {
		add("pages of 64 KiB", largePages)
	}
	if c.Emergency {
		add("services", systemd)
	}
	add("part of an upload", c.upload())
	add("processors", int64(c.cpus(m)-1)*perCPU)
	add("devices", int64(m.PCI)*perPCI+int64(m.IOMMUs)*perIOMMU)
	return append(list, c.byWords(r, m)...)
}

// upload returns the bytes of the vmcore that wait in memory for a server.
func (c *Capture) upload() int64 {
	if c.Uploads && !c.LogOnly {
		return netplan.LeastPart
	}
	return 0
}

// kernel returns the memory that the kernel needs beside image, devices and processors, in
// bytes.
func (c *Capture) kernel() int64 {
	n, tracing := c.InitSize, !c.lacks(kfeature.Tracing)
	switch {
	case c.Arch != "amd64" && !tracing:
		n += afterSmallImage
	case c.Arch != "amd64":
		n += afterImage
	}
	if tracing {
		n += afterInit
	}
	switch {
	case linux7.After(c.Release):
	case tracing:
		n += sinceLinux7
	case c.Arch == "amd64":
		n += sinceSmallLinux7
	}
	return n
}

// lacks reports whether the kernel is known to be without f.
func (c *Capture) lacks(f kfeature.Feature) bool { return f.In(c.Release, c.Config) == kfeature.No }

// builtIn reports whether the kernel is known to have an option that is no module.
func (c *Capture) builtIn(option string) bool {
	return c.Config != nil && c.Config.Get(option) == "y"
}

// Bytes returns the estimate of the memory that c needs, and how much of the
// reservation it can use, both in bytes.
func (c *Capture) Bytes(r *kexec.Memory, m Machine) (need, have int64) {
	for _, p := range c.Parts(r, m) {
		need += p.Bytes
	}
	return need, r.Total() - Bounce(r, c.Release)
}

// pages returns the size of the descriptors of pages. The kernel makes them for whole
// sections (SECTION_SIZE_BITS in asm/sparsemem.h), 64 bytes a page. On x86 the first
// MiB is a section of its own (arch/x86/kernel/crash.c).
func (c *Capture) pages(r *kexec.Memory) int64 {
	page, section := int64(4096), int64(128)*mib
	if c.PageSize > 0 {
		page = int64(c.PageSize)
	}
	if c.Arch == "arm64" && page == 64*kib {
		section = 512 * mib
	}
	sections := make(map[uint64]bool)
	if c.Arch == "amd64" {
		sections[0] = true
	}
	for _, x := range r.Ranges {
		for i := x.Start / uint64(section); i <= x.End/uint64(section) && len(sections) < 1<<20; i++ {
			sections[i] = true
		}
	}
	n := int64(len(sections))
	if r.Ranges == nil {
		n += (r.Total() + section - 1) / section
	}
	return n * section / page * 64
}

// cpus returns how many processors c starts.
func (c *Capture) cpus(m Machine) int {
	cpus := max(1, m.CPUs)
	if n, err := strconv.Atoi(c.word("nr_cpus")); err == nil && n > 0 {
		cpus = min(n, cpus)
	}
	if c.Config == nil {
		return cpus
	}
	if n, err := strconv.Atoi(c.Config.Get("CONFIG_NR_CPUS")); err == nil && n > 0 {
		cpus = min(n, cpus)
	}
	return cpus
}

// word returns the value of the last word with that name on the command line, ""
// without one.
func (c *Capture) word(name string) string {
	words := strings.Fields(c.Cmdline)
	for _, w := range slices.Backward(words) {
		if value, ok := strings.CutPrefix(w, name+"="); ok {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// smallerBounce is the first version that makes smaller bounce buffers if 64 MiB do
// not fit: 6.2, and 6.1 as it is maintained (swiotlb_init_remap in kernel/dma/swiotlb.c).
var smallerBounce = kfeature.Version{6, 1}

// Bounce returns the size of the bounce buffers that a kernel of that release makes in
// the part of the reservation below 4 GiB, in bytes. Without memory above that, it makes
// none (arch/x86/kernel/pci-dma.c, arch/arm64/mm/init.c).
func Bounce(r *kexec.Memory, release string) int64 {
	if !r.Above(4 * gib) {
		return 0
	}
	low, size := r.Below(4*gib), bounceSize
	for size > low && size > mib && !smallerBounce.After(release) {
		size /= 2
	}
	if size > low {
		return 0
	}
	return size
}

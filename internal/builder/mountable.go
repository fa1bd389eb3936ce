package builder

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ukdump/internal/host"
	"ukdump/internal/kfeature"
)

// checkFilesystem refuses a kernel that is known not to mount a file system for
// writing. The running kernel has it mounted, which counts more than any table: it is
// never refused. If nobody knows whether another kernel mounts it, that is a warning.
func (b *Build) checkFilesystem(s *host.Storage) error {
	if b.runs() {
		if len(s.Unknown) > 0 {
			b.warn("%s on %s has features that ukdump does not know (%s): the running kernel mounts it, another kernel may not", s.FSType, s.Stack[0].Name, strings.Join(s.Unknown, ", "))
		}
		return nil
	}
	if len(s.Unknown) > 0 {
		return b.cannotMount(s, "that has features that ukdump does not know ("+strings.Join(s.Unknown, ", ")+")")
	}
	uses := slices.Clone(s.Uses)
	if f, ok := kfeature.BlockSize(kind(s.FSType), s.BlockSize, b.pageSize()); ok && s.BlockSize > 0 {
		uses = append(uses, f)
	}
	var unsure []string
	for _, f := range uses {
		switch f.In(b.Kernel.Release, b.conf) {
		case kfeature.No:
			if err := b.lacksFeature(s, f); err != nil {
				return err
			}
		case kfeature.Unknown:
			unsure = append(unsure, strings.TrimSuffix(f.Name+" needs "+f.OptionIn(b.Kernel.Release), " needs "))
		}
	}
	switch {
	case len(unsure) > 0:
		b.warn("unknown whether %s mounts the %s that %s is on: %s", b.Kernel.Release, s.FSType, s.Dir, strings.Join(unsure, ", "))
	case s.BlockSize == 0 && s.FSType != "vfat" && s.FSType != "exfat":
		b.warn("unknown whether %s mounts the %s that %s is on: its superblock cannot be read", b.Kernel.Release, s.FSType, s.Dir)
	}
	return nil
}

// lacksFeature returns the error about a feature that the kernel lacks. If only its
// age speaks against the kernel, and the running one should be too old as well, then
// the distribution has backported support.
func (b *Build) lacksFeature(s *host.Storage, f kfeature.Feature) error {
	option := f.OptionIn(b.Kernel.Release)
	configured := option != "" && b.conf.Known() && f.In(b.Kernel.Release, nil) != kfeature.No
	running, _ := b.host.Kernel()
	switch {
	case configured:
		return b.cannotMount(s, fmt.Sprintf("that has %s, which needs %s (not set in %s)", f.Name, option, b.conf.Source))
	case f.Until != kfeature.Version{}:
		return b.cannotMount(s, "that has "+f.Name)
	case f.Since.After(running):
		return nil
	}
	return b.cannotMount(s, fmt.Sprintf("that has %s, which Linux knows since %s", f.Name, f.Since))
}

func (b *Build) cannotMount(s *host.Storage, why string) error {
	return &KernelError{b.Kernel.Path, fmt.Sprintf("%s cannot write to the %s that %s is on: %s", b.Kernel.Release, s.FSType, s.Dir, why),
		"Choose another kernel with KERNEL=, or another file system with TARGET=."}
}

// runs reports whether the capture kernel is the running one.
func (b *Build) runs() bool {
	running, err := b.host.Kernel()
	return err == nil && running == b.Kernel.Release
}

// CanLend reports whether the running kernel is known to lend reserved memory until a
// crash, and the dump is without the pages of programs, which are lost there.
func (b *Build) CanLend() bool {
	return b.runs() && b.Initramfs == "" && (b.Plan.LogOnly || b.DumpLevel&userPages != 0) &&
		kfeature.LentReservation.For(b.Kernel.Arch) && kfeature.LentReservation.In(b.Kernel.Release, b.conf) == kfeature.Yes
}

// pageSize returns the size of the capture kernel's pages in bytes. An arm64 kernel
// that does not say has those of most.
func (b *Build) pageSize() int {
	if b.Kernel.PageSize == 0 {
		return 4096
	}
	return b.Kernel.PageSize
}

// kind maps the types that one driver mounts to one.
func kind(typ string) string {
	if typ == "ext2" || typ == "ext3" {
		return "ext4"
	}
	return typ
}

// checkIOMMU warns of a kernel without the driver of the IOMMU that translates the memory
// accesses of a target's controller.
func (b *Build) checkIOMMU(target string, devices []host.Device) {
	for _, d := range devices {
		for _, m := range kfeature.IOMMUs {
			if !strings.HasPrefix(d.IOMMU, m.Prefix) || m.In(b.Kernel.Release, b.conf) != kfeature.No {
				continue
			}
			b.warn("%s: the disk may not answer after a crash: %s was built without %s (%s), and %s translates the memory accesses of %s",
				target, b.Kernel.Release, m.Option, b.conf.Source, d.IOMMU, path.Base(d.Path))
			return
		}
	}
}

// checkTables refuses a kernel without the parser of a partition table below a target.
func (b *Build) checkTables(stack []host.BlockDevice) error {
	for _, d := range stack {
		f, ok := kfeature.PartitionTables[d.Table]
		if ok && f.In(b.Kernel.Release, b.conf) == kfeature.No {
			return lacking(b.Kernel, b.conf, "it does not see "+d.Name+", a partition of a disk with a table of the kind "+f.Name, f)
		}
	}
	return nil
}

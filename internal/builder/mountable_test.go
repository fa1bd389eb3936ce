package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/host"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
	"ukdump/internal/plan"
)

func TestCanLend(t *testing.T) {
	const running = "7.2.13+deb14-amd64"
	h := hostOf(t, running)
	for _, tt := range []struct {
		release, arch, conf, initramfs string
		level                          int
		want                           bool
	}{
		{running, "amd64", "CONFIG_CMA=y", "", 31, true},
		{running, "amd64", "CONFIG_CMA=y", "", 8, true},
		{running, "amd64", "CONFIG_CMA=y", "", 23, false},        // the dump has pages of programs
		{running, "amd64", "CONFIG_CMA=y", "/boot/i", 31, false}, // somebody else's makedumpfile
		{running, "amd64", "# CONFIG_CMA is not set", "", 31, false},
		{running, "amd64", "", "", 31, false},
		{running, "arm64", "CONFIG_CMA=y", "", 31, false},
		{"7.1.0", "amd64", "CONFIG_CMA=y", "", 31, false}, // the running kernel reserves
	} {
		b := &Build{host: h, Plan: new(plan.Plan), Kernel: &kimage.Image{Release: tt.release, Arch: tt.arch}, DumpLevel: tt.level, Initramfs: tt.initramfs}
		if tt.conf != "" {
			b.conf = kernelConfig(t, "CONFIG_Y=y", tt.conf)
		}
		if got := b.CanLend(); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
		if b.Plan.LogOnly = true; tt.level == 23 && !b.CanLend() {
			t.Errorf("%+v: no vmcore has pages of programs, but nothing is lent", tt)
		}
	}
	old := &Build{host: hostOf(t, "6.12.1"), Plan: new(plan.Plan), Kernel: &kimage.Image{Release: "6.12.1", Arch: "amd64"}, DumpLevel: 31, conf: kernelConfig(t, "CONFIG_CMA=y")}
	if old.CanLend() {
		t.Error("Linux 6.12 lends")
	}
}

// hostOf is a machine that runs a kernel.
func hostOf(t *testing.T, running string) *host.Host {
	t.Helper()
	root := t.TempDir()
	osrelease := filepath.Join(root, "proc/sys/kernel/osrelease")
	if err := os.MkdirAll(filepath.Dir(osrelease), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(osrelease, []byte(running+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A file system that only the running kernel can write to is no target of another one.
func TestCheckFilesystem(t *testing.T) {
	const running = "7.5.0-generic"
	h := hostOf(t, running)
	feature := func(flags []kfeature.Flag, name string) []kfeature.Feature {
		for _, f := range flags {
			if f.Name == name {
				return []kfeature.Feature{f.Feature}
			}
		}
		t.Fatal(name)
		return nil
	}
	v4 := []kfeature.Feature{kfeature.XFSVersion4}
	for _, tt := range []struct {
		name   string
		kernel string
		conf   string // "" for unknown
		typ    string
		uses   []kfeature.Feature
		flags  []string
		block  int
		err    string // part of it, "" for none
		warn   string // part of it, "" for none
	}{
		{"nothing special", "5.10.0", "CONFIG_X=y", "xfs", nil, nil, 4096, "", ""},
		{"nothing special, no configuration", "5.10.0", "", "ext4", nil, nil, 1024, "", ""},
		{"too old", "5.10.0", "CONFIG_X=y", "xfs", feature(kfeature.XFSIncompat, "nrext64"), nil, 4096, "5.10.0 cannot write to the xfs that /var/crash is on: that has nrext64, which Linux knows since 5.19", ""},
		{"new enough", "5.19.0", "CONFIG_X=y", "xfs", feature(kfeature.XFSIncompat, "nrext64"), nil, 4096, "", ""},
		{"added by the distribution", "5.10.0", "CONFIG_X=y", "xfs", []kfeature.Feature{{Name: "f", Since: kfeature.Version{99, 0}}}, nil, 4096, "", ""},
		{"version 4 of xfs", "7.2.0", "CONFIG_X=y", "xfs", v4, nil, 4096, "7.2.0 cannot write to the xfs that /var/crash is on: that has format version 4 (crc=0), which needs CONFIG_XFS_SUPPORT_V4 (not set in CONF)", ""},
		{"version 4 of xfs, before the option", "5.4.0", "CONFIG_X=y", "xfs", v4, nil, 4096, "", ""},
		{"version 4 of xfs, set", "6.12.0", "CONFIG_XFS_SUPPORT_V4=y", "xfs", v4, nil, 4096, "", ""},
		{"version 4 of xfs, no configuration", "7.2.0", "", "xfs", v4, nil, 4096, "", "unknown whether 7.2.0 mounts the xfs that /var/crash is on: format version 4 (crc=0) needs CONFIG_XFS_SUPPORT_V4"},
		{"version 4 of xfs on the running kernel", running, "CONFIG_X=y", "xfs", v4, nil, 4096, "", ""},
		{"ascii-ci", "7.2.0", "# CONFIG_XFS_SUPPORT_ASCII_CI is not set", "xfs", feature(kfeature.XFSVersion, "ASCII case folding (ascii-ci=1)"), nil, 4096, "ascii-ci=1), which needs CONFIG_XFS_SUPPORT_ASCII_CI", ""},
		{"ascii-ci before the option", "6.1.0", "CONFIG_X=y", "xfs", feature(kfeature.XFSVersion, "ASCII case folding (ascii-ci=1)"), nil, 4096, "", ""},
		{"realtime", "6.1.0", "CONFIG_X=y", "xfs", []kfeature.Feature{kfeature.XFSRealtime}, nil, 4096, "a realtime section, which needs CONFIG_XFS_RT", ""},
		{"needs repair", "7.2.0", "CONFIG_X=y", "xfs", feature(kfeature.XFSIncompat, "needsrepair"), nil, 4096, "that has needsrepair", ""},
		{"large blocks on xfs", "6.11.0", "CONFIG_TRANSPARENT_HUGEPAGE=y", "xfs", nil, nil, 16384, "blocks larger than pages, which Linux knows since 6.12", ""},
		{"large blocks on xfs, new", "6.12.0", "CONFIG_TRANSPARENT_HUGEPAGE=y", "xfs", nil, nil, 16384, "", ""},
		{"large blocks on xfs without huge pages", "6.12.0", "CONFIG_X=y", "xfs", nil, nil, 16384, "which needs CONFIG_TRANSPARENT_HUGEPAGE", ""},
		{"blocks of 64 KiB on ext4", "6.12.0", "CONFIG_TRANSPARENT_HUGEPAGE=y", "ext4", nil, nil, 65536, "blocks larger than pages, which Linux knows since 6.19", ""},
		{"blocks of 64 KiB on ext3", "6.12.0", "CONFIG_TRANSPARENT_HUGEPAGE=y", "ext3", nil, nil, 65536, "blocks larger than pages, which Linux knows since 6.19", ""},
		{"sectors of 16 KiB on btrfs", "7.2.0", "# CONFIG_BTRFS_EXPERIMENTAL is not set", "btrfs", nil, nil, 16384, "which needs CONFIG_BTRFS_EXPERIMENTAL", ""},
		{"sectors of 16 KiB on btrfs, old", "6.12.0", "CONFIG_X=y", "btrfs", nil, nil, 16384, "which Linux knows since 6.18", ""},
		{"blocks of 16 KiB on f2fs", "7.2.0", "CONFIG_X=y", "f2fs", nil, nil, 16384, "blocks of another size than pages", ""},
		{"case folding", "6.1.0", "CONFIG_X=y", "ext4", feature(kfeature.Ext4Incompat, "casefold"), nil, 4096, "casefold, which needs CONFIG_UNICODE", ""},
		{"quota", "6.1.0", "CONFIG_QFMT_V2=m", "ext4", feature(kfeature.Ext4ReadOnly, "quota"), nil, 4096, "", ""},
		{"quota without", "6.1.0", "CONFIG_X=y", "ext4", feature(kfeature.Ext4ReadOnly, "quota"), nil, 4096, "quota, which needs CONFIG_QFMT_V2", ""},
		{"unknown flags", "6.1.0", "CONFIG_X=y", "ext4", nil, []string{"incompat 0x80000"}, 4096, "that has features that ukdump does not know (incompat 0x80000)", ""},
		{"unknown flags of the running kernel", running, "CONFIG_X=y", "ext4", nil, []string{"incompat 0x80000"}, 4096, "", "ext4 on vda has features that ukdump does not know (incompat 0x80000): the running kernel mounts it, another kernel may not"},
		{"superblock not readable", "6.1.0", "CONFIG_X=y", "ext4", nil, nil, 0, "", "its superblock cannot be read"},
		{"superblock not readable, running", running, "CONFIG_X=y", "ext4", nil, nil, 0, "", ""},
		{"vfat", "6.1.0", "CONFIG_X=y", "vfat", nil, nil, 0, "", ""},
	} {
		b := &Build{host: h, Kernel: &kimage.Image{Release: tt.kernel, PageSize: 4096}}
		source := ""
		if tt.conf != "" {
			b.conf = kernelConfig(t, "CONFIG_Y=y", tt.conf)
			source = b.conf.Source
		}
		err := b.checkFilesystem(&host.Storage{Dir: "/var/crash", FSType: tt.typ, Uses: tt.uses, Unknown: tt.flags, BlockSize: tt.block,
			Stack: []host.BlockDevice{{Name: "vda"}}})
		text := ""
		if err != nil {
			text = strings.ReplaceAll(err.Error(), source, "CONF")
		}
		if !strings.Contains(text, tt.err) || tt.err == "" && err != nil {
			t.Errorf("%s: got %v, want %q", tt.name, text, tt.err)
		}
		warnings := strings.Join(b.Warnings, "\n")
		if !strings.Contains(warnings, tt.warn) || tt.warn == "" && warnings != "" {
			t.Errorf("%s: warnings %q, want %q", tt.name, warnings, tt.warn)
		}
	}
	// Pages of 64 KiB.
	b := &Build{host: h, Kernel: &kimage.Image{Release: "5.10.0", PageSize: 65536}}
	for typ, want := range map[string]bool{"ext4": false, "xfs": false, "btrfs": true, "f2fs": true} {
		err := b.checkFilesystem(&host.Storage{Dir: "/d", FSType: typ, BlockSize: 4096})
		if (err != nil) != want {
			t.Errorf("%s with blocks of 4 KiB and pages of 64: %v", typ, err)
		}
	}
}

func TestCheckTables(t *testing.T) {
	for _, tt := range []struct {
		table, conf, want string
	}{
		{"gpt", "CONFIG_EFI_PARTITION=y", ""},
		{"gpt", "CONFIG_MSDOS_PARTITION=y", "kernel /k: 6.1 was built without CONFIG_EFI_PARTITION (CONF): it does not see sda1, a partition of a disk with a table of the kind GPT"},
		{"dos", "CONFIG_EFI_PARTITION=y", "without CONFIG_MSDOS_PARTITION"},
		{"mac", "# CONFIG_MAC_PARTITION is not set", "without CONFIG_MAC_PARTITION"},
		{"bsd", "CONFIG_MSDOS_PARTITION=y", "without CONFIG_BSD_DISKLABEL"},
		{"cmdline", "CONFIG_MSDOS_PARTITION=y", "without CONFIG_CMDLINE_PARTITION"},
		{"sun", "CONFIG_SUN_PARTITION=y", ""},
		{"", "CONFIG_X=y", ""},
		{"exotic", "CONFIG_X=y", ""}, // not known
		{"gpt", "", ""},
	} {
		b := &Build{Kernel: &kimage.Image{Path: "/k", Release: "6.1"}}
		source := "CONF"
		if tt.conf != "" {
			b.conf = kernelConfig(t, "CONFIG_Y=y", tt.conf)
			source = b.conf.Source
		}
		err := b.checkTables([]host.BlockDevice{{Name: "vg-lv"}, {Name: "sda1", Table: tt.table}})
		text := ""
		if err != nil {
			text = strings.ReplaceAll(err.Error(), source, "CONF")
		}
		if !strings.Contains(text, tt.want) || tt.want == "" && err != nil {
			t.Errorf("%s with %q: got %q, want %q", tt.table, tt.conf, text, tt.want)
		}
	}
}

func TestCheckSignature(t *testing.T) {
	h, err := host.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, conf string
		signed     bool
		want       string
	}{
		{"any module", "CONFIG_MODULE_SIG=y", false, ""},
		{"unknown configuration", "", false, ""},
		{"forced", "CONFIG_MODULE_SIG_FORCE=y", false, "kernel /k: 6.1 loads only signed modules (CONFIG_MODULE_SIG_FORCE in CONF), and extra/foo.ko has no signature"},
		{"forced, signed", "CONFIG_MODULE_SIG_FORCE=y", true, ""},
		{"locked down for integrity", "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y", false, "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY"},
		{"locked down for confidentiality", "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY=y", false, "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY"},
		{"not locked down", "CONFIG_LOCK_DOWN_KERNEL_FORCE_NONE=y", false, ""},
	} {
		b := &Build{host: h, Kernel: &kimage.Image{Path: "/k", Release: "6.1"}}
		source := "CONF"
		if tt.conf != "" {
			b.conf = kernelConfig(t, "CONFIG_Y=y", tt.conf)
			source = b.conf.Source
		}
		text := ""
		if err := b.checkSignature("extra/foo.ko", tt.signed); err != nil {
			text = strings.ReplaceAll(err.Error(), source, "CONF")
		}
		if !strings.Contains(text, tt.want) || tt.want == "" && text != "" {
			t.Errorf("%s: got %q, want %q", tt.name, text, tt.want)
		}
		// The key may be one that the kernel does not have.
		if unsure := tt.signed && tt.name == "forced, signed"; unsure != (len(b.Warnings) > 0) {
			t.Errorf("%s: warnings %q", tt.name, b.Warnings)
		}
	}
}

func TestCheckIOMMU(t *testing.T) {
	for _, tt := range []struct {
		name, conf, iommu string
		warn              string
	}{
		{"AMD, not built", "# CONFIG_AMD_IOMMU is not set", "ivhd0", "/d: the disk may not answer after a crash: 6.1 was built without CONFIG_AMD_IOMMU (CONF), and ivhd0 translates the memory accesses of 0000:01:00.0"},
		{"AMD", "CONFIG_AMD_IOMMU=y", "ivhd0", ""},
		{"Intel, not built", "CONFIG_AMD_IOMMU=y", "dmar3", "without CONFIG_INTEL_IOMMU"},
		{"arm64, other version", "CONFIG_ARM_SMMU=y", "smmu3.0x0000000009050000", "without CONFIG_ARM_SMMU_V3"},
		{"arm64", "CONFIG_ARM_SMMU=y", "smmu.0x0000000009050000", ""},
		{"not translated", "CONFIG_X=y", "", ""},
		{"one that is not known", "CONFIG_X=y", "virtio0", ""},
		{"unknown configuration", "", "dmar0", ""},
	} {
		b := &Build{Kernel: &kimage.Image{Release: "6.1"}}
		source := "CONF"
		if tt.conf != "" {
			b.conf = kernelConfig(t, "CONFIG_Y=y", tt.conf)
			source = b.conf.Source
		}
		b.checkIOMMU("/d", []host.Device{{Path: "/sys/devices/pci0000:00"}, {Path: "/sys/devices/pci0000:00/0000:01:00.0", IOMMU: tt.iommu}})
		got := strings.ReplaceAll(strings.Join(b.Warnings, "; "), source, "CONF")
		if !strings.Contains(got, tt.warn) || tt.warn == "" && got != "" {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.warn)
		}
	}
}

package builder

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/initramfs"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
)

// One word a line, so that a difference is a line.
func TestCommandLine(t *testing.T) {
	const running = `BOOT_IMAGE=/vmlinuz-6.1 root=UUID=1 ro console=tty0 console=ttyS0,115200n8 crashkernel=256M quiet ` +
		`intel_iommu=on nvme-core.io_timeout=60 nvme_core.multipath=N module_blacklist=nouveau libata.force="1:1.5G, 2:noncq" ` +
		`init=/bin/sh panic=0 acpi=strict -- console=never`
	for _, arch := range []string{"amd64", "arm64"} {
		got := CommandLine(arch, nil, nil, nil, running, []string{lockdownWord}, `nr_cpus=2  ukdump.debug dyndbg="file x +p"`)
		words := splitWords(got)
		if strings.Join(words, " ") != got {
			t.Errorf("%s: not the same once more: %q", arch, got)
		}
		var b bytes.Buffer
		for _, w := range words {
			b.WriteString(w + "\n")
		}
		buildtest.Golden(t, "cmdline-"+arch+".txt", b.Bytes())
	}
}

// A word goes if the kernel is known not to know it.
func TestCommandLineOptions(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		all := splitWords(CommandLine(arch, nil, nil, nil, "", nil, ""))
		for word, f := range kfeature.Words {
			option := f.Option
			if !slices.Contains(all, word) {
				if slices.Contains(archWords[arch], word) {
					t.Errorf("%s: without a configuration: no %s", arch, word)
				}
				continue
			}
			var others []string
			for _, o := range kfeature.Words {
				if o.Option != option {
					others = append(others, o.Option+"=y")
				}
			}
			for _, tt := range []struct {
				set  string
				want bool
			}{
				{option + "=y", true},
				{"# " + option + " is not set", false},
				{"", false}, // depends on an option that is not set
			} {
				got := splitWords(CommandLine(arch, kernelConfig(t, append(others, tt.set)...), nil, nil, "", nil, ""))
				want := slices.Clone(all)
				if !tt.want {
					want = slices.DeleteFunc(want, func(w string) bool { return kfeature.Words[w].Option == option })
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: %q: got %q\nwant %q", arch, tt.set, got, want)
				}
			}
			// The user knows better.
			if got := CommandLine(arch, kernelConfig(t, others...), nil, nil, "", nil, word); !strings.HasSuffix(got, " "+word) {
				t.Errorf("%s: BOOT_OPTIONS=%s was dropped", arch, word)
			}
		}
	}
}

func TestHardware(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"", ""},
		{"root=/dev/sda1 quiet splash crashkernel=1G mem=4G maxcpus=4 init=/x", ""},
		{"console", "console"},
		{"consoleblank=0 consolex=1 acpi_fake=1 pcix=1", ""},
		{"pci=noaer iommu=pt iommu.passthrough=1", "pci=noaer iommu=pt iommu.passthrough=1"},
		{"virtio_mmio.device=4K@0xd0000000:5 xen_nopv nopv=x xen_emul_unplug=never", "virtio_mmio.device=4K@0xd0000000:5 xen_nopv nopv=x xen_emul_unplug=never"},
		{"nvme-core.a=1 nvme_core.b=2 usb-storage.quirks=1:2:u", "nvme-core.a=1 nvme_core.b=2 usb-storage.quirks=1:2:u"},
		{"uas.a=1 xhci_hcd.quirks=0x10 xhci-hcd.b usbcore.autosuspend=-1", "uas.a=1 xhci_hcd.quirks=0x10 xhci-hcd.b usbcore.autosuspend=-1"},
		{"clk_ignore_unused pd_ignore_unused regulator_ignore_unused fw_devlink=off fw_devlink.strict=1 deferred_probe_timeout=30",
			"clk_ignore_unused pd_ignore_unused regulator_ignore_unused fw_devlink=off fw_devlink.strict=1 deferred_probe_timeout=30"},
		{"arm64.nopauth arm64.nobti irqchip.gicv3_nolpi=1 arm64", "arm64.nopauth arm64.nobti irqchip.gicv3_nolpi=1"},
		{"idle=poll intel_idle.max_cstate=1 processor.max_cstate=1 idlex=1", "idle=poll intel_idle.max_cstate=1 processor.max_cstate=1"},
		{"x2apic-phys no-timer-check", "x2apic-phys no-timer-check"}, // '-' and '_' are the same
		{`foo="a console=tty0 b" console=tty1`, "console=tty1"},
		{`libata.force="1:1.5G 2:noncq"`, `libata.force="1:1.5G 2:noncq"`},
		{"console=tty0 -- console=tty1", "console=tty0"},
		{"efi=noruntime --", "efi=noruntime"},
	} {
		if got := strings.Join(hardware(tt.line, nil), " "); got != tt.want {
			t.Errorf("hardware(%q) = %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"", nil},
		{" \t\n", nil},
		{"a", []string{"a"}},
		{"  a  b\tc\nd ", []string{"a", "b", "c", "d"}},
		{`a="b c" d`, []string{`a="b c"`, "d"}},
		{`"a=b c" d`, []string{`"a=b c"`, "d"}},
		{`a="b c`, []string{`a="b c`}}, // never closed
		{`a"b"c"d e"`, []string{`a"b"c"d e"`}},
		{"ä=ö ü", []string{"ä=ö", "ü"}},
	} {
		if got := splitWords(tt.line); !slices.Equal(got, tt.want) {
			t.Errorf("splitWords(%q) = %q, want %q", tt.line, got, tt.want)
		}
	}
}

// kernelConfig returns the configuration that sets those options, nil for none.
func kernelConfig(t *testing.T, options ...string) *kimage.Config {
	t.Helper()
	if len(options) == 0 {
		return nil
	}
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(strings.Join(options, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := kimage.ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTracefsWords(t *testing.T) {
	full := []string{"CONFIG_MODULE_SIG=y", "CONFIG_SECURITY_LOCKDOWN_LSM=y", `CONFIG_LSM="landlock,lockdown,yama"`}
	without := func(i int, instead ...string) []string {
		return append(slices.Delete(slices.Clone(full), i, i+1), instead...)
	}
	for _, tt := range []struct {
		name     string
		release  string
		config   []string
		unsigned bool
		want     bool
	}{
		{"all conditions", "6.1.0", full, false, true},
		{"lockdown first", "6.1.0", without(2, `CONFIG_LSM="lockdown"`), false, true},
		{"new kernel", "6.6.0", full, false, false},
		{"unknown release", "next", full, false, false},
		{"module without a signature", "6.1.0", full, true, false},
		{"no module signatures", "6.1.0", without(0), false, false},
		{"no lockdown", "6.1.0", without(1), false, false},
		{"lockdown not active", "6.1.0", without(2, `CONFIG_LSM="landlock,yama"`), false, false},
		{"other name", "6.1.0", without(2, `CONFIG_LSM="nolockdown,lockdown2"`), false, false},
		{"unknown configuration", "6.1.0", nil, false, false},
	} {
		b := &Build{Kernel: &kimage.Image{Release: tt.release}, allSigned: !tt.unsigned}
		got := b.tracefsWords(kernelConfig(t, tt.config...))
		if (len(got) > 0) != tt.want {
			t.Errorf("%s: got %q", tt.name, got)
		}
	}
}

func TestChooseCompression(t *testing.T) {
	for _, tt := range []struct {
		want   string
		config []string
		got    initramfs.Compression
		err    string
	}{
		{"auto", []string{"CONFIG_RD_ZSTD=y", "CONFIG_RD_GZIP=y", "CONFIG_RD_XZ=y"}, initramfs.Zstd, ""},
		{"auto", []string{"CONFIG_RD_GZIP=y", "CONFIG_RD_XZ=y"}, initramfs.Gzip, ""},
		{"", []string{"CONFIG_RD_XZ=y"}, initramfs.XZ, ""},
		{"auto", []string{"CONFIG_RD_LZ4=y"}, initramfs.None, ""},
		{"auto", nil, initramfs.Gzip, ""},
		{"xz", []string{"CONFIG_RD_XZ=y", "CONFIG_RD_ZSTD=y"}, initramfs.XZ, ""},
		{"none", []string{"CONFIG_RD_XZ=y"}, initramfs.None, ""},
		{"zstd", nil, initramfs.Zstd, ""}, // on the user's word
		{"zstd", []string{"CONFIG_RD_GZIP=y"}, "", "compression zstd: the kernel cannot unpack it: CONFIG_RD_ZSTD is not set in "},
		{"lzma", nil, "", "lzma"},
	} {
		got, err := chooseCompression(tt.want, kernelConfig(t, tt.config...))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s with %q: got error %v, want %q", tt.want, tt.config, err, tt.err)
			}
		} else if err != nil || got != tt.got {
			t.Errorf("%s with %q: got %s, %v, want %s", tt.want, tt.config, got, err, tt.got)
		}
	}
}

func TestCheckKernel(t *testing.T) {
	im := &kimage.Image{Path: "/k", Release: "6.1", Arch: "amd64", PageSize: 4096}
	all := strings.Fields(buildtest.CaptureConfig())
	if err := checkKernel(im, kernelConfig(t, all...), true); err != nil {
		t.Error(err)
	}
	if err := checkKernel(im, nil, false); err != nil {
		t.Errorf("unknown configuration: %v", err)
	}
	without := func(option string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(o string) bool { return o == option+"=y" })
	}
	for _, f := range kfeature.Required {
		err := checkKernel(im, kernelConfig(t, without(f.Option)...), false)
		if err == nil || !strings.HasPrefix(err.Error(), "kernel /k: 6.1 was built without "+f.Option+" (") || !strings.HasSuffix(err.Error(), "): "+f.Why) {
			t.Errorf("without %s: %v", f.Option, err)
		}
	}
	for _, f := range kfeature.RequiredBySystemd {
		conf := kernelConfig(t, append(without(f.Option), "# "+f.Option+" is not set")...)
		if err := checkKernel(im, conf, false); err != nil {
			t.Errorf("without %s: %v", f.Option, err)
		}
		if err := checkKernel(im, conf, true); err == nil || !strings.Contains(err.Error(), "was built without "+f.Option+" (") {
			t.Errorf("emergency mode without %s: %v", f.Option, err)
		}
	}
	for _, tt := range []struct{ arch, option, want string }{
		{"amd64", "CONFIG_CMDLINE_OVERRIDE=y", "kernel /k: 6.1 was built with CONFIG_CMDLINE_OVERRIDE (CONF): it ignores the command line that it is loaded with"},
		{"arm64", "CONFIG_CMDLINE_FORCE=y", "kernel /k: 6.1 was built with CONFIG_CMDLINE_FORCE (CONF): it ignores the command line that it is loaded with"},
		{"arm64", "CONFIG_INITRAMFS_FORCE=y", "kernel /k: 6.1 was built with CONFIG_INITRAMFS_FORCE (CONF): it ignores the image that it is loaded with"},
		{"arm64", "CONFIG_CMDLINE_FROM_BOOTLOADER=y", ""},
		{"arm64", "# CONFIG_CMDLINE_FORCE is not set", ""},
		{"amd64", "CONFIG_CMDLINE_BOOL=y", ""},
		{"arm64", "CONFIG_CMDLINE_OVERRIDE=y", ""}, // of another architecture
	} {
		conf := kernelConfig(t, append(slices.Clone(all), tt.option)...)
		text := ""
		if err := checkKernel(&kimage.Image{Path: "/k", Release: "6.1", Arch: tt.arch}, conf, false); err != nil {
			text = strings.ReplaceAll(err.Error(), conf.Source, "CONF")
		}
		if text != tt.want {
			t.Errorf("%s with %s: got %q, want %q", tt.arch, tt.option, text, tt.want)
		}
	}
	few := kernelConfig(t, slices.DeleteFunc(slices.Clone(all), func(o string) bool { return o == "CONFIG_EPOLL=y" || o == "CONFIG_FUTEX=y" })...)
	if err := checkKernel(im, few, false); err == nil || !strings.Contains(err.Error(), "without CONFIG_FUTEX, CONFIG_EPOLL (") {
		t.Errorf("without two: %v", err)
	}
	// An arm64 kernel finds its place without it.
	if err := checkKernel(&kimage.Image{Arch: "arm64"}, kernelConfig(t, without("CONFIG_RELOCATABLE")...), false); err != nil {
		t.Error(err)
	}

	for _, tt := range []struct {
		arch string
		page int
		want string
	}{
		{"amd64", 4096, ""},
		{"arm64", 4096, "kernel /k: built for amd64, but this machine is arm64"},
		{"amd64", 65536, "kernel /k: pages of 4096 bytes, the running kernel has 65536: makedumpfile could not read the vmcore"},
	} {
		text := ""
		if err := checkMachine(im, tt.arch, tt.page); err != nil {
			text = err.Error()
		}
		if text != tt.want {
			t.Errorf("%s, %d: got %q, want %q", tt.arch, tt.page, text, tt.want)
		}
	}
	if err := checkMachine(&kimage.Image{Arch: "arm64"}, "arm64", 16384); err != nil {
		t.Errorf("page size not known: %v", err)
	}
}

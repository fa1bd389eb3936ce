package builder

import (
	"strings"
	"testing"

	"ukdump/internal/config"
	"ukdump/internal/kimage"
)

// A kernel may add words to its command line.
func TestCheckKernelWords(t *testing.T) {
	const ours = "rootfstype=ramfs panic=10 nr_cpus=1 console=ttyS0"
	for _, tt := range []struct {
		name, arch, release string
		conf                []string
		want                string
	}{
		{"none", "amd64", "6.1", []string{"# CONFIG_CMDLINE_BOOL is not set"}, ""},
		{"unknown configuration", "amd64", "6.1", nil, ""},
		{"empty", "amd64", "6.1", []string{"CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE=""`}, ""},
		{"harmless", "amd64", "6.1", []string{"CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE="console=tty0 quiet root=/dev/sda1 init=/sbin/init"`}, ""},
		{"another program", "amd64", "6.1", []string{"CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE="quiet rdinit=/linuxrc"`},
			"kernel /k: 6.1 adds rdinit=/linuxrc to its command line (CONFIG_CMDLINE in CONF), which replaces the program that saves the dump"},
		{"memory", "amd64", "6.1", []string{"CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE="mem=1G"`}, "adds mem=1G to its command line"},
		{"memory for another kernel", "amd64", "6.1", []string{"CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE="crashkernel=auto"`}, "adds crashkernel=auto"},
		{"huge pages", "amd64", "6.1", []string{"CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE="hugepages=64"`}, "adds hugepages=64"},
		{"memmap", "amd64", "6.1", []string{"CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE="memmap=64M$1G"`}, "adds memmap=64M$1G"},
		{"overridden by ours", "amd64", "6.1", []string{"CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE="panic=0 nr_cpus=64"`}, ""},
		{"not used", "arm64", "6.1", []string{"CONFIG_CMDLINE_FROM_BOOTLOADER=y", `CONFIG_CMDLINE="rdinit=/linuxrc"`}, ""},
		{"overriding ours", "arm64", "5.11.0", []string{"CONFIG_CMDLINE_EXTEND=y", `CONFIG_CMDLINE="panic=0"`}, "adds panic=0"},
		{"no such option any more", "arm64", "6.1", []string{`CONFIG_CMDLINE="panic=0"`}, ""},
	} {
		b := &Build{Kernel: &kimage.Image{Path: "/k", Arch: tt.arch, Release: tt.release, CmdlineSize: 2047}, Cmdline: ours}
		source := "CONF"
		if tt.conf != nil {
			b.conf = kernelConfig(t, append(tt.conf, "CONFIG_Y=y")...)
			source = b.conf.Source
		}
		text := ""
		if err := b.checkKernelWords(config.Default()); err != nil {
			text = strings.ReplaceAll(err.Error(), source, "CONF")
		}
		if !strings.Contains(text, tt.want) || tt.want == "" && text != "" {
			t.Errorf("%s: got %q, want %q", tt.name, text, tt.want)
		}
	}
	// They take room.
	b := &Build{Kernel: &kimage.Image{Arch: "amd64", Release: "6.1", CmdlineSize: 2047}, Cmdline: strings.Repeat("x", 1000)}
	if err := b.checkLength(config.Default()); err != nil {
		t.Error(err)
	}
	b.conf = kernelConfig(t, "CONFIG_CMDLINE_BOOL=y", `CONFIG_CMDLINE="`+strings.Repeat("y ", 500)+`"`)
	if err := b.checkLength(config.Default()); err == nil {
		t.Error("too long: no error")
	}
}

// A boot configuration in the kernel has words that nobody can check.
func TestWarnBootConfig(t *testing.T) {
	embedded := []string{"CONFIG_BOOT_CONFIG_EMBED=y", `CONFIG_BOOT_CONFIG_EMBED_FILE="/boot.conf"`}
	for _, tt := range []struct {
		name, words string
		conf        []string
		warns       bool
	}{
		{"none", "quiet", []string{"# CONFIG_BOOT_CONFIG_EMBED is not set", "CONFIG_BOOT_CONFIG_FORCE=y"}, false},
		{"unknown configuration", "bootconfig", nil, false},
		{"read only if asked to", "quiet", embedded, false},
		{"asked to", "quiet bootconfig", embedded, true},
		{"forced", "quiet", append(embedded, "CONFIG_BOOT_CONFIG_FORCE=y"), true},
		{"an empty one", "quiet", []string{"CONFIG_BOOT_CONFIG_EMBED=y", `CONFIG_BOOT_CONFIG_EMBED_FILE=""`, "CONFIG_BOOT_CONFIG_FORCE=y"}, false},
	} {
		b := &Build{Kernel: &kimage.Image{Path: "/k", Arch: "amd64", Release: "6.6"}, Cmdline: tt.words}
		if tt.conf != nil {
			b.conf = kernelConfig(t, tt.conf...)
		}
		if b.warnBootConfig(); (len(b.Warnings) > 0) != tt.warns {
			t.Errorf("%s: %q", tt.name, b.Warnings)
		}
	}
}

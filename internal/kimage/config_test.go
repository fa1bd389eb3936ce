package kimage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const dotConfig = `#
# Automatically generated file; DO NOT EDIT.
CONFIG_RD_ZSTD=y
CONFIG_EXT4_FS=m
# CONFIG_RD_LZ4 is not set
CONFIG_NR_CPUS=8192
CONFIG_LOCALVERSION="-x=y"
`

func write(t *testing.T, root, name string, data []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func checkConfig(t *testing.T, c *Config) {
	t.Helper()
	for name, want := range map[string]string{
		"CONFIG_RD_ZSTD": "y", "CONFIG_EXT4_FS": "m", "CONFIG_RD_LZ4": "n", "CONFIG_OTHER": "n",
		"CONFIG_NR_CPUS": "8192", "CONFIG_LOCALVERSION": `"-x=y"`,
	} {
		if got := c.Get(name); got != want {
			t.Errorf("Get(%s) = %q, want %q", name, got, want)
		}
	}
	if !c.Names("CONFIG_RD_LZ4") || !c.Names("CONFIG_EXT4_FS") || c.Names("CONFIG_OTHER") {
		t.Errorf("Names: %v %v %v", c.Names("CONFIG_RD_LZ4"), c.Names("CONFIG_EXT4_FS"), c.Names("CONFIG_OTHER"))
	}
}

func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "plain", []byte(dotConfig))
	write(t, dir, "config.gz", gz([]byte(dotConfig)))
	for _, name := range []string{"plain", "config.gz"} {
		path := filepath.Join(dir, name)
		c, err := ReadConfig(path)
		if err != nil {
			t.Fatal(err)
		}
		if c.Source != path || !c.Known() {
			t.Errorf("%s: Source %q, Known %v", name, c.Source, c.Known())
		}
		checkConfig(t, c)
	}
	write(t, dir, "empty", nil)
	write(t, dir, "cut.gz", gz([]byte(dotConfig))[:30])
	for _, name := range []string{"empty", "cut.gz", "missing"} {
		if c, err := ReadConfig(filepath.Join(dir, name)); err == nil || c.Known() || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
}

func TestConfigUnknown(t *testing.T) {
	var c *Config
	if c.Known() || c.Get("CONFIG_X") != "" {
		t.Errorf("nil Config: Known %v, Get %q", c.Known(), c.Get("CONFIG_X"))
	}
}

func TestImageConfigFiles(t *testing.T) {
	im, err := parseBytes(bz(x86Version6, gz([]byte("vmlinux"))))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{
		"boot/config-" + release,
		"usr/lib/modules/" + release + "/config",
		"lib/modules/" + release + "/config",
		"usr/lib/modules/" + release + "/build/.config",
		"lib/modules/" + release + "/build/.config",
	}
	root := t.TempDir()
	_, err = im.Config(machine(t, root), root)
	var none *NoConfigError
	if !errors.As(err, &none) || len(none.Looked) != len(names) || none.Err != nil {
		t.Fatalf("nothing there: %v", err)
	}
	// From the last to the first, so that each one wins over all before.
	for i := len(names) - 1; i >= 0; i-- {
		write(t, root, names[i], []byte(dotConfig))
		c, err := im.Config(machine(t, root), root)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(root, names[i]); c.Source != want {
			t.Errorf("Source %s, want %s", c.Source, want)
		}
		checkConfig(t, c)
	}
	// One that cannot be used does not hide the next.
	write(t, root, names[0], nil)
	if c, err := im.Config(machine(t, root), root); err != nil || c.Source != filepath.Join(root, names[1]) {
		t.Errorf("after an empty file: %+v, %v", c, err)
	}
}

// Sources from the surest to the least sure.
func TestImageConfigSources(t *testing.T) {
	ikconfig := append([]byte("IKCFG_ST"), gz([]byte(dotConfig))...)
	tree := "usr/lib/modules/" + release
	for _, tt := range []struct {
		name    string
		kernel  []byte // inside the bzImage
		running string
		files   map[string][]byte
		want    string // "" if nothing is known
	}{
		{"beside the kernel", nil, "", map[string][]byte{"usr/lib/kernel/config-" + release: []byte(dotConfig), tree + "/config": nil}, "usr/lib/kernel/config-" + release},
		{"in the kernel, not where it was built", ikconfig, "", map[string][]byte{tree + "/build/.config": []byte("CONFIG_X=y\n")}, "usr/lib/kernel/vmlinuz (IKCONFIG)"},
		{"in a module", nil, "", map[string][]byte{tree + "/kernel/kernel/configs.ko": ikconfig}, tree + "/kernel/kernel/configs.ko (IKCONFIG)"},
		{"in a module in gzip", nil, "", map[string][]byte{tree + "/kernel/kernel/configs.ko.gz": gz(ikconfig)}, tree + "/kernel/kernel/configs.ko.gz (IKCONFIG)"},
		{"in a module in zstd", nil, "", map[string][]byte{tree + "/kernel/kernel/configs.ko.zst": zst(t, ikconfig)}, tree + "/kernel/kernel/configs.ko.zst (IKCONFIG)"},
		{"in a module in xz", nil, "", map[string][]byte{tree + "/kernel/kernel/configs.ko.xz": xzip(t, ikconfig, 1)}, tree + "/kernel/kernel/configs.ko.xz (IKCONFIG)"},
		{"the running kernel", nil, release, map[string][]byte{"proc/config.gz": gz([]byte(dotConfig))}, "proc/config.gz"},
		{"another kernel runs", nil, release + "x", map[string][]byte{"proc/config.gz": gz([]byte(dotConfig))}, ""},
		{"the running kernel, damaged", nil, release, map[string][]byte{"proc/config.gz": []byte("\x1f\x8b\x08"), "lib/modules/" + release + "/build/.config": []byte(dotConfig)}, "lib/modules/" + release + "/build/.config"},
		{"in a module of NixOS", nil, "", map[string][]byte{"run/booted-system/kernel-modules/lib/modules/" + release + "/kernel/kernel/configs.ko.xz": xzip(t, ikconfig, 1)},
			"run/booted-system/kernel-modules/lib/modules/" + release + "/kernel/kernel/configs.ko.xz (IKCONFIG)"},
		{"a module without one", nil, "", map[string][]byte{tree + "/kernel/kernel/configs.ko": []byte("\x7fELF")}, ""},
		{"a module of another kernel", nil, "", map[string][]byte{"usr/lib/modules/" + release + "x/kernel/kernel/configs.ko": ikconfig}, ""},
		{"a damaged module, then a whole one", nil, "", map[string][]byte{tree + "/kernel/kernel/configs.ko": ikconfig[:40], "lib/modules/" + release + "/kernel/kernel/configs.ko": ikconfig},
			"lib/modules/" + release + "/kernel/kernel/configs.ko (IKCONFIG)"},
		{"nothing", nil, "", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, "usr/lib/kernel/vmlinuz", bz(x86Version6, gz(tt.kernel)))
			write(t, root, "proc/sys/kernel/osrelease", []byte(tt.running+"\n"))
			for name, data := range tt.files {
				write(t, root, name, data)
			}
			im, err := Open(filepath.Join(root, "usr/lib/kernel/vmlinuz"))
			if err != nil {
				t.Fatal(err)
			}
			c, err := im.Config(machine(t, root), root)
			if tt.want == "" {
				if c.Known() || !errors.As(err, new(*NoConfigError)) {
					t.Fatalf("got %+v, %v", c, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(root, tt.want); c.Source != want {
				t.Errorf("Source %s, want %s", c.Source, want)
			}
			checkConfig(t, c)
		})
	}
}

// A module that cannot be used is named with the reason.
func TestConfigsModule(t *testing.T) {
	ikconfig := append([]byte("\x7fELF IKCFG_ST"), gz([]byte(dotConfig))...)
	large := append([]byte("\x7fELF IKCFG_ST"), gz(make([]byte, maxConfig+1))...)
	for _, tt := range []struct {
		name, file string
		data       []byte
		want       string // a part of the error; "" if there is none
	}{
		{"truncated", "configs.ko", ikconfig[:len(ikconfig)-20], "unexpected EOF"},
		{"truncated, gzip", "configs.ko.gz", gz(ikconfig)[:60], "unexpected EOF"},
		{"truncated, zstd", "configs.ko.zst", zst(t, ikconfig)[:60], "unexpected EOF"},
		{"truncated, xz", "configs.ko.xz", xzip(t, ikconfig, 1)[:60], "unexpected EOF"},
		{"no configuration in it", "configs.ko", append([]byte("IKCFG_ST"), gz([]byte("text"))...), "not a kernel configuration"},
		{"too large", "configs.ko", large, "larger than"},
		{"too large, xz", "configs.ko.xz", xzip(t, make([]byte, maxConfig+1), 1), "larger than"},
		{"an unknown compression", "configs.ko.lzo", []byte("\x89LZO"), "lzo"},
		{"no block in it", "configs.ko", []byte("\x7fELF"), ""},
		{"no block in it, zstd", "configs.ko.zst", zst(t, []byte("\x7fELF")), ""},
		{"empty", "configs.ko", nil, ""},
	} {
		root := t.TempDir()
		name := "usr/lib/modules/" + release + "/kernel/kernel/" + tt.file
		write(t, root, name, tt.data)
		c, err := InstalledConfig(machine(t, root), root, release)
		var none *NoConfigError
		if c.Known() || c.Text() != nil || !errors.As(err, &none) {
			t.Fatalf("%s: got %+v, %v", tt.name, c, err)
		}
		switch {
		case tt.want == "" && none.Err != nil:
			t.Errorf("%s: %v, want no reason", tt.name, none.Err)
		case tt.want != "" && (none.Err == nil || !strings.Contains(none.Err.Error(), tt.want) || !strings.Contains(none.Err.Error(), name)):
			t.Errorf("%s: %v, want %q of %s", tt.name, none.Err, tt.want, name)
		}
	}
}

// Without the image of the kernel, the other sources count.
func TestInstalledConfig(t *testing.T) {
	ikconfig := append([]byte("IKCFG_ST"), gz([]byte(dotConfig))...)
	for _, tt := range []struct {
		name, release, file string
		data                []byte
		want                bool
	}{
		{"file", release, "boot/config-" + release, []byte(dotConfig), true},
		{"module", release, "lib/modules/" + release + "/kernel/kernel/configs.ko", ikconfig, true},
		{"running kernel", release, "proc/config.gz", gz([]byte(dotConfig)), true},
		{"where it was built", release, "lib/modules/" + release + "/build/.config", []byte(dotConfig), false},
		{"no release", "../boot", "boot/config-../boot", []byte(dotConfig), false},
		{"empty release", "", "boot/config-", []byte(dotConfig), false},
	} {
		root := t.TempDir()
		write(t, root, "proc/sys/kernel/osrelease", []byte(release+"\n"))
		write(t, root, tt.file, tt.data)
		c, err := InstalledConfig(machine(t, root), root, tt.release)
		if (err == nil) != tt.want || c.Known() != tt.want || tt.want && string(c.Text()) != dotConfig {
			t.Errorf("%s: got %q, %v", tt.name, c.Text(), err)
		}
	}
}

// A file that never ends or that nobody writes is not a configuration.
func TestImageConfigNoFile(t *testing.T) {
	root := t.TempDir()
	write(t, root, "boot/x", nil)
	if err := syscall.Mkfifo(filepath.Join(root, "boot/config-"+release), 0o600); err != nil {
		t.Fatal(err)
	}
	im, err := parseBytes(bz(x86Version6, gz(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := im.Config(machine(t, root), root); c.Known() || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestImageConfigEmbedded(t *testing.T) {
	kernel := append([]byte("code IKCFG_ST code IKCFG_ST"), gz([]byte(dotConfig))...)
	kernel = append(kernel, "IKCFG_ED"...)
	image := append(arm(armBanner, 1), kernel...)
	for name, b := range map[string][]byte{
		"gzip":  bz(x86Version6, gz(kernel)),
		"zstd":  bz(x86Version6, sized(zst(t, kernel))),
		"xz":    bz(x86Version6, sized(xzip(t, kernel, 1))),
		"arm64": gz(image),
	} {
		t.Run(name, func(t *testing.T) {
			im, err := parseBytes(b)
			if err != nil {
				t.Fatal(err)
			}
			c, err := im.Config(machine(t, t.TempDir()), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if c.Source != "vmlinuz (IKCONFIG)" {
				t.Errorf("Source %q", c.Source)
			}
			checkConfig(t, c)
		})
	}
	im, err := parseBytes(bz(x86Version6, sized([]byte("\x02\x21\x4c\x18 lz4"))))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := im.Config(machine(t, t.TempDir()), t.TempDir()); c.Known() || !errors.As(err, new(*CompressionError)) {
		t.Errorf("lz4: got %+v, %v; want a CompressionError inside", c, err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(dotConfig))
	f.Add(append([]byte("IKCFG_ST"), gz([]byte(dotConfig))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseConfig(b); (c != nil) == (err != nil) {
			t.Errorf("parseConfig: %v, %v", c, err)
		}
		if c, err := embeddedConfig(b); c != nil && err != nil {
			t.Errorf("embeddedConfig: %v, %v", c, err)
		}
	})
}

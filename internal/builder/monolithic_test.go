package builder

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/kmod"
)

// A monolithic kernel needs no module tree; missing drivers are detected all the
// same.
func TestMonolithic(t *testing.T) {
	base := buildtest.CaptureConfig() + "CONFIG_RD_ZSTD=y\n"
	m := buildtest.New(t)
	for _, tt := range []struct {
		name, conf string
		modules    string // of ukdump.conf
		builtin    string // one of those found
		warning    string // one of the warnings
		err        string
	}{
		{"complete", "CONFIG_EXT4_FS=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_PCI=y\n", "", "CONFIG_EXT4_FS: file system ext4", "", ""},
		{"no file system", "CONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_PCI=y\n", "", "", "",
			"has no modules and was built without CONFIG_EXT4_FS (ROOT/boot/config-" + buildtest.Release + "), needed for file system ext4"},
		{"no driver", "CONFIG_EXT4_FS=y\nCONFIG_VIRTIO_PCI=y\n", "", "", "", "built without CONFIG_VIRTIO_BLK"},
		{"module", "CONFIG_EXT4_FS=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_PCI=y\n", "exotic", "",
			"unknown whether it has MODULES of ROOT/etc/ukdump.conf:1 built in", ""},
		// A line for modules: then the tree has to be there.
		{"not monolithic", "CONFIG_MODULES=y\nCONFIG_EXT4_FS=y\n", "", "", "", "no directory"},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			m.Remove("lib/modules/" + buildtest.Release)
			m.Write("boot/config-"+buildtest.Release, base+tt.conf)
			m.Write("etc/ukdump.conf", "MODULES="+tt.modules+"\n")
			c, err := config.Load(m.Root)
			if err != nil {
				t.Fatal(err)
			}
			b, err := New(Options{Root: m.Root, Config: c, Pid1: m.Pid1})
			plain := func(s string) string { return strings.ReplaceAll(s, m.Root, "ROOT") }
			if tt.err != "" {
				if err == nil || !strings.Contains(plain(err.Error()), tt.err) {
					t.Fatalf("error %v, want %s", err, tt.err)
				}
				if a := (interface{ Advice() string })(nil); !errors.As(err, &a) {
					t.Errorf("%v has no advice", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Plan.Modules) > 0 {
				t.Errorf("modules %v", b.Plan.Modules)
			}
			if tt.builtin != "" && !slices.Contains(b.Builtin, tt.builtin) {
				t.Errorf("%q is not in %q", tt.builtin, b.Builtin)
			}
			if w := plain(strings.Join(b.Warnings, "\n")); !strings.Contains(w, tt.warning) || tt.warning == "" && w != "" {
				t.Errorf("warnings %q, want %q", w, tt.warning)
			}
		})
	}
}

// A driver that a kernel does not list is refused only if the configuration shows
// that it was not built.
func TestUnlisted(t *testing.T) {
	m := buildtest.New(t)
	tree := "lib/modules/" + buildtest.Release + "/"
	m.Write(tree+"modules.builtin", "")
	m.Remove("sys/module/virtio_pci/initstate")
	conf := "boot/config-" + buildtest.Release
	for _, tt := range []struct {
		name    string
		conf    string // added to the configuration, "none" for no configuration
		running string
		driver  string // instead of virtio-pci
		builtin string
		warning string
		unknown bool
		err     string
	}{
		{"built in", "CONFIG_VIRTIO_PCI=y\n", "7.0", "", "CONFIG_VIRTIO_PCI: driver virtio-pci of ", "", false, ""},
		{"a module that is not there", "CONFIG_VIRTIO_PCI=m\n", "7.0", "", "", "", false, "has no such module and was built without CONFIG_VIRTIO_PCI (ROOT/" + conf + "), needed for driver virtio-pci of "},
		{"without, though it runs", "", buildtest.Release, "", "", "", false, "was built without CONFIG_VIRTIO_PCI"},
		{"PCI of arm64", "CONFIG_PCI_HOST_GENERIC=y\n", "7.0", "pci-host-generic", "CONFIG_PCI_HOST_GENERIC: driver pci-host-generic of ", "", false, ""},
		{"no PCI of arm64", "", "7.0", "pci-host-generic", "", "", false, "was built without CONFIG_PCI_HOST_GENERIC"},
		{"no configuration", "none", "7.0", "", "", "unknown whether it has driver virtio-pci of ", true, ""},
		{"no configuration of the running one", "none", buildtest.Release, "", "virtio_pci: driver virtio-pci of ", "", false, ""},
		{"unknown option", "", "7.0", "exotic", "", "unknown whether it has driver exotic of ", true, ""},
		{"unknown option of the running one", "", buildtest.Release, "exotic", "exotic: driver exotic of ", "", false, ""},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			if tt.conf == "none" {
				m.Remove(conf)
			} else {
				m.Write(conf, m.Read(conf)+tt.conf)
			}
			m.Write("etc/ukdump.conf", "KERNEL="+buildtest.Release+"\nTARGET=/var/crash\n")
			m.Write("proc/sys/kernel/osrelease", tt.running+"\n")
			if tt.driver != "" {
				links, err := filepath.Glob(m.Root + "/sys/devices/pci0000:00/*/0000:01:00.0/driver")
				if err != nil || len(links) != 1 {
					t.Fatal(links, err)
				}
				m.Write("sys/bus/pci/drivers/"+tt.driver+"/uevent", "")
				link := strings.TrimPrefix(links[0], m.Root+"/")
				m.Remove(link)
				m.Link(link, "../../../../bus/pci/drivers/"+tt.driver)
			}
			o := options(t, m)
			b, err := New(o)
			plain := func(s string) string { return strings.ReplaceAll(s, m.Root, "ROOT") }
			if tt.err != "" {
				if err == nil || !strings.Contains(plain(err.Error()), tt.err) {
					t.Fatalf("error %v, want %s", err, tt.err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				if got := strings.Join(b.Builtin, "\n"); !strings.Contains(got, tt.builtin) {
					t.Errorf("%q is not in %q", tt.builtin, got)
				}
				warned := slices.ContainsFunc(b.Warnings, func(w string) bool { return strings.Contains(w, "driver ") })
				if w := strings.Join(b.Warnings, "\n"); warned != (tt.warning != "") || !strings.Contains(w, tt.warning) {
					t.Errorf("warnings %q, want %q", w, tt.warning)
				}
			}
			stacks, err := Survey(o)
			if err != nil || len(stacks) != 1 {
				t.Fatal(stacks, err)
			}
			i := slices.IndexFunc(stacks[0].Needs, func(n Need) bool {
				return strings.HasPrefix(n.Why, "driver ") && strings.HasSuffix(n.For, "0000:01:00.0")
			})
			if n := stacks[0].Needs[i]; n.Lacks() != (tt.builtin == "") || n.Unknown != tt.unknown {
				t.Errorf("surveyed %+v", n)
			}
		})
	}
}

// Whatever a layer cannot do without, a monolithic kernel is asked for.
func TestBuiltinOfLayers(t *testing.T) {
	var requests []kmod.Request
	for target, params := range map[string]string{
		"thin": "", "thin-pool": "", "cache": "", "snapshot": "", "snapshot-origin": "",
		"raid": "raid0_meta 1 0", "raid ": "raid1 1 0", " raid": "raid10_near 1 0", " raid ": "raid6_zr 1 0",
	} {
		requests = append(requests, mapperModules(strings.TrimSpace(target), params, "vg/lv")...)
	}
	for _, level := range []string{"linear", "raid0", "raid1", "raid4", "raid5", "raid6", "raid10"} {
		requests = append(requests, (&host.Array{Level: level}).Requests()...)
	}
	requests = append(requests, (&host.Cached{}).Requests()...)
	requests = append(requests, cryptRequests("", "luks")...)
	for _, r := range requests {
		if optionsFor(r) == nil {
			t.Errorf("no option is known for %v: %s", r.Names, r.Why)
		}
	}
}

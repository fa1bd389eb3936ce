package build

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/build/buildtest"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/kmod"
)

// A monolithic kernel needs no module tree, but what it lacks is found all the
// same.
func TestMonolithic(t *testing.T) {
	const base = "CONFIG_PROC_VMCORE=y\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_DEVTMPFS=y\nCONFIG_RD_ZSTD=y\n"
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
			"it is not known whether it has MODULES of ROOT/etc/ukdump.conf:1 built in", ""},
		// A line for modules: then the tree has to be there.
		{"not monolithic", "CONFIG_MODULES=y\nCONFIG_EXT4_FS=y\n", "", "", "", "there is no directory"},
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

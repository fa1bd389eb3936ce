package builder

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/host"
	"ukdump/internal/kimage"
)

// smallConfig returns the configuration that packaging/capture-kernel asks for on x86_64. Its
// modules count as built in.
func smallConfig(t *testing.T) *kimage.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(buildtest.SmallConfig(t), "=m\n", "=y\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	conf, err := kimage.ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// The small capture kernel reaches the storage of recorded machines, but for the parts
// that its README names.
func TestSmallKernel(t *testing.T) {
	b := &Build{conf: smallConfig(t), Kernel: &kimage.Image{Release: "6.12.1-ukdump"}}
	lacking := map[string]string{"bcache": "CONFIG_BCACHE", "xen-xfs": "CONFIG_XEN_BLKDEV_FRONTEND"}
	const hosts = "../host/testdata/hosts"
	dirs, err := os.ReadDir(hosts)
	if err != nil {
		t.Fatal(err)
	}
	reached := make(map[string]bool)
	for _, d := range dirs {
		h, err := host.Open(filepath.Join(hosts, d.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.host = h
		s, err := h.Storage("/var/crash")
		if err != nil {
			continue // no kernel reaches it
		}
		for _, r := range s.Requests() {
			proof, lacks := b.builtin(r)
			switch {
			case proof != "":
				reached[proof] = true
			case r.Optional, lacks != "" && lacks == lacking[d.Name()]:
			default:
				t.Errorf("%s: %q: lacks %q, which may be %q", d.Name(), r.Names, lacks, lacking[d.Name()])
			}
		}
	}
	for _, o := range []string{"CONFIG_EXT4_FS", "CONFIG_XFS_FS", "CONFIG_BTRFS_FS", "CONFIG_VIRTIO_BLK", "CONFIG_BLK_DEV_NVME", "CONFIG_SATA_AHCI", "CONFIG_USB_STORAGE"} {
		if !reached[o] {
			t.Errorf("no machine has shown %s, only %q", o, slices.Sorted(maps.Keys(reached)))
		}
	}
}

package host

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ukdump/internal/kmod"
)

// The disks of Hyper-V and Xen cannot be had in QEMU. Their sysfs is
// from the kernel's documentation and source (drivers/hv/vmbus_drv.c,
// Documentation/ABI/stable/sysfs-bus-vmbus, drivers/xen/xenbus); the module
// tables are Debian's.
func TestHypervisorDisks(t *testing.T) {
	for _, tt := range []struct {
		host, release    string
		modules, builtin []string // some of them, in load order
	}{
		{"hyperv-ext4", "6.1.0-50-amd64", []string{"hv_vmbus", "hv_storvsc", "sd_mod", "ext4"}, nil},
		{"hyperv-ext4", "6.1.0-50-cloud-amd64", []string{"hv_vmbus", "hv_storvsc", "sd_mod"}, []string{"ext4"}},
		{"hyperv-ext4", "6.12.117+deb13-amd64", []string{"hv_vmbus", "hv_storvsc", "sd_mod", "ext4"}, nil},
		{"hyperv-ext4", "7.2.13+deb14-amd64", []string{"hv_storvsc", "sd_mod", "ext4"}, []string{"hv_vmbus"}},
		{"xen-xfs", "6.1.0-50-amd64", []string{"xen_blkfront", "xfs"}, nil},
		{"xen-xfs", "6.1.0-50-cloud-amd64", []string{"xen_blkfront", "xfs"}, nil},
		{"xen-xfs", "6.12.117+deb13-amd64", []string{"xen_blkfront", "xfs"}, nil},
		{"xen-xfs", "7.2.13+deb14-amd64", []string{"xen_blkfront", "xfs"}, nil},
	} {
		h, err := Open(filepath.Join("testdata/hosts", tt.host))
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.Storage("/var/crash")
		if err != nil {
			t.Errorf("%s: %v", tt.host, err)
			continue
		}
		r, err := debianTree(t, tt.release).Resolve(s.Requests()...)
		if err != nil {
			t.Errorf("%s with %s: %v", tt.host, tt.release, err)
			continue
		}
		var modules, builtin []string
		for _, m := range r.Modules {
			if slices.Contains(tt.modules, m.Name) {
				modules = append(modules, m.Name)
			}
		}
		for _, b := range r.Builtin {
			if slices.Contains(tt.builtin, b.Name) {
				builtin = append(builtin, b.Name)
			}
		}
		if !slices.Equal(modules, tt.modules) || !slices.Equal(builtin, tt.builtin) || len(r.Unmet) > 0 {
			t.Errorf("%s with %s: modules %v, built in %v, unmet %v", tt.host, tt.release, r.Modules, r.Builtin, r.Unmet)
		}
	}
}

// debianTree returns a module tree of package kmod's, with empty module files.
func debianTree(t *testing.T, release string) *kmod.Tree {
	t.Helper()
	dir := filepath.Join("../kmod/testdata/trees", release)
	fsys := make(fstest.MapFS)
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, p))
		fsys[p] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(fsys["modules.dep"].Data)) {
		file, _, _ := strings.Cut(line, ":")
		fsys[file] = &fstest.MapFile{}
	}
	tree, err := kmod.Open(fsys, release)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

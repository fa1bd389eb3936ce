package kmod

import (
	"maps"
	"os"
	"slices"
	"testing"
	"testing/fstest"
)

func TestBuiltinPaths(t *testing.T) {
	fsys := fstest.MapFS{
		"modules.dep":     {Data: []byte("kernel/a-b.ko: kernel/c.ko\nkernel/c.ko:\n")},
		"modules.alias":   {},
		"modules.builtin": {Data: []byte("kernel/drivers/mmc/host/sdhci.ko\nkernel/drivers/block/xen-blkfront.ko\n\n")},
	}
	tree, err := Open(fsys, "6.1")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"sdhci": "kernel/drivers/mmc/host/sdhci.ko", "xen_blkfront": "kernel/drivers/block/xen-blkfront.ko"}
	if got := tree.BuiltinPaths(); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got := tree.Depends("a_b"); !slices.Equal(got, []string{"c"}) {
		t.Errorf("a-b needs %q", got)
	}
	if got := tree.Depends("none"); got != nil {
		t.Errorf("none needs %q", got)
	}
	delete(fsys, "modules.builtin")
	if got := tree.BuiltinPaths(); len(got) != 0 {
		t.Errorf("without the list: %v", got)
	}
}

// testdata/init.ko is a compiler's output for one function with the alias init_module.
func TestInitFunction(t *testing.T) {
	data, err := os.ReadFile("testdata/init.ko")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		data []byte
		want string
	}{{data, "example_driver_init"}, {dummy(t), ""}} { // the second has no symbols
		info, err := ReadInfo(tt.data)
		if err != nil || info.Init != tt.want {
			t.Errorf("got %+v, %v, want %q", info, err, tt.want)
		}
	}
}

package kmod

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "write the golden files")

// realTree returns a tree of testdata/trees with empty module files.
func realTree(t testing.TB, release string) *Tree {
	t.Helper()
	dir := filepath.Join("testdata", "trees", release)
	fsys := make(fstest.MapFS)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fsys[f.Name()] = &fstest.MapFile{Data: data}
	}
	for line := range strings.Lines(string(fsys["modules.dep"].Data)) {
		file, _, _ := strings.Cut(line, ":")
		fsys[file] = &fstest.MapFile{}
	}
	tree, err := Open(fsys, release)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// mapTree returns a tree with the given tables and one file for each line of
// modules.dep.
func mapTree(tables map[string]string) fstest.MapFS {
	fsys := make(fstest.MapFS)
	for name, data := range tables {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	for line := range strings.Lines(tables["modules.dep"]) {
		if file, _, ok := strings.Cut(line, ":"); ok && fs.ValidPath(file) {
			fsys[file] = &fstest.MapFile{}
		}
	}
	if _, ok := tables["modules.alias"]; !ok {
		fsys["modules.alias"] = &fstest.MapFile{}
	}
	return fsys
}

func (r *Resolution) String() string {
	var b strings.Builder
	for _, m := range r.Modules {
		fmt.Fprintf(&b, "load     %-24s %s\n", m.Name, m.Reason)
	}
	for _, m := range r.Builtin {
		fmt.Fprintf(&b, "built in %-24s %s\n", m.Name, m.Reason)
	}
	for _, q := range r.Unmet {
		fmt.Fprintf(&b, "unmet    %-24s %s\n", q.tried(), q.Why)
	}
	return b.String()
}

// storages are the requests of some machines.
var storages = map[string][]Request{
	"ext4-virtio-blk": {
		{Alias: "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", Names: []string{"virtio_pci"}, Why: "PCI device"},
		{Alias: "virtio:d00000002v00001AF4", Names: []string{"virtio_blk"}, Why: "virtio device"},
		{Names: []string{"fs-ext4", "ext4"}, Why: "file system ext4"},
	},
	"xfs-nvme": {
		{Alias: "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", Names: []string{"nvme"}, Why: "PCI device"},
		{Names: []string{"fs-xfs", "xfs"}, Why: "file system xfs"},
	},
	"btrfs-ahci": {
		{Alias: "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", Names: []string{"ahci"}, Optional: true, Why: "PCI device"},
		{Alias: "scsi:t-0x00", Names: []string{"sd_mod"}, Why: "SCSI device"},
		{Names: []string{"fs-btrfs", "btrfs"}, Why: "file system btrfs"},
	},
	"vfat-usb": {
		{Alias: "pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30", Names: []string{"xhci_pci"}, Optional: true, Why: "PCI device"},
		{Alias: "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", Names: []string{"usb_storage"}, Optional: true, Why: "USB interface"},
		{Alias: "scsi:t-0x00", Names: []string{"sd"}, Why: "SCSI device"},
		{Names: []string{"fs-vfat", "vfat"}, Why: "file system vfat"},
		{Names: []string{"nls_cp437"}, Optional: true, Why: "codepage 437"},
		{Names: []string{"nls_ascii"}, Optional: true, Why: "iocharset ascii"},
	},
}

func TestResolveRealTrees(t *testing.T) {
	trees, err := os.ReadDir("testdata/trees")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range trees {
		tree := realTree(t, d.Name())
		var b strings.Builder
		for _, name := range []string{"ext4-virtio-blk", "xfs-nvme", "btrfs-ahci", "vfat-usb"} {
			r, err := tree.Resolve(storages[name]...)
			if err != nil {
				t.Errorf("%s: %s: %v", d.Name(), name, err)
				continue
			}
			fmt.Fprintf(&b, "%s\n%s\n", name, r)
		}
		golden := filepath.Join("testdata", d.Name()+".golden")
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s: got\n%swant\n%s", d.Name(), b.String(), want)
		}
	}
}

// A module knows whether it serves a request, whatever the request says of itself.
func TestDependency(t *testing.T) {
	tree := mapTree(map[string]string{"modules.dep": "kernel/a.ko: kernel/b.ko\nkernel/b.ko:\nkernel/c.ko:\n", "modules.softdep": "softdep a post: c\n"})
	for _, why := range []string{"", "x", "dependency of a"} {
		opened, err := Open(tree, "1")
		if err != nil {
			t.Fatal(err)
		}
		r, err := opened.Resolve(Request{Names: []string{"a"}, Why: why})
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]bool)
		for _, m := range r.Modules {
			got[m.Name] = m.Dependency
		}
		if want := map[string]bool{"a": false, "b": true, "c": true}; !maps.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", why, got, want)
		}
	}
}

func TestResolveOrder(t *testing.T) {
	fsys := mapTree(map[string]string{
		"modules.dep": `kernel/a-mod.ko: kernel/b.ko.xz kernel/c.ko
kernel/b.ko.xz: kernel/c.ko
kernel/c.ko:
kernel/d.ko:
kernel/e_fast.ko:
kernel/e_slow.ko:
kernel/loop1.ko: kernel/c.ko
kernel/loop2.ko:
`,
		"modules.alias": `# comment
alias bus:v0001d* a_mod
alias bus:v0001d0002* d
alias bus:v0009* gone
alias crypto-e e_fast
alias crypto-e e_slow
`,
		"modules.softdep": `# comment
softdep a_mod pre: crypto-e nothing
softdep a-mod post: d
softdep loop1 pre: loop2
softdep loop2 pre: loop1
softdep b d
`,
		"modules.builtin":         "kernel/drivers/in-side.ko\n",
		"modules.builtin.modinfo": "in_side.alias=bus:v0003*\x00in_side.softdep=pre: crypto-e\x00in_side.firmware=a/b.bin\x00in_side.firmware=c\x00in_side.license=GPL\x00garbage\x00",
	})
	tree, err := Open(fsys, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		req  []Request
		want string
	}{
		{"soft and hard dependencies", []Request{{Names: []string{"a-mod"}}}, "e_fast e_slow c b a_mod d"},
		{"file in two requests", []Request{{Names: []string{"c"}}, {Names: []string{"b"}}}, "c b"},
		{"all that serve an alias", []Request{{Alias: "bus:v0001d0002"}}, "e_fast e_slow c b a_mod d"},
		{"bound driver preferred", []Request{{Alias: "bus:v0001d0002", Names: []string{"d"}}}, "d"},
		{"alias of no module", []Request{{Alias: "bus:v0002", Names: []string{"x", "d"}}}, "d"},
		{"alias of a module that is gone", []Request{{Alias: "bus:v0009", Names: []string{"d"}}}, "d"},
		{"circular soft dependencies", []Request{{Names: []string{"loop1"}}}, "loop2 c loop1"},
		{"built in by alias", []Request{{Alias: "bus:v0003"}}, "e_fast e_slow [in_side a/b.bin c]"},
		{"built in by name", []Request{{Names: []string{"in-side"}}}, "e_fast e_slow [in_side a/b.bin c]"},
		{"alias by name", []Request{{Names: []string{"crypto_e"}}}, "e_fast e_slow"},
		{"optional", []Request{{Alias: "bus:v7", Names: []string{"x"}, Optional: true}}, "!bus:v7, x"},
	} {
		r, err := tree.Resolve(tt.req...)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, m := range r.Modules {
			got = append(got, m.Name)
		}
		for _, m := range r.Builtin {
			got = append(got, "["+strings.Join(append([]string{m.Name}, m.Firmware...), " ")+"]")
		}
		for _, q := range r.Unmet {
			got = append(got, "!"+q.tried())
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, s, tt.want)
		}
	}

	_, err = tree.Resolve(Request{Names: []string{"zfs"}, Why: "file system zfs"})
	var missing *MissingError
	if !errors.As(err, &missing) || missing.Request.Why != "file system zfs" {
		t.Errorf("missing module: got %v, want a *MissingError", err)
	}
	delete(fsys, "kernel/c.ko")
	if _, err := tree.Resolve(Request{Names: []string{"a_mod"}}); err == nil || !strings.Contains(err.Error(), "modules.dep:3: kernel/c.ko: file does not exist") {
		t.Errorf("missing file: got %v", err)
	}
}

func TestOpenDamaged(t *testing.T) {
	ko := &fstest.MapFile{}
	for _, tt := range []struct {
		name string
		fsys fstest.MapFS
		want string // "" for no error
	}{
		{"monolithic", fstest.MapFS{"modules.builtin": {Data: []byte("kernel/fs/ext4/ext4.ko\n")}}, ""},
		{"no modules.dep", fstest.MapFS{"kernel/a.ko": ko}, "modules.dep does not exist although"},
		{"empty modules.dep", fstest.MapFS{"modules.dep": {}, "modules.alias": {}, "kernel/a.ko.zst": ko}, "modules.dep is empty although"},
		{"no modules.alias", fstest.MapFS{"modules.dep": {Data: []byte("a.ko:\n")}, "a.ko": ko}, "modules.alias does not exist"},
		{"no colon", mapTree(map[string]string{"modules.dep": "kernel/a.ko:\nkernel/b.ko\n"}), "modules.dep:2: no colon"},
		{"cut off", mapTree(map[string]string{"modules.dep": "kernel/a.ko:\nkernel/b.ko: kernel/a.ko"}), "modules.dep:2: the last line is cut off"},
		{"cut off at a line", mapTree(map[string]string{"modules.dep": "kernel/a.ko: kernel/b.ko\n"}), "modules.dep:1: kernel/a.ko needs kernel/b.ko"},
		{"outside", mapTree(map[string]string{"modules.dep": "../../etc/a.ko:\n"}), "modules.dep:1: \"../../etc/a.ko\" is not"},
		{"dependency outside", mapTree(map[string]string{"modules.dep": "a.ko: /b.ko\n"}), "modules.dep:1: \"/b.ko\" is not"},
		{"binary", mapTree(map[string]string{"modules.dep": "\x7fELF\x00:\n"}), "modules.dep:1:"},
		{"twice", mapTree(map[string]string{"modules.dep": "a-b.ko:\na_b.ko:\n"}), "modules.dep:2: module a_b is on line 1 already"},
		{"absolute", mapTree(map[string]string{"modules.dep": "/lib/modules/1.0/a.ko:\n"}), ""},
		{"alias cut off", mapTree(map[string]string{"modules.alias": "alias a b"}), "modules.alias:1: the last line is cut off"},
		{"alias", mapTree(map[string]string{"modules.dep": "", "modules.alias": "alias a b\nalias c\n"}), "modules.alias:2:"},
		{"softdep", mapTree(map[string]string{"modules.dep": "", "modules.softdep": "softdep\n"}), "modules.softdep:1:"},
		{"builtin", mapTree(map[string]string{"modules.dep": "", "modules.builtin": "rubbish\n"}), "modules.builtin:1:"},
	} {
		_, err := Open(tt.fsys, "1.0")
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got error %v, want one with %q", tt.name, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: error of several lines: %q", tt.name, err)
		}
		if damaged := (*TreeError)(nil); tt.want != "" && !errors.As(err, &damaged) {
			t.Errorf("%s: %v is not a *TreeError", tt.name, err)
		}
	}
	if _, err := Open(os.DirFS("testdata/none"), "1.0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: got %v, want fs.ErrNotExist", err)
	}
}

// The crypto API asks for crc32 at run time, when nobody can answer: the name is that
// of a built-in part, and an alias of the module that is needed.
func TestSoftdepOnBuiltinNameThatIsAnAlias(t *testing.T) {
	tree, err := Open(mapTree(map[string]string{
		"modules.dep":     "kernel/fs/f2fs.ko:\nkernel/crypto/crc32_generic.ko:\n",
		"modules.softdep": "softdep f2fs pre: crc32\n",
		"modules.alias":   "alias crc32 crc32_generic\n",
		"modules.builtin": "kernel/lib/crc32.ko\n",
	}), "6.1.0")
	if err != nil {
		t.Fatal(err)
	}
	res, err := tree.Resolve(Request{Names: []string{"f2fs"}, Why: "file system f2fs"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range res.Modules {
		names = append(names, m.Name)
	}
	if got := strings.Join(names, " "); got != "crc32_generic f2fs" {
		t.Errorf("load order %q", got)
	}
}

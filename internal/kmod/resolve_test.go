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
		{"only damage", fstest.MapFS{"modules.dep": {Data: []byte("\x7fELF\x00:\n")}, "modules.alias": {}, "kernel/a.ko": ko}, "modules.dep:1:"},
		{"absolute", mapTree(map[string]string{"modules.dep": "/lib/modules/1.0/a.ko:\n"}), ""},
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

// A line that is not understood is an error only if its module is needed, and then it is
// named. "a" is needed, "opt" is optional.
func TestDamagedLines(t *testing.T) {
	const good = "kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n"
	for _, tt := range []struct {
		name, table, data string
		want              string // load order, or the error
		broken            string // why something optional is left out
	}{
		{"all in order", "modules.dep", good, "b a", ""},
		{"empty lines, comments and CRLF", "modules.dep", "\r\n# x\r\n\nkernel/a.ko: kernel/b.ko\r\nkernel/b.ko:\r\n", "b a", ""},
		{"another module without a colon", "modules.dep", good + "kernel/x.ko\n", "b a", ""},
		{"another module in an unknown compression", "modules.dep", good + "extra/foo.ko.lz4:\n", "b a", ""},
		{"another module that needs one", "modules.dep", good + "extra/x.ko: extra/foo.ko.lz4\n", "b a", ""},
		{"another module outside of the tree", "modules.dep", good + "../../etc/x.ko:\n", "b a", ""},
		{"binary line", "modules.dep", good + "\x7fELF\x00\xff:\n", "b a", ""},
		{"another module with a missing dependency", "modules.dep", good + "kernel/x.ko: kernel/gone.ko\n", "b a", ""},
		{"another module cut off", "modules.dep", good + "kernel/x.ko: kern", "b a", ""},
		{"module twice", "modules.dep", good + "kernel/a.ko: kernel/b.ko\n", "b a", ""},
		{"module twice, first without dependencies", "modules.dep", "kernel/a.ko:\n" + good, "b a", ""},
		{"two files of one name", "modules.dep", good + "extra/a.ko:\n", "b a", ""},
		{"two files of one name, the first damaged", "modules.dep", "extra/a.ko.lz4:\n" + good, "b a", ""},
		{"two files of one name, the first gone", "modules.dep", "gone/a.ko:\n" + good, "b a", ""},
		{"no colon", "modules.dep", "kernel/a.ko\nkernel/b.ko:\n", `modules.dep:1: no colon in "kernel/a.ko"`, ""},
		{"unknown compression", "modules.dep", "kernel/b.ko:\nextra/a.ko.lz4:\n", "modules.dep:2: extra/a.ko.lz4: unknown compression lz4", ""},
		{"dependency in an unknown compression", "modules.dep", "kernel/a.ko: extra/b.ko.lz4\nextra/b.ko.lz4:\n", "modules.dep:1: extra/b.ko.lz4: unknown compression lz4", ""},
		{"dependency outside", "modules.dep", "kernel/a.ko: /b.ko\n", `modules.dep:1: "/b.ko" is not a module file`, ""},
		{"dependency without a line", "modules.dep", "kernel/a.ko: kernel/b.ko\n", "modules.dep:1: kernel/a.ko needs kernel/b.ko, which has no line", ""},
		{"cut off in the dependencies", "modules.dep", "kernel/b.ko:\nkernel/a.ko: kernel/b", "modules.dep:2: the last line is cut off", ""},
		{"cut off behind them", "modules.dep", "kernel/b.ko:\nkernel/a.ko: kernel/b.ko", "modules.dep:2: the last line is cut off", ""},
		{"cut off before", "modules.dep", "kernel/b.ko:\nkernel/x.ko: ker", "modules.dep:2: the last line is cut off", ""},
		{"line of rubbish in its place", "modules.dep", "kernel/b.ko:\nkernel a\n", `modules.dep:2: no colon in "kernel a"`, ""},

		{"optional module without a colon", "modules.dep", good + "kernel/opt.ko\n", "b a", `modules.dep:3: no colon in "kernel/opt.ko"`},
		{"optional module in an unknown compression", "modules.dep", good + "extra/opt.ko.lz4:\n", "b a", "modules.dep:3: extra/opt.ko.lz4: unknown compression lz4"},
		{"dependency of an optional module", "modules.dep", good + "kernel/opt.ko: kernel/c.ko kernel/d.ko.lz4\nkernel/c.ko:\n", "b a", "modules.dep:3: kernel/d.ko.lz4: unknown compression lz4"},

		{"damaged alias", "modules.alias", "alias x\nalias need* a\n", "b a", ""},
		{"alias with tabs and CRLF", "modules.alias", "alias\tneed*\ta\r\n", "b a", ""},
		{"alias cut off, of another", "modules.alias", "alias need* a\nalias x", "b a", ""},
		{"needed alias cut off", "modules.alias", "alias x b\nalias need* a", "modules.alias:2: the last line is cut off", ""},
		{"needed alias without a module", "modules.alias", "alias need*\nalias x b\n", `modules.alias:1: "alias need*" is not`, ""},

		{"damaged softdep", "modules.softdep", "softdep\nsoft b pre: c\nsoftdep b\n", "b a", ""},
		{"softdep of another cut off", "modules.softdep", "softdep x pre: c", "b a", ""},
		{"softdep cut off", "modules.softdep", "softdep a pre: c", "modules.softdep:1: the last line is cut off", ""},
		{"softdep on a damaged module", "modules.softdep", "softdep a pre: odd\n", "b a", "kernel/odd.ko.br: unknown compression br"},

		{"built-in entry without .ko", "modules.builtin", "kernel/fs/built\n", "b a", ""},
		{"rubbish between built-in entries", "modules.builtin", "\x00\xff\nkernel/fs/built.ko\r\n\n", "b a", ""},
		{"built-in entry without an end", "modules.builtin", "kernel/fs/built.ko", "b a", ""},
		{"built-in entry cut off", "modules.builtin", "kernel/fs/bui", "modules.builtin:1: the last line is cut off", ""},
		{"built-in entry that is rubbish", "modules.builtin", "kernel/fs/built built.ko\n", `modules.builtin:1: "kernel/fs/built built.ko" is not a module file`, ""},
	} {
		files := map[string]string{"modules.dep": good + "kernel/c.ko:\nkernel/odd.ko.br:\n", "modules.alias": "alias need* a\n"}
		files[tt.table] = tt.data
		fsys := mapTree(files)
		for _, file := range []string{"kernel/a.ko", "kernel/b.ko", "kernel/c.ko"} {
			fsys[file] = &fstest.MapFile{}
		}
		delete(fsys, "gone/a.ko")
		tree, err := Open(fsys, "1.0")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		requests := []Request{{Names: []string{"a"}, Why: "a"}, {Names: []string{"opt"}, Optional: true, Why: "opt"}}
		switch tt.table {
		case "modules.alias":
			requests[0] = Request{Alias: "needed", Why: "a"}
		case "modules.builtin":
			requests = append(requests, Request{Names: []string{"built"}, Why: "built"})
		}
		r, err := tree.Resolve(requests...)
		if err != nil {
			var damaged *TreeError
			if !errors.As(err, &damaged) || !strings.Contains(err.Error(), tt.want) || damaged.Advice() == "" {
				t.Errorf("%s: got error %v, want %s", tt.name, err, tt.want)
			}
			continue
		}
		var names []string
		for _, m := range r.Modules {
			names = append(names, m.Name)
		}
		broken := errors.Join(r.Broken...)
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		if (broken != nil) != (tt.broken != "") || broken != nil && !strings.Contains(broken.Error(), tt.broken) {
			t.Errorf("%s: left out: %v, want %s", tt.name, broken, tt.broken)
		}
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

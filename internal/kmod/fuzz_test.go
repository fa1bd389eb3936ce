package kmod

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// FuzzOpen parses all tables and resolves requests with them.
func FuzzOpen(f *testing.F) {
	f.Add("a.ko: b.ko\nb.ko:\n", "alias x* a\n", "softdep a pre: b\n", "kernel/c.ko\n", "c.alias=x\x00")
	f.Add("a.ko", "alias", "softdep", "x", "=")
	f.Add("/lib/modules/1.0/a.ko:\n", "alias fs-[a-z]* a-b\n", "softdep a post: a\n", "", "c.softdep=pre: a\x00")
	f.Fuzz(func(t *testing.T, dep, alias, softdep, builtin, modinfo string) {
		fsys := mapTree(map[string]string{
			"modules.dep": dep, "modules.alias": alias, "modules.softdep": softdep,
			"modules.builtin": builtin, "modules.builtin.modinfo": modinfo,
		})
		tree, err := Open(fsys, "1.0")
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %q", err)
			}
			return
		}
		r, err := tree.Resolve(
			Request{Names: []string{"a"}, Optional: true},
			Request{Alias: "x1", Names: []string{"fs-ext4"}, Optional: true})
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, m := range r.Modules {
			if seen[m.Name] {
				t.Errorf("%s is there twice", m.Name)
			}
			seen[m.Name] = true
		}
	})
}

func FuzzOptions(f *testing.F) {
	f.Add("options a b=c \\\n d=e\nblacklist x\n", `quiet a-b.c="d e" "f.g=h i" -- x.y=z`)
	f.Fuzz(func(t *testing.T, file, line string) {
		o, err := ReadOptions(fstest.MapFS{"etc/modprobe.d/a.conf": {Data: []byte(file)}})
		if err != nil {
			t.Fatal(err)
		}
		o.AddCommandLine(line)
		for name := range o {
			if strings.Contains(name, "-") || strings.Contains(o.Params(name), "\n") && !strings.Contains(line, "\n") {
				t.Errorf("module %q has parameters %q", name, o.Params(name))
			}
		}
	})
}

func FuzzReadInfo(f *testing.F) {
	seed, err := os.ReadFile(filepath.Join("testdata", "dummy.ko"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:100])
	f.Fuzz(func(t *testing.T, data []byte) {
		ReadInfo(data)
		checkELF(data, "amd64")
	})
}

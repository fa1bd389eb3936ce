package archive

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ukdump/internal/dump"
	"ukdump/internal/dump/dumptest"
	"ukdump/internal/symbols"
)

const runningID = "5bf0c35bd1a0eb1bcd1df5c9a2bca7ac13b1c1ba"

// gzipped packs text as kernel/configs.c has it.
func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.String()
}

// healthy is a machine with a kernel of that build ID.
func healthy(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	id, _ := hex.DecodeString(runningID)
	for name, content := range map[string]string{
		"sys/kernel/notes":       "\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00" + string(id),
		"sys/kernel/btf/vmlinux": "types", "sys/kernel/btf/ext4": "more", "sys/kernel/btf/a.b": "no module",
		"boot/config-6.1.0": "# comment pass=x\nCONFIG_KEYS=y\nCONFIG_DEFAULT_HOSTNAME=\"(none)\"\nCONFIG_CMDLINE=\"rd.token=hidden ro\"\n",
		"usr/lib/modules/6.1.2/kernel/kernel/configs.ko": "\x7fELF IKCFG_ST" + gzipped("CONFIG_IKCONFIG=m\n"),
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// The files of the running kernel stand in for those of a dump of the same build.
func TestExportKernel(t *testing.T) {
	root := healthy(t)
	const config, btf = "kernel-config", "btf/vmlinux"
	for _, tt := range []struct {
		name          string
		kernel        Kernel
		scrub         *Scrubber
		btf           string
		config        string
		missing, none bool
	}{
		{"same build", Kernel{BuildID: runningID, Release: "6.1.0", Ours: true}, nil, "types", "# comment pass=x\nCONFIG_KEYS=y\nCONFIG_DEFAULT_HOSTNAME=\"(none)\"\nCONFIG_CMDLINE=\"rd.token=hidden ro\"\n", false, false},
		{"scrubbed", Kernel{BuildID: runningID, Release: "6.1.0", Ours: true}, NewScrubber(nil, nil), "types", "# comment pass=x\nCONFIG_KEYS=y\nCONFIG_DEFAULT_HOSTNAME=\"(none)\"\nCONFIG_CMDLINE=\"rd.token=<secret-1> ro\"\n", false, false},
		{"of another machine", Kernel{BuildID: runningID, Release: "6.1.0"}, nil, "types", "", false, false},
		{"another build", Kernel{BuildID: "00" + runningID[2:], Release: "6.1.1", Ours: true}, nil, "", "", true, false},
		{"configuration in a module", Kernel{Release: "6.1.2", Ours: true}, nil, "", "CONFIG_IKCONFIG=m\n", true, false},
		{"no build ID", Kernel{Release: "../../boot", Ours: true, Unread: errors.New("damaged")}, nil, "", "", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.kernel.Root = root
			e := Export{Dump: newDump(t, map[string]string{"vmcore-dmesg.txt": "log\n"}), Kernel: &tt.kernel, Scrub: tt.scrub}
			var b bytes.Buffer
			if err := e.Write(&b, nil); err != nil {
				t.Fatal(err)
			}
			if (e.NoTypes != nil) != tt.missing {
				t.Errorf("%v", e.NoTypes)
			}
			got := imported(t, b.Bytes())
			if got[btf] != tt.btf || got[config] != tt.config {
				t.Errorf("got %q, %q\nwant %q, %q", got[btf], got[config], tt.btf, tt.config)
			}
			if _, ok := got["btf/ext4"]; ok != (tt.btf != "") {
				t.Errorf("BTF of a module: %v", ok)
			}
			if _, ok := got["btf/a.b"]; ok {
				t.Error("a file that is no module")
			}
		})
	}
}

// imported returns the files of an archive, as an import writes them.
func imported(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	parent := t.TempDir()
	file := filepath.Join(parent, "x.tar.zst")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	im := Import{Dir: filepath.Join(parent, "imported")}
	dir, err := im.File(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	return files(t, dir)
}

// Of real dumps the types are in their memory.
func TestExportKernelReal(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		d, err := dump.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		k, err := symbols.Open(d, d.Info(), d.Machine())
		if err != nil {
			t.Fatal(err)
		}
		e := Export{Dump: newDump(t, map[string]string{"vmcore-dmesg.txt": "log\n"}), Kernel: &Kernel{Root: t.TempDir(), Memory: k}}
		var b bytes.Buffer
		if err := e.Write(&b, nil); err != nil || e.NoTypes != nil {
			t.Fatal(err, e.NoTypes)
		}
		got := imported(t, b.Bytes())
		if _, err := symbols.ParseTypes([]byte(got["btf/vmlinux"])); err != nil || len(got) < 3 {
			t.Errorf("%s: %d files, %v", name, len(got), err)
		}
		t.Logf("%s: %d files, archive of %d bytes", name, len(got), b.Len())
	}
}

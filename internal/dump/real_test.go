package dump

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// realDumps returns vmcores of crashed machines.
func realDumps(t *testing.T) []string {
	t.Helper()
	dir := os.Getenv("UKDUMP_VMCORES")
	if dir == "" {
		t.Skip("UKDUMP_VMCORES is not set")
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*", "vmcore"))
	if len(names) == 0 {
		t.Fatalf("no vmcore in %s", dir)
	}
	return names
}

func openDump(t testing.TB, name string) *Dump {
	t.Helper()
	d, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestReal(t *testing.T) {
	for _, name := range realDumps(t) {
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) {
			d := openDump(t, name)
			info := d.Info()
			uts, ok := info.Symbol("init_uts_ns")
			if got := d.releaseAt(uts); !ok || got != info.Release() || got != d.Header().Release {
				t.Errorf("release %q in memory, %q in VMCOREINFO", got, info.Release())
			}
			root, _ := info.Symbol("swapper_pg_dir")
			page := make([]byte, 4096)
			if err := d.ReadVirt(page, root); err != nil || len(bytes.Trim(page, "\x00")) == 0 {
				t.Errorf("swapper_pg_dir: %v", err)
			}
			for i, r := range d.CPUs() {
				if err := d.ReadVirt(page[:64], r.SP()); err != nil || !r.Known {
					t.Errorf("CPU %d: stack at %#x: %v", i, r.SP(), err)
				}
				t.Logf("CPU %d: pid %d pc %#x sp %#x", i, r.PID, r.PC(), r.SP())
			}
			t.Logf("%s, %s, %d bytes, end %#x", d.Machine(), d.Header().Compression, d.PageSize(), d.MemoryEnd())
		})
	}
}

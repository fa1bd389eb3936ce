package dump

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ukdump/internal/dump/dumptest"
)

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
	for _, name := range dumptest.Real(t) {
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

// TestRealVariants has makedumpfile write a real dump in other formats, and compares every
// page. It makes no ELF core of a compressed dump.
func TestRealVariants(t *testing.T) {
	exe, err := exec.LookPath("makedumpfile")
	if err != nil {
		t.Skip(err)
	}
	for _, name := range dumptest.Real(t) {
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) {
			dir := t.TempDir()
			run := func(stdout string, args ...string) error {
				cmd := exec.Command(exe, args...)
				cmd.Dir = dir
				if stdout != "" {
					f, err := os.Create(filepath.Join(dir, stdout))
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					cmd.Stdout = f
				}
				return cmd.Run()
			}
			want := openDump(t, name)
			for _, v := range []struct {
				stdout string
				args   []string
				open   string
			}{
				{"", []string{"-c", "-d", "31", name, "zlib"}, "zlib"},
				{"", []string{"-l", "-d", "31", name, "lzo"}, "lzo"},
				{"", []string{"-d", "31", name, "none"}, "none"},
				{"flat", []string{"-F", "-c", "-d", "31", name}, "flat"},
				{"", []string{"--split", "-l", "-d", "31", name, "s1", "s2", "s3"}, "s2"},
			} {
				if err := run(v.stdout, v.args...); err != nil {
					t.Logf("makedumpfile %v: %v", v.args, err) // an old one lacks a compressor
					continue
				}
				d := openDump(t, filepath.Join(dir, v.open))
				if d.Missing() != nil || len(d.CPUs()) != len(want.CPUs()) || d.Info().Release() != want.Info().Release() {
					t.Errorf("%s: missing %v, %d CPUs, release %q", v.open, d.Missing(), len(d.CPUs()), d.Info().Release())
				}
				t.Logf("%s, %s: %d pages", v.open, d.Header().Format, comparePages(t, want, d))
			}
		})
	}
}

// comparePages compares all pages and returns their number.
func comparePages(t *testing.T, want, got *Dump) int {
	t.Helper()
	pages := 0
	a, b := make([]byte, 4096), make([]byte, 4096)
	for addr := uint64(0); addr < want.MemoryEnd(); addr += 4096 {
		errA, errB := want.ReadPhys(a, addr), got.ReadPhys(b, addr)
		if (errA == nil) != (errB == nil) || errA == nil && !bytes.Equal(a, b) {
			t.Fatalf("page %#x: %v, %v", addr, errA, errB)
		}
		if errA == nil {
			pages++
		}
	}
	return pages
}

// BenchmarkReal reads 10,000 pages of each dump, in no order.
func BenchmarkReal(b *testing.B) {
	for _, name := range dumptest.Real(b) {
		who := filepath.Base(filepath.Dir(name))
		b.Run(who+"/open", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d, err := Open(name)
				if err != nil {
					b.Fatal(err)
				}
				d.Close()
			}
		})
		b.Run(who+"/pages", func(b *testing.B) {
			d := openDump(b, name)
			var addrs []uint64
			for addr, ok := d.mem.next(0); ok && len(addrs) < 10000; addr, ok = d.mem.next(addr + 4096) {
				addrs = append(addrs, addr)
			}
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
			page := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				for _, addr := range addrs {
					if err := d.ReadPhys(page, addr); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(len(addrs)), "pages/op")
		})
	}
}

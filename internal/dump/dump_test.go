package dump

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testMachine has memory in pages 1 to 40 and 50 to 60; every fifth page is excluded.
func testMachine() *machine {
	m := newMachine("amd64", 4096)
	m.info = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\n"
	m.cpus = [][]uint64{make([]uint64, 27), make([]uint64, 27)}
	for i := range m.cpus[1] {
		m.cpus[1][i] = uint64(i + 1)
	}
	for n := uint64(1); n <= 60; n++ {
		if n > 40 && n < 50 {
			continue
		}
		p := m.page(n)
		switch n % 3 {
		case 0: // stays zero
		case 1:
			copy(p, bytes.Repeat([]byte{byte(n)}, 3000))
		case 2:
			for i := range p { // does not pack
				p[i] = byte(uint32(i)*2654435761>>13 ^ uint32(n)*40503>>3)
			}
		}
		m.filter[n] = n%5 == 0
	}
	return m
}

func TestReadPhys(t *testing.T) {
	m := testMachine()
	for name, b := range m.formats() {
		t.Run(name, func(t *testing.T) {
			d := open(t, b)
			for n := range m.end + 3 {
				checkPage(t, m, d, n)
			}
			// Across pages, and back.
			got := make([]byte, 6000)
			if err := d.ReadPhys(got, 1*4096+100); err != nil || !bytes.Equal(got, append(bytes.Clone(m.page(1)[100:]), m.page(2)...)[:6000]) {
				t.Errorf("two pages: %v", err)
			}
			var excluded *ExcludedError
			if err := d.ReadPhys(got, 4*4096+100); !errors.As(err, &excluded) || excluded.Addr != 5*4096 || !bytes.Equal(got[:3996], m.page(4)[100:]) {
				t.Errorf("up to an excluded page: %v", err)
			}
			var absent *AbsentError
			if err := d.ReadPhys(got, ^uint64(0)-100); !errors.As(err, &absent) {
				t.Errorf("end of all addresses: %v", err)
			}
		})
	}
}

func checkPage(t *testing.T, m *machine, d *Dump, n uint64) {
	t.Helper()
	got := make([]byte, 4096)
	err := d.ReadPhys(got, n*4096)
	var excluded *ExcludedError
	var absent *AbsentError
	switch {
	case m.filter[n]:
		if !errors.As(err, &excluded) || excluded.Addr != n*4096 {
			t.Errorf("page %d: %v, want an ExcludedError", n, err)
		}
	case m.pages[n] == nil:
		if !errors.As(err, &absent) || absent.Addr != n*4096 {
			t.Errorf("page %d: %v, want an AbsentError", n, err)
		}
	case err != nil || !bytes.Equal(got, m.pages[n]):
		t.Errorf("page %d: differs, or %v", n, err)
	}
}

// The pages that the dump has, in order.
func TestNext(t *testing.T) {
	m := testMachine()
	for name, b := range m.formats() {
		d := open(t, b)
		var got []uint64
		for addr, ok := d.mem.next(1); ok; addr, ok = d.mem.next(addr + 1) {
			got = append(got, addr/4096)
		}
		want := 0
		for _, n := range m.pfns() {
			if m.filter[n] {
				continue
			}
			if want >= len(got) || got[want] != n {
				t.Fatalf("%s: got %d, want page %d at %d", name, got, n, want)
			}
			want++
		}
		if want != len(got) {
			t.Errorf("%s: %d pages, want %d", name, len(got), want)
		}
	}
}

func TestRegisters(t *testing.T) {
	m := testMachine()
	for name, b := range m.formats() {
		if strings.HasPrefix(name, "version") && name < "version 4" {
			continue // these have no notes
		}
		cpus := open(t, b).CPUs()
		if len(cpus) != 2 {
			t.Errorf("%s: %d CPUs", name, len(cpus))
			continue
		}
		if _, ok := cpus[0].Get("rip"); ok || cpus[0].Known || cpus[0].PC() != 0 {
			t.Errorf("%s: zeros count as registers", name)
		}
		r := cpus[1]
		if gs, ok := r.Get("gs"); r.PID != 101 || r.PC() != 17 || r.SP() != 20 || r.FP() != 5 || gs != 27 || !ok {
			t.Errorf("%s: got %+v", name, r)
		}
		if _, ok := r.Get("x0"); ok {
			t.Errorf("%s: x86-64 has x0", name)
		}
	}
	m.arch = "arm64"
	m.cpus = [][]uint64{make([]uint64, 34)}
	for i := range m.cpus[0] {
		m.cpus[0][i] = uint64(i + 1)
	}
	r := open(t, m.elf()).CPUs()[0]
	if r.FP() != 30 || r.SP() != 32 || r.PC() != 33 {
		t.Errorf("arm64: got %+v", r)
	}
}

// split writes a dump in parts that end at these pages.
func split(m *machine, ends ...uint64) [][]byte {
	var parts [][]byte
	first := uint64(0)
	for i, end := range ends {
		parts = append(parts, m.kdump(format{flag: flagZlib, split: true, first: first, end: end, noInfo: i != 0}))
		first = end
	}
	return parts
}

func TestSplit(t *testing.T) {
	m := testMachine()
	dir := t.TempDir()
	var names []string
	for i, b := range split(m, 7, 33, m.end) {
		names = append(names, filepath.Join(dir, "part"+string(rune('a'+i))))
		if err := os.WriteFile(names[i], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := testMachine()
	other.end = 100
	os.WriteFile(filepath.Join(dir, "other"), split(other, 50, 100)[0], 0o600)
	os.WriteFile(filepath.Join(dir, "text"), []byte("KDUMP"), 0o600)
	os.Mkdir(filepath.Join(dir, "dir"), 0o700)
	for _, name := range names {
		d := openDump(t, name)
		for n := range m.end {
			checkPage(t, m, d, n)
		}
		if len(d.CPUs()) != 2 || d.Info().Release() != "6.1.0-test" || d.Missing() != nil {
			t.Errorf("%s: %d CPUs, release %q, missing %v", name, len(d.CPUs()), d.Info().Release(), d.Missing())
		}
	}
	d, err := OpenParts(names[2], names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var part *PartError
	if err := d.ReadPhys(make([]byte, 1), 11*4096); !errors.As(err, &part) || part.Addr != 11*4096 {
		t.Errorf("missing part: %v", err)
	}
	checkPage(t, m, d, 41)
	checkPage(t, m, d, 34)
	if got := d.Missing(); len(got) != 1 || got[0] != (Range{7 * 4096, 33 * 4096}) {
		t.Errorf("missing: %v", got)
	}
	for _, tt := range []struct {
		names []string
		want  string
	}{
		{[]string{names[0], names[0]}, "twice"},
		{[]string{names[0], filepath.Join(dir, "other")}, "another dump"},
		{[]string{names[0], filepath.Join(dir, "none")}, "no such file"},
		{nil, "no file"},
	} {
		if _, err := OpenParts(tt.names...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: error %v, want %q", tt.names, err, tt.want)
		}
	}
}

// A dump that was cut has the pages before the cut.
func TestCut(t *testing.T) {
	m := testMachine()
	for name, b := range m.formats() {
		for n := 0; n < len(b); n += 1 + len(b)/150 {
			d, err := New(bytes.NewReader(b[:n]), int64(n))
			if err != nil {
				continue
			}
			got := make([]byte, 4096)
			for pfn := range m.end {
				err := d.ReadPhys(got, pfn*4096)
				if err == nil && !bytes.Equal(got, m.pages[pfn]) {
					t.Fatalf("%s, cut at %d: page %d is wrong", name, n, pfn)
				}
			}
		}
	}
}

func TestDamage(t *testing.T) {
	m := testMachine()
	for _, flag := range []uint32{flagZlib, flagLzo, flagSnappy, flagZstd} {
		b := m.kdump(format{flag: flag})
		l := open(t, b).header.Layout()
		off := le.Uint64(b[l.Descs:])
		for i := range uint64(4) {
			b[off+i] ^= 0xff
		}
		var damaged *DamagedError
		d := open(t, b)
		if err := d.ReadPhys(make([]byte, 10), 4096+5); !errors.As(err, &damaged) || damaged.Addr != 4096+5 {
			t.Errorf("flag %d: %v", flag, err)
		}
		checkPage(t, m, d, 2)
		clear(b[l.Descs : l.Descs+pageDescSize])
		if err := open(t, b).ReadPhys(make([]byte, 10), 4096); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "never written") {
			t.Errorf("flag %d, no descriptor: %v", flag, err)
		}
	}
}

// The memory of a machine with 64 GiB, of which a few pages are dumped.
func TestHuge(t *testing.T) {
	m := newMachine("amd64", 4096)
	m.info = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\n"
	for _, n := range []uint64{0, chunkBits - 1, chunkBits, 3*chunkBits + 5, 1<<24 - 1} {
		copy(m.page(n), []byte{1, byte(n), byte(n >> 8)})
	}
	d := open(t, m.kdump(format{flag: flagZlib}))
	for n := range m.pages {
		checkPage(t, m, d, n)
	}
	checkPage(t, m, d, 1<<23)
	if d.MemoryEnd() != 64<<30 {
		t.Errorf("end %#x", d.MemoryEnd())
	}
}

func TestNotADump(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, make([]byte, 1<<20), []byte("makedumpfile"), bytes.Repeat([]byte("KDUMP   "), 1000)} {
		if _, err := New(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%.20q opens", b)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || strings.Count(err.Error(), "none") != 1 {
		t.Errorf("no file: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a directory opens")
	}
}

// badReader fails to read behind an offset.
type badReader struct {
	io.ReaderAt
	from int64
}

func (r badReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.from {
		return 0, errors.New("input/output error")
	}
	return r.ReaderAt.ReadAt(p, off)
}

func TestIOError(t *testing.T) {
	m := testMachine()
	b := m.kdump(format{})
	d, err := New(badReader{bytes.NewReader(b), int64(len(b)) - 4096}, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if err := d.ReadPhys(make([]byte, 10), 59*4096); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("got %v", err)
	}
}

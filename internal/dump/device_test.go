package dump

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"ukdump/internal/rawdump"
)

// A raw dump on a device, with and without its end.
func TestRawDump(t *testing.T) {
	const size = 16 << 20
	f, err := os.Create(filepath.Join(t.TempDir(), "device"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	w, err := rawdump.Create(f, size, rawdump.Header{ID: "abc", Started: time.Unix(1700000000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.BeginStream()
	if err != nil {
		t.Fatal(err)
	}
	m := testMachine()
	stream := flatten(m.kdump(format{flag: flagZlib}))
	if _, err := f.WriteAt(stream, s.Start); err != nil {
		t.Fatal(err)
	}
	if err := w.SaveLength(int64(len(stream))); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { return nil }, // the machine went down before the end
		func() error { return w.EndStream(int64(len(stream)), true, func() {}) },
		w.Finish,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		d := openDump(t, f.Name())
		for n := range m.end {
			checkPage(t, m, d, n)
		}
	}
}

// A file of 2 TiB that says of itself that it has 2 TiB of memory is opened and read in
// little memory.
func TestSparseFile(t *testing.T) {
	const pages = 1 << 29
	const bitmap = pages / 8
	m := fuzzMachine()
	b := m.kdump(format{version: 6})
	l := open(t, b).Header().Layout()
	le.PutUint32(b[436:], 2*bitmap/4096)
	le.PutUint64(b[4096+96:], pages)
	f, err := os.Create(filepath.Join(t.TempDir(), "vmcore"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b[:l.Memory], 0); err != nil {
		t.Fatal(err)
	}
	last := make([]byte, 1)
	last[0] = 0x80
	f.WriteAt(last, l.Memory+2*bitmap-1) // the last page is in the dump
	if err := f.Truncate(2 << 40); err != nil {
		t.Skip(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := openDump(t, f.Name())
	if err := d.ReadPhys(make([]byte, 10), (pages-1)*4096); err == nil {
		t.Error("a page without a descriptor is read")
	}
	var absent *AbsentError
	if err := d.ReadPhys(make([]byte, 10), pages/2*4096); !errors.As(err, &absent) {
		t.Errorf("got %v, want an AbsentError", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
}

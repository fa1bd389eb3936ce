package rawdump

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"ukdump/internal/fsid"
)

const testSize = MinSize

var testHeader = Header{
	ID: "6f1c2c1e-2f0e-4e55-a4b5-3f2a0f6cf3a1", Host: "lab", MachineID: "0123456789abcdef0123456789abcdef",
	Kernel: "6.1.0-50-amd64", Started: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC),
	Held: fsid.ID{Type: "swap", UUID: "01234567-89ab-cdef-0123-456789abcdef"},
}

var errPower = errors.New("no power")

// disk is a disk with a write cache: data written after the last Sync may be lost when
// the power goes.
type disk struct {
	now    []byte  // content for reads
	stable []byte  // content that survives a loss of power
	cached []write // since the last Sync
	ops    int     // writes and syncs that are still accepted
	done   int     // that were accepted
}

type write struct {
	off  int64
	data []byte
}

func newDisk(head []byte) *disk {
	d := &disk{now: make([]byte, testSize), ops: 1 << 30}
	for i := areaAt; i < len(d.now); i += 512 { // an old dump's bytes, say
		d.now[i] = 1
	}
	copy(d.now, head)
	d.stable = bytes.Clone(d.now)
	return d
}

// swapHead is the head of a swap area for pages of this size.
func swapHead(page int) []byte {
	b := make([]byte, page)
	copy(b, "boot loader")
	b[1024] = 1
	copy(b[1036:], "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef")
	copy(b[page-10:], "SWAPSPACE2")
	return b
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(d.now)) {
		n = copy(p, d.now[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) take() bool {
	d.ops--
	if d.ops >= 0 {
		d.done++
	}
	return d.ops >= 0
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(d.now)) {
		return 0, errors.New("written behind the end")
	}
	if !d.take() {
		if d.ops == -1 { // the write during which the power went
			d.cached = append(d.cached, write{off, bytes.Clone(p)})
		}
		return 0, errPower
	}
	copy(d.now[off:], p)
	d.cached = append(d.cached, write{off, bytes.Clone(p)})
	return len(p), nil
}

func (d *disk) Sync() error {
	if !d.take() {
		return errPower
	}
	for _, w := range d.cached {
		if d.stable == nil { // it is past the loss of power
			break
		}
		copy(d.stable[w.off:], w.data)
	}
	d.cached = nil
	return nil
}

// Parts of the cache that a loss of power can leave.
var losses = map[string]func(sector int64) bool{
	"all lost":     func(int64) bool { return false },
	"all written":  func(int64) bool { return true },
	"even sectors": func(s int64) bool { return s%2 == 0 },
	"odd sectors":  func(s int64) bool { return s%2 == 1 },
	"a third":      func(s int64) bool { return s%3 == 0 },
	"late sectors": func(s int64) bool { return s%8 >= 4 },
}

// after returns the disk as it comes up after the power went.
func (d *disk) after(kept func(sector int64) bool) *disk {
	img := bytes.Clone(d.stable)
	for _, w := range d.cached {
		for off := int64(0); off < int64(len(w.data)); off += sector {
			if kept((w.off + off) / sector) {
				copy(img[w.off+off:w.off+min(off+sector, int64(len(w.data)))], w.data[off:])
			}
		}
	}
	return &disk{now: img, ops: 1 << 30}
}

func text2(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func mustCreate(t testing.TB, d *disk) *Writer {
	t.Helper()
	w, err := Create(d, testSize, testHeader)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustOpen(t testing.TB, d *disk) *Dump {
	t.Helper()
	dump, err := Open(d, testSize)
	if err != nil {
		t.Fatal(err)
	}
	return dump
}

// fileText returns a file of the dump, "" if it is not there.
func fileText(t testing.TB, d *Dump, name string) string {
	t.Helper()
	for _, f := range d.Files {
		if f.Name == name {
			var b bytes.Buffer
			if err := d.CopyFile(&b, name); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
	}
	return ""
}

func checkStream(d *Dump) error {
	_, err := io.Copy(io.Discard, d.OpenStream())
	return err
}

package dumpfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// flat returns a flattened dump: pairs of an offset and a text.
func flat(records ...any) []byte {
	b := make([]byte, flatHdrSize)
	copy(b, flatMagic)
	be := binary.BigEndian
	be.PutUint64(b[16:], 1)
	be.PutUint64(b[24:], 1)
	for i := 0; i < len(records); i += 2 {
		data := records[i+1].(string)
		b = be.AppendUint64(b, uint64(records[i].(int)))
		b = be.AppendUint64(b, uint64(len(data)))
		b = append(b, data...)
	}
	return append(b, bytes.Repeat([]byte{0xff}, flatRecSize)...)
}

func unflattenTo(t testing.TB, r io.Reader) (string, int64, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "dump")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, uerr := Unflatten(f, r)
	b, err := os.ReadFile(name)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("the file has %d bytes, not %d: %v", len(b), size, err)
	}
	return string(b), size, uerr
}

func zeros(n int) string { return string(make([]byte, n)) }

func TestUnflatten(t *testing.T) {
	big := string(bytes.Repeat([]byte("0123456789abcdef"), 100<<10/16*7)) // more than the buffer
	for name, tt := range map[string]struct {
		in   []byte
		want string
	}{
		"empty":                    {flat(), ""},
		"in order":                 {flat(0, "abc", 3, "def"), "abcdef"},
		"the last counts":          {flat(3, "DEF", 0, "abcdef", 2, "C"), "abCdef"},
		"a hole":                   {flat(10, "x"), zeros(10) + "x"},
		"zeros at the end":         {flat(0, "x", 9000, zeros(5000)), "x" + zeros(13999)},
		"zeros over data":          {flat(0, big, 5000, zeros(9000)), big[:5000] + zeros(9000) + big[14000:]},
		"zeros over data and more": {flat(0, "abc", 1, zeros(9000)), "a" + zeros(9000)},
		"data over zeros":          {flat(0, zeros(20000), 5000, "abc"), zeros(5000) + "abc" + zeros(14997)},
		"more than the buffer":     {flat(7, big), zeros(7) + big},
		"something behind it":      {append(flat(0, "abc"), "junk"...), "abc"},
		"an ELF core":              {flatten(elfDump(0)), string(elfDump(0))},
	} {
		got, _, err := unflattenTo(t, bytes.NewReader(tt.in))
		if err != nil || got != tt.want {
			t.Errorf("%s: got %d bytes, %v; want %d", name, len(got), err, len(tt.want))
		}
	}
}

// Zero pages take no room.
func TestUnflattenSparse(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "dump"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Unflatten(f, bytes.NewReader(flat(0, "x"+zeros(8<<20)+"y"))); err != nil {
		t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if n := fi.Sys().(*syscall.Stat_t).Blocks * 512; fi.Size() != 8<<20+2 || n > 1<<20 {
		t.Errorf("%d bytes take %d", fi.Size(), n)
	}
}

// A stream that was cut is written as far as it goes.
func TestUnflattenCut(t *testing.T) {
	whole := flat(0, "abcdef", 4, "xyz", 1000, "END")
	want, _, _ := unflattenTo(t, bytes.NewReader(whole))
	for n := range whole {
		got, _, err := unflattenTo(t, bytes.NewReader(whole[:n]))
		var bad *FlatError
		if !errors.As(err, &bad) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if n >= len(whole)-flatRecSize && got != want {
			t.Errorf("cut at %d: got %q", n, got)
		}
		if n == flatHdrSize+flatRecSize+2 && got != "ab" {
			t.Errorf("cut inside a record: got %q", got)
		}
	}
}

func TestUnflattenRefuses(t *testing.T) {
	for name, in := range map[string][]byte{
		"no flattened dump": make([]byte, 8192),
		"another type":      append(append([]byte("makedumpfile\x00\x00\x00\x00"), make([]byte, 8)...), flat()[24:]...),
		"negative offset":   flat(-2, "x"),
		"negative size":     append(flat()[:flatHdrSize], "\x00\x00\x00\x00\x00\x00\x00\x00\xff\x00\x00\x00\x00\x00\x00\x00"...),
		"end too far":       append(flat()[:flatHdrSize], "\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x10\x00"...),
	} {
		var bad *FlatError
		if _, _, err := unflattenTo(t, bytes.NewReader(in)); !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Errors of the two sides come back as they are.
func TestUnflattenIO(t *testing.T) {
	boom := errors.New("boom")
	var bad *FlatError
	in := io.MultiReader(bytes.NewReader(flat(0, "abc")), failingReader{boom})
	if got, _, err := unflattenTo(t, in); !errors.Is(err, boom) || errors.As(err, &bad) || got != "abc" {
		t.Errorf("reading: got %q, %v", got, err)
	}
	if _, err := Unflatten(failingFile{boom}, bytes.NewReader(flat(0, "abc"))); !errors.Is(err, boom) || errors.As(err, &bad) {
		t.Errorf("writing: %v", err)
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

type failingFile struct{ err error }

func (f failingFile) WriteAt([]byte, int64) (int, error) { return 0, f.err }
func (f failingFile) Truncate(int64) error               { return nil }

// memory is a small dump in memory. It forgets all data beyond its size.
type memory struct{ b [1 << 16]byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off < int64(len(m.b)) {
		copy(m.b[off:], p)
	}
	return len(p), nil
}

func (m *memory) Truncate(int64) error { return nil }

func FuzzUnflatten(f *testing.F) {
	f.Add(flat(0, "abc", 5000, zeros(5000), 1, "x")[flatHdrSize:])
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, records []byte) {
		in := append(flat()[:flatHdrSize], records...)
		got := new(memory)
		size, err := Unflatten(got, bytes.NewReader(in))
		// The plain way: every record written where it belongs.
		want, wantSize := new(memory), int64(0)
		at := int64(flatHdrSize)
		for {
			rec, rerr := readFlatRecord(bytes.NewReader(in), at)
			if rerr != nil || rec.end {
				break
			}
			data := in[at+flatRecSize:]
			data = data[:min(int64(len(data)), rec.size)]
			want.WriteAt(data, rec.off)
			if len(data) > 0 {
				wantSize = max(wantSize, rec.off+int64(len(data)))
			}
			at += flatRecSize + rec.size
		}
		if got.b != want.b || size != wantSize {
			t.Errorf("%d bytes, want %d, or other ones: %v", size, wantSize, err)
		}
	})
}

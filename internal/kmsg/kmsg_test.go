package kmsg

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/dump"
	"ukdump/internal/dump/dumptest"
	"ukdump/internal/vmcore"
)

// The log in the memory of real dumps is the text that was saved beside it.
func TestReal(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		d, err := dump.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		var got strings.Builder
		levels := map[int]int{}
		if err := Read(d, func(r vmcore.Record) {
			levels[r.Level]++
			for line := range bytes.SplitSeq(r.Text, []byte("\n")) {
				fmt.Fprintf(&got, "[%5d.%06d] %s\n", r.Time/1e9, r.Time%1e9/1e3, line)
			}
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, err := os.ReadFile(filepath.Join(filepath.Dir(name), "vmcore-dmesg.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s: %d bytes, want %d, or other ones", name, got.Len(), len(want))
		}
		if levels[-1] > 0 || levels[6] == 0 || levels[0] == 0 {
			t.Errorf("%s: levels %v", name, levels)
		}
		var text, saved int
		ReadText(bytes.NewReader(want), func(vmcore.Record) { text++ })
		saved = bytes.Count(want, []byte("\n"))
		if text != saved {
			t.Errorf("%s: %d lines, want %d", name, text, saved)
		}
	}
}

// pages is memory of which only the first page is in the dump.
type pages struct{}

func (pages) ReadVirt(p []byte, addr uint64) error {
	if addr >= viewFirst+viewPage {
		return errors.New("excluded")
	}
	for i := range p {
		p[i] = byte(addr) + byte(i)
	}
	return nil
}

func TestView(t *testing.T) {
	v := newView(pages{}, "arm64")
	f, err := vmcore.Open(v)
	if err != nil || f.Machine != "arm64" {
		t.Fatalf("%+v, %v", f, err)
	}
	for _, tt := range []struct {
		off  int64
		size int
		n    int
		ok   bool
	}{
		{viewOffset + 1, 4, 4, true},
		{viewOffset + viewPage - 4, 8, 4, false},
		{viewOffset + viewPage, 8, 0, false},
		{viewOffset - 1, 8, 0, false},
		{viewOffset + viewSize - 4, 8, 0, false},
	} {
		n, err := v.ReadAt(make([]byte, tt.size), tt.off)
		if n != tt.n || (err == nil) != tt.ok {
			t.Errorf("%+v: %d, %v", tt, n, err)
		}
	}
}

func TestReadText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"[    1.000002] a\n[   12.5] b\n": "1000002000 a|1000002000 [   12.5] b|",
		"[    1.000002]\nno time":         "1000002000 |1000002000 no time|",
		"[99999999999.000000] x\n":        "0 [99999999999.000000] x|",
		"[-1.000000] x\n[ 1.00000x] y\n":  "0 [-1.000000] x|0 [ 1.00000x] y|",
	} {
		var got strings.Builder
		err := ReadText(strings.NewReader(in), func(r vmcore.Record) { fmt.Fprintf(&got, "%d %s|", r.Time, r.Text) })
		if got.String() != want || err != nil {
			t.Errorf("%q: %q, %v\nwant %q", in, got.String(), err, want)
		}
	}
	n := 0
	if err := ReadText(strings.NewReader(strings.Repeat("x", 3*maxLine)), func(vmcore.Record) { n++ }); n != 3 || err != nil {
		t.Errorf("%d pieces, %v", n, err)
	}
}

func FuzzReadText(f *testing.F) {
	f.Add("[    1.000002] a\nb")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		ReadText(strings.NewReader(text), func(r vmcore.Record) { n += len(r.Text) })
		if n > len(text) {
			t.Errorf("%d bytes of %d", n, len(text))
		}
	})
}

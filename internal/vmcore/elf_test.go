package vmcore

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	for _, xnum := range []bool{false, true} {
		c := &core{machine: emAarch64, cpus: 3, xnum: xnum, info: "OSRELEASE=6.1.0\nPAGESIZE=65536\nCRASHTIME=1700000000",
			mem: []block{{1 << 63, 0, make([]byte, 100)}, {1<<63 + 4096, 4096, make([]byte, 28)}}}
		f := mustOpen(t, c.bytes())
		if f.Machine != "arm64" || f.CPUs != 3 || f.Size() != 128 {
			t.Errorf("xnum %v: machine %q, %d CPUs, %d bytes", xnum, f.Machine, f.CPUs, f.Size())
		}
		if f.Info.Release() != "6.1.0" || f.Info.PageSize() != 65536 || f.Info.CrashTime() != 1700000000 {
			t.Errorf("xnum %v: info %v", xnum, f.Info)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	good := (&core{cpus: 1, info: "OSRELEASE=6.1.0", mem: []block{{1 << 63, 0, make([]byte, 64)}}}).bytes()
	edit := func(off int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[off:], b)
		return c
	}
	for _, x := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "unexpected EOF"},
		{"text", bytes.Repeat([]byte("x"), 100), "not an ELF file"},
		{"32 bits", edit(4, 1), "64-bit"},
		{"big endian", edit(5, 2), "little-endian"},
		{"executable", edit(16, 2), "not an ELF core"},
		{"machine", edit(18, 3), "e_machine is 3"},
		{"header size", edit(54, 55), "not 56"},
		{"no program headers", good[:ehdrSize], "program header 0 of 2"},
		{"cut notes", good[:ehdrSize+2*phdrSize+100], "read ELF notes"},
		{"far offset", edit(ehdrSize+8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "outside of any file"},
		{"long note", edit(ehdrSize+2*phdrSize+4, 0xff, 0xff), "longer than its segment"},
	} {
		_, err := Open(bytes.NewReader(x.data))
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: error %v, want %q", x.name, err, x.want)
		}
	}
	_, err := Open(bytes.NewReader(good[:10]))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut header: %v is not io.ErrUnexpectedEOF", err)
	}
}

func TestInfo(t *testing.T) {
	in := ParseInfo([]byte("OSRELEASE=6.1.0\nSYMBOL(_stext)=ffffffff81000000\nSIZE(page)=64\nOFFSET(page.flags)=0\n" +
		"LENGTH(x)=11\nNUMBER(phys_base)=-16777216\nNUMBER(kimage_voffset)=0xffff800040000000\nNUMBER(bad)=zz\n" +
		"KERNELOFFSET=2c600000\nno value\nCRASHTIME=1\nCRASHTIME=2\x00\x00"))
	for _, x := range []struct {
		name string
		get  func() (uint64, bool)
		want uint64
		ok   bool
	}{
		{"symbol", func() (uint64, bool) { return in.Symbol("_stext") }, 0xffffffff81000000, true},
		{"size", func() (uint64, bool) { return in.Size("page") }, 64, true},
		{"offset", func() (uint64, bool) { return in.Offset("page.flags") }, 0, true},
		{"negative", func() (uint64, bool) { return in.Number("phys_base") }, 0xffffffffff000000, true},
		{"hexadecimal", func() (uint64, bool) { return in.Number("kimage_voffset") }, 0xffff800040000000, true},
		{"bad", func() (uint64, bool) { return in.Number("bad") }, 0, false},
		{"missing", func() (uint64, bool) { return in.Symbol("prb") }, 0, false},
	} {
		if got, ok := x.get(); got != x.want || ok != x.ok {
			t.Errorf("%s: %#x, %v, want %#x, %v", x.name, got, ok, x.want, x.ok)
		}
	}
	if in.CrashTime() != 2 {
		t.Errorf("crash time %d, want the last", in.CrashTime())
	}
	var empty Info
	if empty.Release() != "" || empty.PageSize() != 0 {
		t.Error("empty Info is not empty")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add((&core{cpus: 2, info: "OSRELEASE=6.1.0", mem: []block{{1 << 63, 0, make([]byte, 64)}}}).bytes())
	f.Add((&core{machine: emAarch64, xnum: true}).bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Open(bytes.NewReader(b))
		if err == nil && (v.Size() < 0 || v.Machine == "") {
			t.Errorf("size %d, machine %q", v.Size(), v.Machine)
		}
	})
}

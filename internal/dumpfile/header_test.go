package dumpfile

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

const testBlock = 4096

// kdump builds a kdump-compressed dump of 100 page frames, every third of
// which is in it, as makedumpfile writes it.
func kdump(status uint32) []byte {
	const maxPFN = 100
	b := make([]byte, 6*testBlock) // header, sub header, bitmaps of 2 blocks each
	copy(b, kdumpMagic)
	le.PutUint32(b[8:], 6)
	copy(b[77:], "host")
	copy(b[142:], "6.1.0-test")
	copy(b[272:], "x86_64")
	le.PutUint64(b[408:], 1700000000)
	le.PutUint32(b[424:], status)
	le.PutUint32(b[428:], testBlock)
	le.PutUint32(b[432:], 1)
	le.PutUint32(b[436:], 4)
	sub := b[testBlock:]
	le.PutUint32(sub[8:], 31)
	le.PutUint64(sub[32:], testBlock+200)
	le.PutUint64(sub[40:], 100)
	le.PutUint64(sub[96:], maxPFN)
	pages := 0
	for pfn := 0; pfn < maxPFN; pfn += 3 {
		b[4*testBlock+pfn/8] |= 1 << (pfn % 8)
		pages++
	}
	off := uint64(len(b) + pages*pageDescSize)
	for range pages {
		b = le.AppendUint64(b, off)
		b = le.AppendUint32(b, 50)
		b = le.AppendUint32(b, 0)
		b = le.AppendUint64(b, 0)
		off += 50
	}
	return append(b, make([]byte, pages*50)...)
}

// flatten writes a dump as makedumpfile -F does. Part of its head is written wrong
// first: what is written later counts.
func flatten(dump []byte) []byte {
	var b bytes.Buffer
	f, err := NewFlatWriter(&b)
	if err != nil {
		panic(err)
	}
	if len(dump) > 0 {
		f.WriteAt(bytes.Repeat([]byte{0x55}, 100), 272)
	}
	off := 0
	for part := range slices.Chunk(dump, 1000) {
		f.WriteAt(part, int64(off))
		off += len(part)
	}
	f.Close()
	return b.Bytes()
}

// The header and record layout, byte for byte.
func TestFlatWriter(t *testing.T) {
	var b bytes.Buffer
	f, _ := NewFlatWriter(&b)
	f.WriteAt([]byte("xyz"), 0x102)
	f.WriteAt(nil, 7)
	f.Close()
	want := "makedumpfile" + strings.Repeat("\x00", 4+7) + "\x01" + strings.Repeat("\x00", 7) + "\x01" + strings.Repeat("\x00", flatHdrSize-32) +
		"\x00\x00\x00\x00\x00\x00\x01\x02" + "\x00\x00\x00\x00\x00\x00\x00\x03" + "xyz" + strings.Repeat("\xff", 16)
	if b.String() != want {
		t.Errorf("got %q", b.String())
	}
}

// elfDump builds an x86-64 core as the kernel writes it: a PT_NOTE segment with
// VMCOREINFO, then a PT_LOAD segment of 5000 bytes.
func elfDump(flags uint32) []byte {
	const headers = 64 + 2*56
	info := "OSRELEASE=6.1.0-test\nPAGESIZE=4096"
	note := le.AppendUint32(nil, uint32(len("VMCOREINFO\x00")))
	note = le.AppendUint32(note, uint32(len(info)))
	note = append(note, "\x00\x00\x00\x00VMCOREINFO\x00\x00"+info...)
	note = append(note, make([]byte, -len(note)&3)...)
	b := make([]byte, headers)
	copy(b, elfMagic+"\x02\x01\x01")
	le.PutUint16(b[16:], 4)  // ET_CORE
	le.PutUint16(b[18:], 62) // EM_X86_64
	le.PutUint64(b[32:], 64)
	le.PutUint32(b[48:], flags)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	phdr := func(b []byte, typ uint32, off, vaddr, size int) {
		le.PutUint32(b, typ)
		le.PutUint64(b[8:], uint64(off))
		le.PutUint64(b[16:], uint64(vaddr))
		le.PutUint64(b[32:], uint64(size))
		le.PutUint64(b[40:], uint64(size))
	}
	phdr(b[64:], 4, headers, 0, len(note))
	phdr(b[64+56:], 1, headers+len(note), 1<<62, 5000)
	return slices.Concat(b, note, make([]byte, 5000))
}

func TestReadHeader(t *testing.T) {
	common := Header{Format: Kdump, Complete: true, DumpLevel: 31, Machine: "amd64", Release: "6.1.0-test", Nodename: "host", Time: 1700000000, BlockSize: 4096}
	with := func(edit func(*Header)) Header {
		h := common
		edit(&h)
		return h
	}
	for _, x := range []struct {
		name string
		dump []byte
		want Header
	}{
		{"none", kdump(0), with(func(h *Header) { h.Compression = "none" })},
		{"zlib", kdump(dhZlib), with(func(h *Header) { h.Compression = "zlib" })},
		{"lzo", kdump(dhLzo), with(func(h *Header) { h.Compression = "lzo" })},
		{"snappy", kdump(dhSnappy), with(func(h *Header) { h.Compression = "snappy" })},
		{"zstd", kdump(dhZstd), with(func(h *Header) { h.Compression = "zstd" })},
		{"incomplete", kdump(dhZlib | dhIncomplete), with(func(h *Header) { h.Compression, h.Complete = "zlib", false })},
		{"flattened", flatten(kdump(dhZlib)), with(func(h *Header) { h.Compression, h.Format = "zlib", Flattened })},
		{"flattened elf", flatten(elfDump(0)), Header{Format: Flattened, Complete: true, Machine: "amd64", Release: "6.1.0-test", BlockSize: 4096}},
		{"elf", elfDump(0), Header{Format: ELF, Complete: true, Machine: "amd64", Release: "6.1.0-test", BlockSize: 4096}},
		{"incomplete elf", elfDump(elfIncomplete), Header{Format: ELF, Machine: "amd64", Release: "6.1.0-test", BlockSize: 4096}},
	} {
		r := bytes.NewReader(x.dump)
		h, err := ReadHeader(r)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		verr := h.Verify(r, int64(len(x.dump)))
		if (verr == nil) != x.want.Complete {
			t.Errorf("%s: Verify says %v", x.name, verr)
		}
		h.bitmap, h.bitmapSize, h.maxPFN, h.extras = 0, 0, 0, [3]extent{}
		if h != x.want {
			t.Errorf("%s: %+v, want %+v", x.name, h, x.want)
		}
	}
}

func TestReadHeaderRefuses(t *testing.T) {
	good := kdump(dhZlib)
	edit := func(off int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[off:], b)
		return c
	}
	for _, x := range []struct {
		name string
		dump []byte
		want string
	}{
		{"empty", nil, "read dump header: the file is empty"},
		{"one byte", good[:1], "the file is too short for a dump"},
		{"15 bytes", good[:15], "the file is too short for a dump"},
		{"zeros", make([]byte, 8192), "not a dump"},
		{"diskdump", edit(0, []byte("DISKDUMP")...), "not a dump"},
		{"machine", edit(272, []byte("s390x\x00")...), `"s390x"`},
		{"block size", edit(428, 0, 0, 0), "not a page size"},
		{"version", edit(8, 0), "version 0"},
		{"no bitmap", edit(436, 0), "bitmaps of 0"},
		{"too many pages", edit(testBlock+96, 0, 0, 0, 0, 1), "too small"},
		{"cut in header", good[:400], "the file ends inside the header: it was cut off"},
		{"cut in sub header", good[:testBlock+50], "sub header"},
		{"cut in bitmaps", good[:6*testBlock-1], "ends before its bitmaps"},
		{"flattened, cut", flatten(good)[:flatHdrSize+500], "the file ends inside the header: it was cut off"},
		{"flattened, empty", flatten(nil), "no dump inside"},
		{"flattened, bad record", slices.Concat(flatten(nil)[:flatHdrSize], bytes.Repeat([]byte{0x80}, 16)), "impossible size"},
		{"flattened, version", edit(0, []byte("makedumpfile\x00\x00\x00\x00")...), "type 0"},
	} {
		if _, err := ReadHeader(bytes.NewReader(x.dump)); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: error %v, want %q", x.name, err, x.want)
		}
	}
	if _, err := ReadHeader(bytes.NewReader(good[:400])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v is not io.ErrUnexpectedEOF", err)
	}
}

// TestVerifyCuts checks that no dump passes without its end.
func TestVerifyCuts(t *testing.T) {
	for name, dump := range map[string][]byte{"kdump": kdump(dhZlib), "flattened": flatten(kdump(0)), "elf": elfDump(0)} {
		for n := 0; n < len(dump); n += 1 + (len(dump)-n)/200 {
			r := bytes.NewReader(dump[:n])
			h, err := ReadHeader(r)
			if err == nil && h.Verify(r, int64(n)) == nil {
				t.Fatalf("%s: passes with %d of %d bytes", name, n, len(dump))
			}
		}
	}
}

func TestVerifyDamage(t *testing.T) {
	descs := 6 * testBlock
	for _, x := range []struct {
		name string
		off  int
		b    []byte
		want string
	}{
		{"descriptors never written", descs + 10*pageDescSize, make([]byte, 5*pageDescSize), "page 10 of 34"},
		{"page too long", descs + 3*pageDescSize + 8, []byte{1, 16}, "page 3 of 34"},
		{"negative offset", descs, bytes.Repeat([]byte{0xff}, 8), "page 0 of 34"},
		{"more pages than descriptors", 4*testBlock + 1, []byte{0xff, 0xff}, "page"},
		{"VMCOREINFO outside", testBlock + 32 + 6, []byte{1}, "VMCOREINFO"},
		{"split", testBlock + 12, []byte{1}, "split"},
	} {
		dump := kdump(dhZlib)
		copy(dump[x.off:], x.b)
		r := bytes.NewReader(dump)
		h, err := ReadHeader(r)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if err := h.Verify(r, int64(len(dump))); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: error %v, want %q", x.name, err, x.want)
		}
	}
	if (Header{Complete: true}).Verify(bytes.NewReader(nil), 0) == nil {
		t.Error("an empty header verifies")
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, dump := range [][]byte{kdump(dhZlib), flatten(kdump(0)), elfDump(0), flatten(nil)} {
		f.Add(dump)
	}
	f.Fuzz(func(t *testing.T, dump []byte) {
		r := bytes.NewReader(dump)
		h, err := ReadHeader(r)
		if err != nil {
			return
		}
		if h.Machine != "amd64" && h.Machine != "arm64" {
			t.Errorf("machine %q", h.Machine)
		}
		h.Verify(r, int64(len(dump)))
	})
}

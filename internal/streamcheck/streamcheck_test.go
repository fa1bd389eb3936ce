package streamcheck

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/dump/dumptest"
	"ukdump/internal/dumpfile"
	"ukdump/internal/vmcore"
)

var le = binary.LittleEndian

const (
	block   = 4096
	frames  = 100 // page frames; every third is in the dump
	inDump  = 34
	bitmap  = 2 * block
	dumped  = 4 * block
	descs   = 6 * block
	dataAt  = descs + inDump*descSize
	pageLen = 50
)

// kdump builds a kdump-compressed dump as makedumpfile writes it.
func kdump(status uint32) []byte {
	b := make([]byte, descs)
	copy(b, "KDUMP   ")
	le.PutUint32(b[8:], 6)
	copy(b[142:], "6.1.0-test")
	copy(b[272:], "x86_64")
	le.PutUint32(b[424:], status)
	le.PutUint32(b[428:], block)
	le.PutUint32(b[432:], 1)
	le.PutUint32(b[436:], 4)
	sub := b[block:]
	le.PutUint32(sub[8:], 31)
	le.PutUint64(sub[32:], block+200)
	le.PutUint64(sub[40:], 100)
	le.PutUint64(sub[96:], frames)
	for pfn := 0; pfn < frames; pfn += 3 {
		b[dumped+pfn/8] |= 1 << (pfn % 8)
	}
	off := uint64(dataAt)
	for range inDump {
		b = le.AppendUint64(b, off)
		b = le.AppendUint32(b, pageLen)
		b = le.AppendUint32(b, 1)
		b = le.AppendUint64(b, 0)
		off += pageLen
	}
	return append(b, bytes.Repeat([]byte{7}, inDump*pageLen)...)
}

// elfCore builds an x86-64 core of a memory at the physical address 0.
func elfCore(flags uint32, mem []byte) []byte {
	note := le.AppendUint32(nil, 11)
	note = le.AppendUint32(note, 14)
	note = append(note, "\x00\x00\x00\x00VMCOREINFO\x00\x00PAGESIZE=4096\n\x00\x00"...)
	b := make([]byte, 64+2*56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 4)
	le.PutUint16(b[18:], 62)
	le.PutUint64(b[32:], 64)
	le.PutUint32(b[48:], flags)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	for i, x := range [2][3]int{{4, len(b), len(note)}, {1, len(b) + len(note), len(mem)}} {
		p := b[64+56*i:]
		le.PutUint32(p, uint32(x[0]))
		le.PutUint64(p[8:], uint64(x[1]))
		le.PutUint64(p[32:], uint64(x[2]))
		le.PutUint64(p[40:], uint64(x[2]))
	}
	return slices.Concat(b, note, mem)
}

// memory has a mark in every third page.
func memory(pages int) ([]byte, []vmcore.Mark) {
	mem := make([]byte, pages*block)
	var marks []vmcore.Mark
	for pfn := 0; pfn < pages; pfn += 3 {
		mem[pfn*block+5] = byte(pfn + 1)
		marks = append(marks, vmcore.Mark{What: "the kernel log", Addr: uint64(pfn*block + 5), Byte: byte(pfn + 1)})
	}
	return elfCore(0, mem), marks
}

// piece is a record of a flattened dump: a part of the dump inside.
type piece struct{ start, end int }

// flatten writes pieces of a dump, all of it in pieces of 1000 bytes without them.
func flatten(dump []byte, pieces ...piece) []byte {
	if pieces == nil {
		for off := 0; off < len(dump); off += 1000 {
			pieces = append(pieces, piece{off, min(off+1000, len(dump))})
		}
	}
	var b bytes.Buffer
	f, err := dumpfile.NewFlatWriter(&b)
	if err != nil {
		panic(err)
	}
	for _, p := range pieces {
		f.WriteAt(dump[p.start:p.end], int64(p.start))
	}
	f.Close()
	return b.Bytes()
}

// cyclic is the order of makedumpfile with two cycles and small buffers: the bitmap of
// the first 48 page frames with the pages of 16, then the rest. Descriptors and data
// are cut anywhere, data come first, and the header comes again.
var cyclic = []piece{
	{0, 464}, {block, block + 104}, {block + 200, block + 300},
	{bitmap, bitmap + 6}, {bitmap + 6, bitmap + 13},
	{dumped, dumped + 6}, {dataAt, dataAt + 333}, {dataAt + 333, dataAt + 700}, {descs, descs + 301},
	{dumped + 6, dumped + 13}, {dataAt + 700, dataAt + 1500}, {descs + 301, descs + 500}, {descs + 500, dataAt}, {dataAt + 1500, dataAt + inDump*pageLen},
	{0, 464},
}

func edited(b []byte, off int, x ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[off:], x)
	return b
}

func without(list []piece, i int) []piece { return slices.Delete(slices.Clone(list), i, i+1) }

// check writes a stream in pieces of n bytes.
func check(stream []byte, n int, mem *dumpfile.Memory) (Summary, error) {
	c := New(mem)
	for part := range slices.Chunk(stream, n) {
		c.Write(part)
	}
	return c.Close()
}

func memoryOf(t testing.TB, core []byte, marks []vmcore.Mark) *dumpfile.Memory {
	t.Helper()
	f, err := vmcore.Open(bytes.NewReader(core))
	if err != nil {
		t.Fatal(err)
	}
	return &dumpfile.Memory{Core: f, Marks: marks}
}

func TestChecker(t *testing.T) {
	core, marks := memory(frames)
	mem := memoryOf(t, core, marks)
	full := kdump(1)
	whole := flatten(full)
	const level, maxPFN, desc = block + 8, block + 96, descs
	for _, tt := range []struct {
		name   string
		stream []byte
		want   string // "" for a good dump
	}{
		{"in order", whole, ""},
		{"one record", flatten(full, piece{0, len(full)}), ""},
		{"written by cycles", flatten(full, cyclic...), ""},
		{"ELF", flatten(core), ""},
		{"ELF with holes", flatten(core, piece{0, 5000}, piece{5000, 200 << 10}, piece{300 << 10, 400 << 10}, piece{204800, 307200}, piece{400 << 10, len(core)}), ""},
		{"header of the beginning replaced", append(append(bytes.Clone(whole[:block]), flatten(make([]byte, 600))[block:block+616]...), whole[block:]...), ""},

		{"empty", nil, "without an end mark"},
		{"signature only", whole[:block], "without an end mark"},
		{"another signature", edited(whole, 0, 'M'), "not a flattened dump"},
		{"another version", edited(whole, 31, 2), "not a flattened dump"},
		{"no records", flatten(nil), "no dump inside"},
		{"no dump", flatten(make([]byte, 1<<20)), "no KDUMP signature"},
		{"no end mark", whole[:len(whole)-16], "without an end mark"},
		{"half an end mark", whole[:len(whole)-7], "without an end mark"},
		{"behind the end mark", append(bytes.Clone(whole), 0), "behind the end mark"},
		{"negative offset", edited(whole, block, 0x80), "impossible size"},
		{"size 0", edited(whole, block+8, 0, 0, 0, 0, 0, 0, 0, 0), "impossible size"},
		{"marked incomplete", flatten(kdump(1 | 8)), "marked it as incomplete"},
		{"marked incomplete at the end", append(flatten(full)[:len(whole)-16], flatten(kdump(9), piece{0, 464})[block:]...), "marked it as incomplete"},
		{"another layout at the end", append(flatten(full)[:len(whole)-16], flatten(edited(full, 436, 8), piece{0, 464})[block:]...), "another layout"},
		{"split", flatten(edited(full, block+12, 1)), "split"},
		{"bitmap twice", append(flatten(full)[:len(whole)-16], flatten(full, piece{dumped, dumped + 1})[block:]...), "bitmap is written twice"},
		{"without a part of the bitmap", flatten(full, without(cyclic, 5)...), "lacks a part"},
		{"without the last descriptors", flatten(full, without(cyclic, 12)...), "descriptors of 20"},
		{"without the first descriptors", flatten(full, without(cyclic, 8)...), "page descriptors at offset"},
		{"without data in the middle", flatten(full, without(cyclic, 7)...), "the data of pages end"},
		{"without the last data", flatten(full, without(cyclic, 13)...), "the data of pages end"},
		{"without pages", flatten(edited(full, dumped, make([]byte, 13)...)), "no pages"},
		{"with more pages", flatten(edited(full, dumped, 0xff)), "a page"},
		{"unknown compression", flatten(edited(full, desc+12, 3)), "unknown method 0x3"},
		{"page of 0 bytes", flatten(edited(full, desc+8, 0)), "impossible data"},
		{"page too long", flatten(edited(full, desc+8, 1, 16)), "impossible data"},
		{"page in the header", flatten(edited(full, desc, 0, 0)), "impossible data"},
		{"page in the descriptors", flatten(edited(full, desc, 0x18)), "before the end of the descriptors"},
		{"page far behind the end", flatten(edited(full, desc+7, 0xff)), "impossible data"},
		{"page behind the end", flatten(edited(full, desc+2, 2)), "the data of pages end"},
		{"VMCOREINFO behind the end", flatten(edited(full, block+35, 1)), "not inside"},
		{"without a page of the log", flatten(edited(edited(full, dumped, 0x51), maxPFN, frames)), "lacks a page of the kernel log"},
		{"covers a tenth", flatten(edited(full, maxPFN, 10)), "lacks a page"},
		{"level 0", flatten(edited(full, level, 0)), "its level excludes none"},
		{"ELF, small, program headers last", lateELF(core), ""},
		{"ELF, large, program headers last", lateELF(append(bytes.Clone(core), make([]byte, maxHead)...)), "before its header"},
		{"ELF of holes", flatten(edited(core, len(core)-frames*block, make([]byte, frames*block)...)), "lacks a page"},
		{"ELF, cut", flatten(core, piece{0, len(core) - 1}), "bytes and needs"},
		{"ELF, incomplete", flatten(edited(core, 48, 1)), "marked it as incomplete"},
		{"scattered", scattered(full), "too many parts"},
		{"header last", flatten(append(make([]byte, 9<<20), full...), piece{9 << 20, 9<<20 + 10}), "before its header"},
	} {
		for _, n := range []int{1 << 20, 4097, 7} {
			s, err := check(tt.stream, n, mem)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s, pieces of %d bytes: error %v, want %q", tt.name, n, err, tt.want)
			}
			if s.Size != int64(len(tt.stream)) || s.SHA256 != sha256.Sum256(tt.stream) {
				t.Errorf("%s: another size or sum", tt.name)
			}
		}
	}
}

// scattered writes each second byte of the data only.
func scattered(dump []byte) []byte {
	pieces := slices.Clone(cyclic[:6])
	for off := dataAt; off < len(dump); off += 2 {
		pieces = append(pieces, piece{off, off + 1})
	}
	return flatten(dump, pieces...)
}

// lateELF writes an ELF core in the order of makedumpfile -E.
func lateELF(core []byte) []byte {
	const headers = 64 + 2*56
	early := bytes.Clone(core)
	clear(early[64:headers])
	b := flatten(early, piece{64, headers}, piece{0, 64}, piece{headers, 5000}, piece{5000, len(core)})
	return append(b[:len(b)-16], flatten(core, piece{64, headers})[block:]...)
}

func TestSummary(t *testing.T) {
	full := kdump(1)
	stream := flatten(full, cyclic...)
	s, err := check(stream, 100, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.DumpSize != int64(len(full)) || s.Pages != inDump || s.Header.Release != "6.1.0-test" || s.Header.Format != dumpfile.Flattened {
		t.Errorf("got %+v", s)
	}
}

// No stream passes without its end.
func TestCuts(t *testing.T) {
	core, _ := memory(3)
	for name, stream := range map[string][]byte{"in order": flatten(kdump(1)), "cycles": flatten(kdump(1), cyclic...), "ELF": flatten(core)} {
		for n := range stream {
			if _, err := check(stream[:n], 1<<20, nil); err == nil {
				t.Fatalf("%s: passes with %d of %d bytes", name, n, len(stream))
			}
		}
	}
}

// The head of the dump takes as much memory as was written, not as much as it claims.
func TestHeadIsBounded(t *testing.T) {
	c := New(nil)
	b := flatten(nil)[:block]
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, 1<<60)
	c.Write(b)
	zeros := make([]byte, 1<<20)
	for range 20 {
		c.Write(zeros)
	}
	if c.Err() == nil || cap(c.dump.head.b) > 2*maxHead {
		t.Errorf("keeps %d bytes, error %v", cap(c.dump.head.b), c.Err())
	}
}

func TestSpans(t *testing.T) {
	var s spans
	for _, x := range [][2]int64{{10, 20}, {30, 40}, {0, 5}, {20, 25}, {4, 11}, {25, 30}, {50, 60}, {45, 70}} {
		if err := s.add(x[0], x[1]); err != nil {
			t.Fatal(err)
		}
	}
	if want := (spans{{0, 40}, {45, 70}}); !slices.Equal(s, want) {
		t.Errorf("got %v, want %v", s, want)
	}
	if s.from(0) != 40 || s.from(39) != 40 || s.from(40) != 40 || s.overlaps(40, 45) || !s.overlaps(39, 41) {
		t.Error("from or overlaps")
	}
	for i := range maxSpans + 1 {
		if err := s.add(int64(100+2*i), int64(101+2*i)); err != nil {
			return
		}
	}
	t.Error("no bound")
}

// TestMakedumpfile checks streams that makedumpfile(8) writes, from vmcores in
// UKDUMP_VMCORES.
func TestMakedumpfile(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		for _, args := range [][]string{{"-c", "-d", "31"}, {"-c", "-d", "31", "--cyclic-buffer", "4"}, {"-d", "31", "--num-threads", "2"}} {
			t.Run(fmt.Sprint(filepath.Base(filepath.Dir(name)), args), func(t *testing.T) {
				cmd := exec.Command("makedumpfile", append(append([]string{"-F"}, args...), name)...)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Skip(err)
				}
				c := New(nil)
				if _, err := io.Copy(c, out); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); err != nil {
					t.Skip("makedumpfile refuses this: ", err)
				}
				s, err := c.Close()
				if err != nil {
					t.Error(err)
				}
				t.Logf("%d bytes, %d pages", s.Size, s.Pages)
			})
		}
	}
}

// FuzzChecker checks that a stream that passes is a whole dump for package dumpfile,
// however it is cut.
func FuzzChecker(f *testing.F) {
	core, marks := memory(frames)
	mem := memoryOf(f, core, marks)
	small, _ := memory(2)
	for _, s := range [][]byte{flatten(kdump(1)), flatten(kdump(1), cyclic...), flatten(small), flatten(nil)} {
		f.Add(s, uint16(100))
	}
	f.Fuzz(func(t *testing.T, stream []byte, n uint16) {
		_, err := check(stream, int(n)+1, mem)
		if err != nil {
			return
		}
		r := bytes.NewReader(stream)
		h, err := dumpfile.ReadHeader(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.VerifyMemory(r, r.Size(), *mem); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkChecker(b *testing.B) {
	full := kdump(1)
	full = append(full, make([]byte, 64<<20)...)
	stream := flatten(full, append(slices.Clone(cyclic), piece{descs + inDump*(descSize+pageLen), len(full)})...)
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		if _, err := check(stream, 64<<10, nil); err != nil {
			b.Fatal(err)
		}
	}
}

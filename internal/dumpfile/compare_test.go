package dumpfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/vmcore"
)

// elfCoreOf builds an x86-64 core of a memory that begins at a physical address.
func elfCoreOf(info string, paddr uint64, mem []byte) []byte {
	note := le.AppendUint32(nil, 11)
	note = le.AppendUint32(note, uint32(len(info)))
	note = append(note, "\x00\x00\x00\x00VMCOREINFO\x00\x00"+info...)
	note = append(note, make([]byte, -len(note)&3)...)
	b := make([]byte, 64+2*56)
	copy(b, elfMagic+"\x02\x01\x01")
	le.PutUint16(b[16:], 4)
	le.PutUint16(b[18:], 62)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	for i, x := range [2][4]uint64{{4, 64 + 2*56, 0, uint64(len(note))}, {1, uint64(64 + 2*56 + len(note)), paddr, uint64(len(mem))}} {
		p := b[64+56*i:]
		le.PutUint32(p, uint32(x[0]))
		le.PutUint64(p[8:], x[1])
		le.PutUint64(p[24:], x[2])
		le.PutUint64(p[32:], x[3])
		le.PutUint64(p[40:], x[3])
	}
	return slices.Concat(b, note, mem)
}

// testMemory has as many pages as the dump of kdump, with a byte in every third.
func testMemory(pages int) (core []byte, marks []vmcore.Mark) {
	mem := make([]byte, pages*testBlock)
	for pfn := 0; pfn < pages; pfn += 3 {
		mem[pfn*testBlock+5] = byte(pfn + 1)
		marks = append(marks, vmcore.Mark{What: "the kernel log", Addr: uint64(pfn*testBlock + 5), Byte: byte(pfn + 1)})
	}
	return elfCoreOf("PAGESIZE=4096\n", 0, mem), marks
}

func edited(b []byte, off int, x ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[off:], x)
	return b
}

func TestVerifyMemory(t *testing.T) {
	core, marks := testMemory(100)
	full := kdump(dhZlib)
	const level, maxPFN, bits = testBlock + 8, testBlock + 96, 4 * testBlock
	empty := edited(full, bits, make([]byte, 13)...)
	headOnly := full[:6*testBlock]
	elfHoles := edited(core, len(core)-100*testBlock, make([]byte, 100*testBlock)...)
	elfShort := edited(core, 64+56+32, 0, 16, 0, 0) // one page in its program header
	for _, tt := range []struct {
		name string
		dump []byte
		want string // "" for a good dump
	}{
		{"kdump", full, ""},
		{"flattened", flatten(full), ""},
		{"ELF", core, ""},
		{"flattened ELF", flatten(core), ""},
		{"without a page", empty, "no pages"},
		{"without a page, header only", edited(headOnly, bits, make([]byte, 13)...), "no pages"},
		{"flattened, without a page", flatten(empty), "no pages"},
		{"flattened, header only", flatten(edited(headOnly, bits, make([]byte, 13)...)), "no pages"},
		{"flattened, without data", flatten(headOnly), "no pages"},
		{"flattened, without half of the descriptors", flatten(full[:6*testBlock+10*pageDescSize]), "room for the descriptors"},
		{"only the first page", edited(full, bits, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), "lacks a page of the kernel log"},
		{"without the last page", edited(full, bits+12, 1), "at physical address 0x63005"},
		{"flattened, without the last page", flatten(edited(full, bits+12, 1)), "at physical address 0x63005"},
		{"other pages", edited(full, bits, 0x92), "lacks a page"},
		{"covers a tenth", edited(full, maxPFN, 10), "covers pages below 10"},
		{"covers nothing", edited(full, maxPFN, 0), "no page at all"},
		{"level 0 with a third of the pages", edited(full, level, 0), "its level excludes none"},
		{"ELF of holes", elfHoles, "lacks a page"},
		{"flattened ELF of holes", flatten(elfHoles), "lacks a page"},
		{"ELF with one page", elfShort, "lacks a page"},
		{"incomplete", kdump(dhZlib | dhIncomplete), "incomplete"},
		{"cut", full[:len(full)-1], "page 33 of 34"},
	} {
		if err := verifyMemory(t, tt.dump, core, marks); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func verifyMemory(t *testing.T, dump, core []byte, marks []vmcore.Mark) error {
	t.Helper()
	f, err := vmcore.Open(bytes.NewReader(core))
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(dump)
	h, err := ReadHeader(r)
	if err != nil {
		return err
	}
	return h.VerifyMemory(r, int64(len(dump)), Memory{f, marks})
}

// The level says what may be excluded: every one but 0 may leave out almost all.
func TestVerifyMemoryLevels(t *testing.T) {
	core, marks := testMemory(100)
	for level := 1; level < 32; level++ {
		if err := verifyMemory(t, edited(kdump(dhZlib), testBlock+8, byte(level)), core, marks); err != nil {
			t.Errorf("-d %d: %v", level, err)
		}
	}
	all := kdump(0)
	_, none := testMemory(0)
	if err := verifyMemory(t, edited(all, testBlock+8, 0), elfCoreOf("PAGESIZE=4096\n", 0, make([]byte, 34*testBlock)), none); err != nil {
		t.Errorf("-d 0, all pages of a memory with holes: %v", err)
	}
}

func TestVerifyMemoryOfAnotherSize(t *testing.T) {
	_, marks := testMemory(100)
	for _, tt := range []struct {
		name, info string
		pages      int
		marks      []vmcore.Mark
		want       string
	}{
		{"memory of 4 pages", "PAGESIZE=4096\n", 4, marks[:2], ""},
		{"ten times the memory", "PAGESIZE=4096\n", 1000, marks, "covers pages below 100"},
	} {
		core := elfCoreOf(tt.info, 0, make([]byte, tt.pages*testBlock))
		err := verifyMemory(t, kdump(dhZlib), core, tt.marks)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	dump := edited(kdump(dhZlib), 4*testBlock, bytes.Repeat([]byte{0xff}, 12)...)
	if err := verifyMemory(t, dump, elfCoreOf("", 0, make([]byte, 4*testBlock)), nil); err == nil || !strings.Contains(err.Error(), "the memory 4") {
		t.Errorf("more pages than memory: %v", err)
	}
}

// TestVerifyImage checks that VMCOREINFO in a dump names pages which the dump must have.
func TestVerifyImage(t *testing.T) {
	dump := func(info string) []byte {
		d := kdump(dhZlib)
		copy(d[testBlock+200:], fmt.Sprintf("%-100s", info+"\n"))
		return d
	}
	for _, tt := range []struct{ name, info, want string }{
		{"no symbols", "OSRELEASE=6.1.0", ""},
		{"a page of the dump", "SYMBOL(prb)=ffffffff80003010\nNUMBER(phys_base)=0", ""},
		{"moved by KASLR", "SYMBOL(prb)=ffffffff90003010\nNUMBER(phys_base)=-268435456", ""},
		{"an excluded page", "SYMBOL(prb)=ffffffff80004010\nNUMBER(phys_base)=0", "lacks a page of the kernel's image"},
		{"behind the end", "SYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=0", "lacks a page of the kernel's image"},
		{"address of an unknown place", "SYMBOL(_stext)=ffffffff81000000", ""},
	} {
		d := dump(tt.info)
		r := bytes.NewReader(d)
		h, err := ReadHeader(r)
		if err != nil {
			t.Fatal(err)
		}
		err = h.VerifyImage(r)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzVerifyMemory(f *testing.F) {
	core, marks := testMemory(100)
	m, err := vmcore.Open(bytes.NewReader(core))
	if err != nil {
		f.Fatal(err)
	}
	for _, dump := range [][]byte{kdump(dhZlib), flatten(kdump(0)), core, flatten(core)} {
		f.Add(dump)
	}
	f.Fuzz(func(t *testing.T, dump []byte) {
		r := bytes.NewReader(dump)
		if h, err := ReadHeader(r); err == nil {
			h.VerifyMemory(r, int64(len(dump)), Memory{m, marks})
		}
	})
}

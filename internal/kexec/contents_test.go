package kexec

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeMemory is a /proc/kcore with one segment of memory that holds the reservation.
type fakeMemory struct {
	base  uint64 // physical address of its first byte
	bytes []byte
}

// write makes the files of proc below root. iomem has the range of the reservation.
func (m *fakeMemory) write(t *testing.T, root, iomem string) {
	t.Helper()
	const headers = 64 + 2*56
	var b bytes.Buffer
	order := binary.LittleEndian
	head := elf.Header64{Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2}
	copy(head.Ident[:], "\x7fELF\x02\x01\x01")
	vmalloc := elf.Prog64{Type: uint32(elf.PT_LOAD), Paddr: ^uint64(0), Off: headers, Filesz: 1 << 40, Memsz: 1 << 40}
	ram := elf.Prog64{Type: uint32(elf.PT_LOAD), Paddr: m.base, Off: headers, Filesz: uint64(len(m.bytes)), Memsz: uint64(len(m.bytes))}
	for _, v := range []any{head, vmalloc, ram, m.bytes} {
		if err := binary.Write(&b, order, v); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string][]byte{"proc/kcore": b.Bytes(), "proc/iomem": []byte(iomem)} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// put copies data to a page.
func (m *fakeMemory) put(page int, data []byte) { copy(m.bytes[page*pageSize:], data) }

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

// bzImage returns a kernel of x86 with that many bytes behind five sectors.
func bzImage(seed uint64, n int) []byte {
	b := append(make([]byte, 5*512), random(seed, n)...)
	copy(b[0x202:], "HdrS")
	return b
}

const (
	reservation = "00100000-3fffffff : System RAM\n  02000000-027fffff : Crash kernel\n  03000000-03ffffff : Kernel code\n"
	base        = 0x02000000 - 16*pageSize
	ourLine     = "ukdump.known=6.1 rootfstype=ramfs"
)

// loaded returns the memory after a load: kernel, image and command line, from the end.
func loaded(kernel, image []byte, cmdline string) *fakeMemory {
	m := &fakeMemory{base: base, bytes: random(9, 16*pageSize+8<<20+16*pageSize)}
	last := 16 + 8<<20/pageSize
	m.put(last-2, append([]byte("elfcorehdr=0x27ff000 "+cmdline), 0))
	m.put(last-600, kernel[5*512:])
	m.put(last-1700, image) // crosses the border of a read
	return m
}

func content(t *testing.T, data []byte) Content {
	t.Helper()
	c, err := ReadContent(bytes.NewReader(data), 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Whatever is loaded over the set is seen in the memory.
func TestOverwritten(t *testing.T) {
	kernel, image := bzImage(1, 2<<20), random(2, 3<<20+5)
	last := 16 + 8<<20/pageSize
	for _, tt := range []struct {
		name   string
		change func(m *fakeMemory)
		want   string
	}{
		{"nothing", func(*fakeMemory) {}, ""},
		{"memory beside the set", func(m *fakeMemory) { m.put(20, random(3, 1<<20)) }, ""},
		{"the same kernel with another line", func(m *fakeMemory) { m.put(last-2, []byte("elfcorehdr=0x27ff000 quiet\x00")) }, CmdlinePart},
		{"the same line and more", func(m *fakeMemory) { m.put(last-2, []byte("elfcorehdr=0x27ff000 "+ourLine+" quiet\x00")) }, CmdlinePart},
		{"another ELF header", func(m *fakeMemory) { m.put(last-2, []byte("elfcorehdr=0x27fe000 ")) }, CmdlinePart},
		{"another image at the same place", func(m *fakeMemory) { m.put(last-1700, random(4, 3<<20)) }, ImagePart},
		{"the last byte of the image", func(m *fakeMemory) { m.bytes[(last-1700)*pageSize+3<<20+4] ^= 1 }, ImagePart},
		{"a larger image into ours", func(m *fakeMemory) { m.put(last-1750, random(5, 1<<20)) }, ImagePart},
		{"another kernel", func(m *fakeMemory) { m.put(last-600, random(6, 2<<20)) }, KernelPart},
		{"zeros", func(m *fakeMemory) { clear(m.bytes) }, ImagePart},
	} {
		m := loaded(kernel, image, ourLine)
		s := newSlot(t, nil, nil)
		m.write(t, s.Root, reservation)
		pieces := s.Locate(content(t, kernel[5*512:]), content(t, image), ourLine)
		if len(pieces) != 3 {
			t.Fatalf("%s: found %+v", tt.name, pieces)
		}
		tt.change(m)
		m.write(t, s.Root, reservation)
		got, err := s.Overwritten(pieces)
		if err != nil || (got == "") != (tt.want == "") || tt.want == CmdlinePart && got != CmdlinePart {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// A capture kernel of arm64 has its command line in the device tree.
func TestOverwrittenTree(t *testing.T) {
	kernel, image := random(1, 2<<20), random(2, 3<<20+5)
	tree := append([]byte(treeMagic+"\x00\x00\x20\x00"), random(7, 8<<10-8)...)
	copy(tree[3000:], "bootargs\x00"+ourLine+"\x00")
	load := func(tree []byte) *fakeMemory {
		m := &fakeMemory{base: base, bytes: random(9, 16*pageSize+8<<20+16*pageSize)}
		m.put(20, kernel)
		m.put(600, image)
		m.put(1500, tree)
		return m
	}
	for _, tt := range []struct {
		name   string
		tree   []byte
		change func(m *fakeMemory)
		found  int
		want   string
	}{
		{"nothing", tree, func(*fakeMemory) {}, 3, ""},
		{"another tree", tree, func(m *fakeMemory) { m.put(1500, random(8, 8<<10)) }, 3, CmdlinePart},
		{"another line", tree, func(m *fakeMemory) { m.put(1500, bytes.Replace(tree, []byte("known=6.1"), []byte("known=6.2"), 1)) }, 3, CmdlinePart},
		{"another kernel", tree, func(m *fakeMemory) { m.put(20, random(8, 1<<20)) }, 3, KernelPart},
		{"a tree with another line", bytes.Replace(tree, []byte("known=6.1"), []byte("known=6.2"), 1), func(*fakeMemory) {}, 2, ""},
		{"a senseless size", append([]byte(treeMagic+"\xff\x00\x20\x00"), tree[8:]...), func(*fakeMemory) {}, 2, ""},
		{"a size of nothing", append([]byte(treeMagic+"\x00\x00\x00\x00"), tree[8:]...), func(*fakeMemory) {}, 2, ""},
	} {
		m := load(tt.tree)
		s := newSlot(t, nil, nil)
		m.write(t, s.Root, reservation)
		pieces := s.Locate(content(t, kernel), content(t, image), ourLine)
		if len(pieces) != tt.found {
			t.Errorf("%s: found %+v", tt.name, pieces)
			continue
		}
		tt.change(m)
		m.write(t, s.Root, reservation)
		if got, err := s.Overwritten(pieces); got != tt.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// A kernel that does not show the memory proves nothing.
func TestNotShown(t *testing.T) {
	kernel, image := bzImage(1, 1<<20), random(2, 1<<20)
	for _, tt := range []struct {
		name   string
		change func(m *fakeMemory)
		iomem  string
		found  int
	}{
		{"all", func(*fakeMemory) {}, reservation, 3},
		{"not root", func(*fakeMemory) {}, strings.ReplaceAll(reservation, "02000000-027fffff", "00000000-00000000"), 0},
		{"no reservation", func(*fakeMemory) {}, "00100000-3fffffff : System RAM\n", 0},
		{"nonsense", func(*fakeMemory) {}, "x-y : Crash kernel\n5000-4000 : Crash kernel\n : Crash kernel\n", 0},
		{"unmapped", func(m *fakeMemory) { clear(m.bytes) }, reservation, 0},
		{"encrypted", func(m *fakeMemory) {
			for i := range m.bytes {
				m.bytes[i] ^= 0x5a
			}
		}, reservation, 0},
		{"memory elsewhere", func(m *fakeMemory) { m.base = 1 << 40 }, reservation, 0},
		{"another kernel than on x86", func(m *fakeMemory) { clear(m.bytes[(16+8<<20/pageSize-600)*pageSize:][:pageSize]) }, reservation, 2},
		{"a low part", func(*fakeMemory) {}, "00500000-005fffff : Crash kernel\n" + reservation, 3},
	} {
		m := loaded(kernel, image, ourLine)
		tt.change(m)
		s := newSlot(t, nil, nil)
		m.write(t, s.Root, tt.iomem)
		if got := s.Locate(content(t, kernel[5*512:]), content(t, image), ourLine); len(got) != tt.found {
			t.Errorf("%s: found %+v", tt.name, got)
		}
	}
	s := newSlot(t, nil, nil)
	if got := s.Locate(content(t, kernel[5*512:]), content(t, image), ourLine); got != nil {
		t.Errorf("without /proc/kcore: %+v", got)
	}
	piece := []Piece{{ImagePart, 0x2000000, 10, "x"}}
	if _, err := s.Overwritten(piece); err == nil {
		t.Error("without /proc/kcore: no error")
	}
	loaded(kernel, image, ourLine).write(t, s.Root, reservation)
	for _, p := range []Piece{{ImagePart, 1 << 50, 10, "x"}, {ImagePart, 0x2000000, -1, "x"}, {ImagePart, 0x2000000, 1 << 40, "x"}} {
		if _, err := s.Overwritten([]Piece{p}); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
	if err := os.WriteFile(filepath.Join(s.Root, "proc/kcore"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Overwritten(piece); err == nil || s.Locate(content(t, kernel[5*512:]), content(t, image), ourLine) != nil {
		t.Errorf("a damaged /proc/kcore: %v", err)
	}
}

func TestReadContent(t *testing.T) {
	for _, size := range []int{0, 1, pageSize, pageSize + 1, maxPiece, maxPiece + 1} {
		data := random(3, size+10)
		c, err := ReadContent(bytes.NewReader(data), 10)
		n := min(size, maxPiece)
		if err != nil || c.bytes != int64(n) || c.sha256 != sum(data[10:10+n]) || !bytes.Equal(c.first, data[10:10+min(n, pageSize)]) {
			t.Errorf("%d bytes: %d, %d, %v", size, c.bytes, len(c.first), err)
		}
	}
	if c, err := ReadContent(os.NewFile(^uintptr(0), "closed"), 0); err == nil || c.bytes != 0 {
		t.Errorf("a file that cannot be read: %+v", c)
	}
}

// Package vmcore reads the memory of a crashed kernel from the ELF core /proc/vmcore:
// its VMCOREINFO and its kernel log. It also finds the cause of a panic in a log.
//
// PID 1 of the capture kernel links this package, so it imports little, and its memory
// does not grow with its input.
package vmcore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// ELF64 layout and constants: elf(5), <elf.h>.
const (
	ehdrSize = 64
	phdrSize = 56
	nhdrSize = 12

	etCore    = 4
	ptLoad    = 1
	ptNote    = 4
	pnXnum    = 0xffff
	ntPrstat  = 1
	elfMagic  = "\x7fELF"
	emX86     = 62
	emAarch64 = 183
)

const (
	// maxPhdrs bounds the program headers kept. A kernel writes one for each
	// memory range, 8192 at most (CONFIG_CRASH_MAX_MEMORY_RANGES), and one a CPU.
	maxPhdrs = 1 << 17
	// maxNotes bounds the notes looked at; there is one for each CPU.
	maxNotes = 1 << 17
	// maxInfo bounds VMCOREINFO. The kernel has one page for it, 64 KiB at most
	// (VMCOREINFO_BYTES, include/linux/vmcore_info.h).
	maxInfo = 64 << 10
)

var le = binary.LittleEndian

// File is an open ELF core of a kernel.
type File struct {
	Machine string // GOARCH name: amd64 or arm64
	Info    Info   // VMCOREINFO of the crashed kernel
	CPUs    int    // number of NT_PRSTATUS notes, one for each CPU that was saved
	Flags   uint32 // e_flags of the ELF header

	r       io.ReaderAt
	loads   []segment
	visitor StatusVisitor
}

// segment is one PT_LOAD header: size bytes of memory at file offset off.
type segment struct {
	off          int64
	vaddr, paddr uint64
	size         uint64
	mem          uint64 // p_memsz
}

// Open reads the ELF header, the program headers and the notes of r, which is
// /proc/vmcore or a copy of it. The File reads from r later and never closes it. Open
// returns an error if r is no little-endian ELF64 core of x86-64 or AArch64. A core
// without VMCOREINFO is no error: File.Info is empty then.
func Open(r io.ReaderAt) (*File, error) {
	e, err := readEhdr(r)
	if err != nil {
		return nil, err
	}
	f := &File{Machine: e.machine, Flags: e.flags, r: r}
	for i := range e.phnum {
		var b [phdrSize]byte
		if err := readFull(r, b[:], e.phoff+int64(i)*phdrSize); err != nil {
			return nil, fmt.Errorf("read ELF program header %d of %d: %w", i, e.phnum, err)
		}
		off, size := le.Uint64(b[8:]), le.Uint64(b[32:])
		if off > math.MaxInt64 || size > math.MaxInt64-off {
			return nil, fmt.Errorf("ELF program header %d lies outside of any file: offset %#x, %#x bytes", i, off, size)
		}
		switch le.Uint32(b[0:]) {
		case ptLoad:
			f.loads = append(f.loads, segment{off: int64(off), vaddr: le.Uint64(b[16:]), paddr: le.Uint64(b[24:]), size: size, mem: le.Uint64(b[40:])})
		case ptNote:
			if err := f.readNotes(int64(off), int64(off+size)); err != nil {
				return nil, fmt.Errorf("read ELF notes: %w", err)
			}
		}
	}
	return f, nil
}

// Size returns the bytes of memory in the core: the sum of the file sizes of its
// PT_LOAD headers.
func (f *File) Size() int64 {
	var n int64
	for _, s := range f.loads {
		if int64(s.size) > math.MaxInt64-n {
			return math.MaxInt64
		}
		n += int64(s.size)
	}
	return n
}

// End returns the offset at which the last PT_LOAD segment ends, in bytes. It is
// 0 if the core holds no memory.
func (f *File) End() int64 {
	var end int64
	for _, s := range f.loads {
		end = max(end, s.off+int64(s.size))
	}
	return end
}

type ehdr struct {
	machine string
	phoff   int64
	phnum   int
	flags   uint32
}

func readEhdr(r io.ReaderAt) (ehdr, error) {
	var b [ehdrSize]byte
	if err := readFull(r, b[:], 0); err != nil {
		return ehdr{}, fmt.Errorf("read ELF header: %w", err)
	}
	if string(b[:4]) != elfMagic {
		return ehdr{}, errors.New("not an ELF file")
	}
	if b[4] != 2 || b[5] != 1 {
		return ehdr{}, errors.New("not a little-endian 64-bit ELF file")
	}
	if t := le.Uint16(b[16:]); t != etCore {
		return ehdr{}, fmt.Errorf("not an ELF core: e_type is %d", t)
	}
	var e ehdr
	switch m := le.Uint16(b[18:]); m {
	case emX86:
		e.machine = "amd64"
	case emAarch64:
		e.machine = "arm64"
	default:
		return ehdr{}, fmt.Errorf("not a core of x86-64 or AArch64: e_machine is %d", m)
	}
	if n := le.Uint16(b[54:]); n != phdrSize {
		return ehdr{}, fmt.Errorf("ELF program headers have %d bytes, not %d", n, phdrSize)
	}
	phoff := le.Uint64(b[32:])
	if phoff > math.MaxInt64/2 {
		return ehdr{}, fmt.Errorf("ELF program headers lie outside of any file: offset %#x", phoff)
	}
	e.phoff = int64(phoff)
	e.flags = le.Uint32(b[48:])
	e.phnum = int(le.Uint16(b[56:]))
	if e.phnum == pnXnum {
		// The count did not fit: it is sh_info of the first section header.
		shoff := le.Uint64(b[40:])
		var n [4]byte
		if shoff > math.MaxInt64/2 {
			return ehdr{}, fmt.Errorf("ELF section header lies outside of any file: offset %#x", shoff)
		}
		if err := readFull(r, n[:], int64(shoff)+44); err != nil {
			return ehdr{}, fmt.Errorf("read ELF section header: %w", err)
		}
		c := le.Uint32(n[:])
		if c > maxPhdrs {
			return ehdr{}, fmt.Errorf("%d ELF program headers, more than %d", c, maxPhdrs)
		}
		e.phnum = int(c)
	}
	return e, nil
}

// readNotes walks the notes between the file offsets off and end. It reads
// headers only and skips the contents, which device drivers may make gigabytes
// long (NT_VMCOREDD).
func (f *File) readNotes(off, end int64) error {
	for range maxNotes {
		if end-off < nhdrSize {
			return nil
		}
		var b [nhdrSize + 12]byte // with room for a name of up to 12 bytes
		n := min(int64(len(b)), end-off)
		if err := readFull(f.r, b[:n], off); err != nil {
			return err
		}
		namesz, descsz, typ := le.Uint32(b[0:]), le.Uint32(b[4:]), le.Uint32(b[8:])
		if namesz == 0 {
			return nil // padding behind the last note
		}
		desc := off + nhdrSize + align4(namesz)
		next := desc + align4(descsz)
		if next > end {
			// Some writers leave out the padding behind the last note.
			if desc+int64(descsz) != end {
				return fmt.Errorf("note at offset %#x is longer than its segment", off)
			}
			next = end
		}
		name := b[nhdrSize:n]
		if int64(namesz) < int64(len(name)) {
			name = name[:namesz]
		}
		name = bytes.TrimRight(name, "\x00")
		switch {
		case typ == ntPrstat && string(name) == "CORE":
			f.CPUs++
			if f.visitor != nil {
				f.visitor.VisitStatus(desc, int64(descsz))
			}
		case typ == 0 && string(name) == "VMCOREINFO":
			if descsz > maxInfo {
				return fmt.Errorf("VMCOREINFO has %d bytes, more than %d", descsz, maxInfo)
			}
			text := make([]byte, descsz)
			if err := readFull(f.r, text, desc); err != nil {
				return fmt.Errorf("VMCOREINFO: %w", err)
			}
			f.Info = ParseInfo(text)
		}
		off = next
	}
	return fmt.Errorf("more than %d notes", maxNotes)
}

func align4(n uint32) int64 { return (int64(n) + 3) &^ 3 }

// readFull fills p from offset off. Its error is io.ErrUnexpectedEOF if the file is
// too short.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	return readErr(err)
}

// readErr is the reason of a short read.
func readErr(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

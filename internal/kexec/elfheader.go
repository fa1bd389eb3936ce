package kexec

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// elfHeader returns the ELF header of the crashed kernel's memory, of which the
// capture kernel makes /proc/vmcore: a note for each processor's registers, one for
// VMCOREINFO, and a segment for each range of memory but those reserved
// (crash_prepare_elf64_headers in kernel/kexec_file.c or kernel/crash_core.c).
func (s *Slot) elfHeader(reserved []Range) ([]byte, error) {
	notes, err := s.crashNotes()
	if err != nil {
		return nil, err
	}
	memory := without(s.resources("System RAM"), reserved)
	if len(memory) == 0 {
		return nil, errors.New("/proc/iomem has no memory")
	}
	var list []elf.Prog64
	for _, n := range notes {
		list = append(list, elf.Prog64{Type: uint32(elf.PT_NOTE), Off: n.start, Paddr: n.start, Filesz: n.size, Memsz: n.size})
	}
	m, err := s.openKcore()
	if err == nil {
		defer m.close()
	}
	if text, ok := s.kernelSegment(m); ok {
		list = append(list, text)
	}
	for _, r := range memory {
		list = append(list, segment(r, m.virtual(r.Start)))
	}
	if len(list) >= pnXnum {
		return nil, fmt.Errorf("the memory has %d ranges, more than an ELF header can list", len(list))
	}
	return encode(list), nil
}

// pnXnum is the first number of program headers that the ELF header cannot hold
// (PN_XNUM, elf(5)).
const pnXnum = 0xffff

// segment is a PT_LOAD, whose offset is its physical address (the capture kernel
// replaces it, fs/proc/vmcore.c).
func segment(r Range, virtual uint64) elf.Prog64 {
	return elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X),
		Off: r.Start, Vaddr: virtual, Paddr: r.Start, Filesz: uint64(r.Size()), Memsz: uint64(r.Size())}
}

func encode(list []elf.Prog64) []byte {
	h := elf.Header64{
		Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_AARCH64), Version: uint32(elf.EV_CURRENT),
		Phoff: elfHeaderSize, Ehsize: elfHeaderSize, Phentsize: progHeaderSize, Phnum: uint16(len(list)),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	var b bytes.Buffer
	// A bytes.Buffer takes everything.
	_ = binary.Write(&b, binary.LittleEndian, h)
	_ = binary.Write(&b, binary.LittleEndian, list)
	return b.Bytes()
}

const elfHeaderSize, progHeaderSize = 64, 56

// span is a piece of physical memory.
type span struct{ start, size uint64 }

// crashNotes returns where each processor's registers will be, and VMCOREINFO
// (Documentation/ABI/testing/sysfs-devices-system-cpu, sysfs-kernel-vmcoreinfo).
func (s *Slot) crashNotes() ([]span, error) {
	dirs, err := filepath.Glob(filepath.Join(s.Root, "sys/devices/system/cpu/cpu[0-9]*"))
	if err != nil {
		return nil, err
	}
	// As the kernel lists them: debuggers take the number of a note for that of its processor.
	number := func(dir string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "cpu"))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(number(a), number(b)) })
	var notes []span
	for _, dir := range dirs {
		name := "sys/devices/system/cpu/" + filepath.Base(dir)
		at, err := s.read(name + "/crash_notes")
		if err != nil {
			continue // a processor that is not there
		}
		size, err := s.read(name + "/crash_notes_size")
		if err != nil {
			return nil, fmt.Errorf("the registers of a processor: %w", err)
		}
		n, err := parseSpan(at, size, 10)
		if err != nil {
			return nil, fmt.Errorf("/%s/crash_notes: %w", name, err)
		}
		notes = append(notes, n)
	}
	if notes == nil {
		return nil, errors.New("no processor has a file crash_notes in /sys/devices/system/cpu")
	}
	text, err := s.read("sys/kernel/vmcoreinfo") // 0x1b7c0000 1024, the size in hexadecimal
	if err != nil {
		return nil, err
	}
	at, size, _ := strings.Cut(text, " ")
	n, err := parseSpan(strings.TrimPrefix(at, "0x"), size, 16)
	if err != nil {
		return nil, fmt.Errorf("/sys/kernel/vmcoreinfo: %w", err)
	}
	return append(notes, n), nil
}

func parseSpan(start, size string, base int) (span, error) {
	at, err := strconv.ParseUint(start, 16, 64)
	if err != nil {
		return span{}, err
	}
	n, err := strconv.ParseUint(size, base, 32)
	if err != nil {
		return span{}, err
	}
	if at == 0 || n == 0 {
		return span{}, fmt.Errorf("%q, %q is no memory", start, size)
	}
	return span{at, n}, nil
}

// without returns ranges without those of holes. Both are ascending.
func without(ranges, holes []Range) (rest []Range) {
	for _, r := range ranges {
		for _, h := range holes {
			if h.End < r.Start || h.Start > r.End {
				continue
			}
			if h.Start > r.Start {
				rest = append(rest, Range{r.Start, h.Start - 1})
			}
			if h.End >= r.End {
				r.Start = r.End + 1
				break
			}
			r.Start = h.End + 1
		}
		if r.Start <= r.End {
			rest = append(rest, r)
		}
	}
	return rest
}

// virtual returns the address by which the running kernel reaches a physical one, 0 if
// /proc/kcore does not show it. m may be nil.
func (m *kcore) virtual(at uint64) uint64 {
	if m == nil {
		return 0
	}
	for _, p := range m.loads {
		if at >= p.Paddr && at-p.Paddr < p.Filesz {
			return p.Vaddr + (at - p.Paddr)
		}
	}
	return 0
}

// kernelSegment returns the segment of the kernel's image, whose virtual addresses are
// not those of the other memory.
func (s *Slot) kernelSegment(m *kcore) (elf.Prog64, bool) {
	code, data := s.resources("Kernel code"), s.resources("Kernel data")
	if len(code) != 1 || len(data) != 1 || data[0].End <= code[0].Start || m == nil {
		return elf.Prog64{}, false
	}
	offset, ok := m.info().Number("kimage_voffset")
	if !ok {
		return elf.Prog64{}, false
	}
	r := Range{code[0].Start, data[0].End}
	return segment(r, r.Start+offset), true
}

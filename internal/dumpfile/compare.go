package dumpfile

import (
	"errors"
	"fmt"
	"io"

	"ukdump/internal/vmcore"
)

// probe is a byte of a dump that shows whether the dump has a page.
type probe struct {
	off        int64 // in the dump
	mask, want byte
	got        [1]byte
	mark       *vmcore.Mark
}

// Memory is the memory of a crashed kernel, to which VerifyMemory compares a dump.
type Memory struct {
	Core  *vmcore.File  // /proc/vmcore
	Marks []vmcore.Mark // of it
}

// VerifyMemory verifies the dump like Verify and checks that it is one of the memory m:
// it covers this memory, has no more pages, and has all marks.
func (h Header) VerifyMemory(r io.ReaderAt, size int64, m Memory) error {
	probes, err := h.probes(r, &m)
	if err == nil {
		err = h.verify(r, size, probes)
	}
	if err != nil {
		return fmt.Errorf("verify dump: %w", err)
	}
	return nil
}

// probes returns the bytes of the dump that show whether it has the marks, sorted.
func (h *Header) probes(r io.ReaderAt, m *Memory) ([]probe, error) {
	var elf *vmcore.File
	if h.maxPFN == 0 {
		var err error
		if elf, err = openELF(r, h.Format); err != nil {
			return nil, err
		}
	} else if err := h.compareSize(r, m.Core); err != nil {
		return nil, err
	}
	probes := make([]probe, 0, len(m.Marks))
	for i := range m.Marks {
		p := probe{mark: &m.Marks[i], mask: 0xff, want: m.Marks[i].Byte}
		ok := false
		if elf != nil {
			p.off, ok = elf.Offset(p.mark.Addr)
		} else {
			p.off, p.mask, ok = h.bitOf(p.mark.Addr)
			p.want = p.mask
		}
		if !ok {
			return nil, missing(p.mark)
		}
		// Sorted by insertion: the marks are a few sorted ranges, and package slices would
		// make PID 1 larger.
		probes = append(probes, p)
		for i := len(probes) - 1; i > 0 && probes[i].off < probes[i-1].off; i-- {
			probes[i], probes[i-1] = probes[i-1], probes[i]
		}
	}
	return probes, nil
}

// openELF opens the ELF core in a file or in a flattened file.
func openELF(r io.ReaderAt, f Format) (*vmcore.File, error) {
	if f == Flattened {
		head, err := openFlatHead(r)
		if err != nil {
			return nil, err
		}
		r = head
	}
	return vmcore.Open(r)
}

func missing(m *vmcore.Mark) error {
	return fmt.Errorf("the dump lacks a page of %s, at physical address %#x", m.What, m.Addr)
}

// compareSize compares the number of pages.
func (h *Header) compareSize(r io.ReaderAt, core *vmcore.File) error {
	page := uint64(h.BlockSize)
	// makedumpfile covers less if the kernel did not use the memory at the end.
	if end := core.MemoryEnd() / page; h.maxPFN < end/2 {
		return fmt.Errorf("the dump covers pages below %d, the memory ends at page %d", h.maxPFN, end)
	}
	if h.Format == Flattened {
		return nil // Verify has counted its pages
	}
	start, stop := h.secondBitmap()
	pages, err := countBits(r, start, stop-start, make([]byte, verifyBuf))
	if err != nil {
		return err
	}
	memory := uint64(core.Size()) / page
	// A range may begin or end inside a page. A kernel's image is in two ranges.
	if most := memory + memory/16 + 64; pages > most {
		return fmt.Errorf("the dump has %d pages, the memory %d", pages, memory)
	}
	if h.DumpLevel == 0 && pages < memory/2 {
		return fmt.Errorf("the dump has %d of %d pages, but its level excludes none", pages, memory)
	}
	return nil
}

// bitOf returns the bit of a page in the second bitmap, and whether the bitmap has it.
func (h *Header) bitOf(addr uint64) (off int64, mask byte, ok bool) {
	pfn := addr / uint64(h.BlockSize)
	start, _ := h.secondBitmap()
	return start + int64(pfn/8), 1 << (pfn % 8), pfn < h.maxPFN
}

var errNoPages = errors.New("the dump has no pages")

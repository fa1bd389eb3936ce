package debug

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"ukdump/internal/dump"
	"ukdump/internal/symbols"
)

// ELFCore writes a dump as an ELF core for gdb, which reads memory by virtual addresses:
//
//	PT_NOTE   registers of the CPUs (NT_PRSTATUS)
//	PT_LOAD   each run of pages in the dump, at its address in the direct map
//	PT_LOAD   the kernel's image, the modules and the stacks of the CPUs: these pages again
//
// Pages that the dump lacks are in no segment, so gdb reports them and shows no zeros.
// progress is called with the share of the memory that is done. Only x86-64 has this.
func ELFCore(w io.WriteSeeker, d *dump.Dump, progress func(done, total int64)) error {
	if d.Machine() != "amd64" {
		return fmt.Errorf("make an ELF core: of %s only x86-64 is supported", d.Machine())
	}
	k, err := symbols.Open(d, d.Info(), d.Machine())
	if err != nil {
		return fmt.Errorf("make an ELF core: %w", err)
	}
	base, err := directMap(d, k)
	if err != nil {
		return fmt.Errorf("make an ELF core: %w", err)
	}
	c := &elfCore{d: d, at: elfPage}
	if err := c.writePages(w, base, progress); err != nil {
		return err
	}
	c.mapImage(k)
	return c.finish(w)
}

const (
	elfPage = 4096
	// maxImage bounds the kernel's image and each module, in pages: KERNEL_IMAGE_SIZE is
	// 1 GiB (arch/x86/include/asm/page_64_types.h).
	maxImage    = 1 << 30 / elfPage
	maxSegments = 1 << 20
)

// directMap returns the virtual address of physical address 0: page_offset_base, or
// __PAGE_OFFSET_BASE_L4 and _L5 in a kernel that cannot move it.
func directMap(d *dump.Dump, k *symbols.Kernel) (uint64, error) {
	if at, err := k.Lookup("page_offset_base"); err == nil {
		base, err := symbols.NewReader(d).Pointer(at)
		if err == nil && base < 0xff00<<48 {
			err = fmt.Errorf("page_offset_base is %#x", base)
		}
		return base, err
	}
	if l5, _ := d.Info().Number("pgtable_l5_enabled"); l5 != 0 {
		return 0xff11000000000000, nil
	}
	return 0xffff888000000000, nil
}

// elfCore is a core that is being written.
type elfCore struct {
	d     *dump.Dump
	at    int64 // offset of the next byte
	loads []elfLoad
	runs  int // of loads, the first ones: those of the direct map, by their addresses
}

type elfLoad struct {
	vaddr, paddr uint64
	off          int64
	size         uint64
}

// add appends a page to the last segment if it continues that, else to a new one.
func (c *elfCore) add(vaddr, paddr uint64, off int64) error {
	if n := len(c.loads); n > c.runs {
		l := &c.loads[n-1]
		if l.vaddr+l.size == vaddr && l.paddr+l.size == paddr && l.off+int64(l.size) == off {
			l.size += elfPage
			return nil
		}
	}
	if len(c.loads) >= maxSegments {
		return errors.New("make an ELF core: the memory is scattered over too many segments")
	}
	c.loads = append(c.loads, elfLoad{vaddr, paddr, off, elfPage})
	return nil
}

// writePages writes all pages of the dump.
func (c *elfCore) writePages(w io.WriteSeeker, base uint64, progress func(done, total int64)) error {
	if _, err := w.Seek(c.at, io.SeekStart); err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 1<<20)
	page := make([]byte, elfPage)
	end := c.d.MemoryEnd()
	for p := uint64(0); p < end; p += elfPage {
		if p%(64<<20) == 0 && progress != nil {
			progress(int64(p), int64(end))
		}
		if c.d.ReadPhys(page, p) != nil {
			continue // excluded, or no memory
		}
		if err := c.add(base+p, p, c.at); err != nil {
			return err
		}
		if _, err := b.Write(page); err != nil {
			return err
		}
		c.at += elfPage
	}
	c.runs = len(c.loads)
	return b.Flush()
}

// offset returns the place of the page at a physical address in the file.
func (c *elfCore) offset(paddr uint64) (int64, bool) {
	runs := c.loads[:c.runs]
	i := sort.Search(len(runs), func(i int) bool { return runs[i].paddr+runs[i].size > paddr })
	if i == len(runs) || paddr < runs[i].paddr {
		return 0, false
	}
	return runs[i].off + int64(paddr-runs[i].paddr), true
}

// mapImage adds segments for the kernel's image and the modules, as far as their pages are
// in the file.
func (c *elfCore) mapImage(k *symbols.Kernel) {
	text := k.Text()
	end := text.End
	if at, err := k.Lookup("_end"); err == nil && at > end {
		end = at
	}
	c.mapRange(text.Start, end)
	modules, _ := k.Modules() // those before the damage, if there is one
	for _, m := range modules {
		for _, r := range m.Memory {
			c.mapRange(r.Start, r.End)
		}
	}
	// Stacks are in the area of vmalloc, aligned to their size (CONFIG_VMAP_STACK).
	const stack = 16 << 10 // THREAD_SIZE, arch/x86/include/asm/page_64_types.h
	for _, cpu := range c.d.CPUs() {
		if sp := cpu.SP() &^ (stack - 1); sp >= 0xff00<<48 && sp+stack > sp {
			c.mapRange(sp, sp+stack)
		}
	}
}

func (c *elfCore) mapRange(start, end uint64) {
	for n, v := 0, start&^uint64(elfPage-1); v < end && n < maxImage; n, v = n+1, v+elfPage {
		p, err := c.d.Translate(v)
		if err != nil {
			continue
		}
		if off, ok := c.offset(p); ok && c.add(v, p, off) != nil {
			return
		}
	}
}

// finish writes the notes and headers behind the pages, and the ELF header.
func (c *elfCore) finish(w io.WriteSeeker) error {
	const (
		ehdrSize, phdrSize, shdrSize = 64, 56, 64
		etCore, emX86, pnXnum        = 4, 62, 0xffff
		ptLoad, ptNote               = 1, 4
	)
	le := binary.LittleEndian
	notes := c.notes()
	var out []byte
	phdr := func(kind uint32, l elfLoad) {
		b := make([]byte, phdrSize)
		le.PutUint32(b, kind)
		le.PutUint32(b[4:], 7) // PF_R | PF_W | PF_X
		le.PutUint64(b[8:], uint64(l.off))
		le.PutUint64(b[16:], l.vaddr)
		le.PutUint64(b[24:], l.paddr)
		le.PutUint64(b[32:], l.size)
		le.PutUint64(b[40:], l.size)
		out = append(out, b...)
	}
	out = append(out, notes...)
	phoff := c.at + int64(len(out))
	phdr(ptNote, elfLoad{off: c.at, size: uint64(len(notes))})
	for _, l := range c.loads {
		phdr(ptLoad, l)
	}
	count := len(c.loads) + 1
	head := make([]byte, ehdrSize)
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], etCore)
	le.PutUint16(head[18:], emX86)
	le.PutUint32(head[20:], 1)
	le.PutUint64(head[32:], uint64(phoff))
	le.PutUint16(head[52:], ehdrSize)
	le.PutUint16(head[54:], phdrSize)
	le.PutUint16(head[56:], uint16(min(count, pnXnum)))
	if count >= pnXnum {
		// The number of headers is sh_info of the first section (elf(5)).
		le.PutUint64(head[40:], uint64(c.at)+uint64(len(out)))
		le.PutUint16(head[58:], shdrSize)
		le.PutUint16(head[60:], 1)
		section := make([]byte, shdrSize)
		le.PutUint32(section[44:], uint32(count))
		out = append(out, section...)
	}
	if _, err := w.Write(out); err != nil {
		return err
	}
	if _, err := w.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := w.Write(head)
	return err
}

// notes returns an NT_PRSTATUS note for each CPU whose registers are known: struct
// elf_prstatus of include/linux/elfcore.h, with user_regs_struct at offset 112.
func (c *elfCore) notes() (notes []byte) {
	const nameSize, descSize, ntPrstatus, pidOffset, regsOffset = 5, 336, 1, 32, 112
	le := binary.LittleEndian
	seen := map[int]bool{0: true}
	for i, cpu := range c.d.CPUs() {
		if !cpu.Known {
			continue
		}
		desc := make([]byte, descSize)
		id := cpu.PID // gdb knows threads by it, and an idle CPU has 0
		if seen[id] {
			id = i + 1<<22 // PID_MAX_LIMIT, so no process has it
		}
		seen[id] = true
		le.PutUint32(desc[pidOffset:], uint32(id))
		for j, name := range cpu.Names() {
			if at := regsOffset + 8*j; at+8 <= descSize {
				value, _ := cpu.Get(name)
				le.PutUint64(desc[at:], value)
			}
		}
		notes = le.AppendUint32(notes, nameSize)
		notes = le.AppendUint32(notes, descSize)
		notes = le.AppendUint32(notes, ntPrstatus)
		notes = append(append(notes, "CORE\x00\x00\x00\x00"...), desc...)
	}
	return notes
}

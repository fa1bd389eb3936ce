package dump

import (
	"errors"

	"ukdump/internal/vmcore"
)

// space is the kernel's virtual memory.
type space struct {
	init     bool
	walk     *walker          // nil if VMCOREINFO does not tell enough
	err      error            // why
	segments []vmcore.Segment // of an ELF core, with virtual addresses
	tlb      [tlbSize]tlbEntry
}

// tlb remembers translations of pages of 4 KiB.
const tlbSize = 1024

type tlbEntry struct{ page, addr uint64 } // page is the number of the page, 0 if free

// walker translates by page tables of several levels.
type walker struct {
	first  uint64  // virtual address of the kernel's part
	root   uint64  // physical address of the first table
	levels []level // from the first table to the last
	entry  entry
}

// level says how an address selects an entry of a table.
type level struct {
	shift uint // lowest bit of the index
	bits  uint // width of the index
	large bool // an entry may map memory
}

// entry decodes a table entry.
type entry interface {
	// decode returns the physical address in an entry. large says that the entry maps
	// memory although it is not in the last table.
	decode(e uint64, last bool) (addr uint64, large, present bool)
}

// ReadVirt fills p with the memory of the kernel at the virtual address addr. The error
// is one of those of Translate or ReadPhys, for the first page that cannot be read; the
// pages before it are in p then.
func (d *Dump) ReadVirt(p []byte, addr uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readVirt(p, addr)
}

func (d *Dump) readVirt(p []byte, addr uint64) error {
	for len(p) > 0 {
		phys, err := d.translate(addr)
		if err != nil {
			return err
		}
		n := min(len(p), int(4096-addr%4096))
		if err := d.readPhys(p[:n], phys); err != nil {
			return &VirtError{addr, err}
		}
		p = p[n:]
		if addr += uint64(n); addr == 0 && len(p) > 0 {
			return &UnmappedError{addr}
		}
	}
	return nil
}

// Translate returns the physical address of a virtual address of the kernel. The error is
// an *UnmappedError or an *UntranslatableError.
func (d *Dump) Translate(addr uint64) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.translate(addr)
}

func (d *Dump) translate(addr uint64) (uint64, error) {
	s := &d.space
	if !s.init {
		s.init = true
		s.walk, s.err = d.newWalker()
		clear(s.tlb[:])
	}
	page := addr / 4096
	t := &s.tlb[page%tlbSize]
	if t.page == page && page != 0 {
		return t.addr + addr%4096, nil
	}
	phys, err := uint64(0), s.err
	if s.walk != nil {
		phys, err = d.walk(s.walk, addr)
	}
	var unmapped *UnmappedError
	if err != nil && !errors.As(err, &unmapped) {
		// Without page tables the fixed mappings are left.
		if p, ok := d.fixed(addr); ok {
			phys, err = p, nil
		} else if s.walk == nil {
			err = &UntranslatableError{addr, err}
		}
	}
	if err != nil {
		return 0, err
	}
	*t = tlbEntry{page, phys - addr%4096}
	return phys, nil
}

// walk translates by the page tables. Their number of levels is fixed, so a loop of tables
// ends.
func (d *Dump) walk(w *walker, addr uint64) (uint64, error) {
	if addr < w.first {
		return 0, &UnmappedError{addr}
	}
	table := w.root
	for i, l := range w.levels {
		last := i == len(w.levels)-1
		at := table + addr>>l.shift&(1<<l.bits-1)*8
		var b [8]byte
		if err := d.readPhys(b[:], at); err != nil {
			return 0, &UntranslatableError{addr, err}
		}
		next, large, present := w.entry.decode(le.Uint64(b[:]), last)
		if !present || large && !l.large {
			return 0, &UnmappedError{addr}
		}
		if large || last {
			in := addr & (1<<l.shift - 1)
			return next&^(1<<l.shift-1) | in, nil
		}
		table = next
	}
	return 0, &UnmappedError{addr}
}

// fixed translates an address of the kernel's image or linear map without page tables.
func (d *Dump) fixed(addr uint64) (uint64, bool) {
	if p, ok := d.info.Physical(d.header.Machine, addr); ok {
		return p, p>>52 == 0
	}
	if d.space.walk != nil {
		return 0, false
	}
	// kexec-tools misstates these addresses of a kernel with KASLR, QEMU knows them.
	for _, s := range d.space.segments {
		if addr >= s.Vaddr && addr-s.Vaddr < s.Memory {
			p := s.Paddr + addr - s.Vaddr
			return p, p>>52 == 0
		}
	}
	return 0, false
}

// newWalker returns the page tables of the kernel.
func (d *Dump) newWalker() (*walker, error) {
	if d.info.Release() == "" {
		return nil, errors.New("the dump has no VMCOREINFO")
	}
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	if d.header.Machine == "arm64" {
		return d.arm64Walker(root)
	}
	return d.amd64Walker(root)
}

// root returns the physical address of the kernel's first page table.
func (d *Dump) root() (uint64, error) {
	// x86-64 also has its own names: init_top_pgt since 4.13, and init_level4_pgt before.
	for _, name := range []string{"swapper_pg_dir", "init_top_pgt", "init_level4_pgt"} {
		v, ok := d.info.Symbol(name)
		if !ok {
			continue
		}
		if p, ok := d.fixed(v); ok {
			return p, nil
		}
		return 0, errors.New("VMCOREINFO does not tell where the kernel's image is")
	}
	return 0, errors.New("VMCOREINFO has no swapper_pg_dir")
}

package vmcore

import "errors"

// Mark is one byte of the crashed kernel's memory. A dump without it is not a dump of
// that kernel, whatever its filter.
type Mark struct {
	What string // the memory that it belongs to
	Addr uint64 // its physical address
	Byte byte   // its value, not 0
}

// Bounds of the marks, in bytes of memory.
const (
	markedText = 1 << 20 // of the kernel's text: all kernels that can crash into another have more
	markedLog  = 2 << 20 // of each array of the log
	maxPage    = 64 << 10
)

// Marks returns a mark in each page of the kernel log and of the beginning of the
// kernel's text that is not all zeros. makedumpfile(8) excludes pages of zeros, of the
// page cache, of processes and of the buddy allocator. These pages are never among the
// latter three: they belong to the kernel's image or were reserved at boot. The error says
// why the pages of the log are not marked; the other marks are returned nevertheless.
func (f *File) Marks() ([]Mark, error) {
	m := marker{f: f, page: make([]byte, f.pageSize())}
	if stext, ok := f.Info.Symbol("_stext"); ok {
		m.add("the kernel's text", stext, markedText)
	}
	n := len(m.marks)
	if err := m.log(); err != nil {
		return m.marks, err
	}
	if len(m.marks) == n {
		return m.marks, errors.New("the kernel log is not in the core, or empty")
	}
	return m.marks, nil
}

// pageSize returns the size of a page in bytes, that of x86-64 if it is unknown.
func (f *File) pageSize() int {
	if n := f.Info.PageSize(); n >= 4096 && n <= maxPage && n&(n-1) == 0 {
		return int(n)
	}
	return 4096
}

// MemoryEnd returns the physical address at which the memory of the core ends, in bytes.
func (f *File) MemoryEnd() uint64 {
	var end uint64
	for _, s := range f.loads {
		if e := s.paddr + s.size; e > s.paddr {
			end = max(end, e)
		}
	}
	return end
}

type marker struct {
	f     *File
	page  []byte
	marks []Mark
}

// add marks the pages of n bytes at the virtual address v. It skips a page that is not
// in the core: broken memory is in no dump.
func (m *marker) add(what string, v uint64, n uint64) {
	size := uint64(len(m.page))
	for at := v &^ (size - 1); at < v+n; at += size {
		if _, err := m.f.read(m.page, at, len(m.page)); err != nil {
			continue
		}
		for i, c := range m.page {
			if c == 0 {
				continue
			}
			if addr, ok := m.f.paddr(at + uint64(i)); ok {
				m.marks = append(m.marks, Mark{what, addr, c})
			}
			break
		}
	}
}

// log marks the pages of the kernel log.
func (m *marker) log() error {
	const what = "the kernel log"
	if prb, ok := m.f.Info.Symbol("prb"); ok {
		r, err := m.f.openRing(prb)
		if err != nil {
			return err
		}
		m.add(what, prb, 8)
		m.add(what, r.descsAt, min(uint64(r.descSize)<<r.descBits, markedLog))
		m.add(what, r.infosAt, min(uint64(r.infoSize)<<r.descBits, markedLog))
		m.add(what, r.textAt, min(uint64(1)<<r.textBits, markedLog))
		return nil
	}
	b, err := m.f.openRecords()
	if err != nil {
		return err
	}
	m.add(what, b.at, min(uint64(b.size), markedLog))
	return nil
}

// paddr returns the physical address of the virtual address v.
func (f *File) paddr(v uint64) (uint64, bool) {
	off, _, ok := f.locate(v)
	if !ok {
		return 0, false
	}
	for _, s := range f.loads {
		if off >= s.off && uint64(off-s.off) < s.size {
			return s.paddr + uint64(off-s.off), true
		}
	}
	return 0, false
}

// Has reports whether the core has the byte of a mark.
func (f *File) Has(m Mark) bool {
	off, ok := f.Offset(m.Addr)
	if !ok {
		return false
	}
	var b [1]byte
	return readFull(f.r, b[:], off) == nil && b[0] == m.Byte
}

// Offset returns the place of the physical address p in the file.
func (f *File) Offset(p uint64) (int64, bool) {
	for _, s := range f.loads {
		if p >= s.paddr && p-s.paddr < s.size {
			return s.off + int64(p-s.paddr), true
		}
	}
	return 0, false
}

// ImageAddrs returns the physical addresses of symbols of the kernel's image, by
// VMCOREINFO alone: of its text, its name and the pointer to its log. None of their pages
// is all zeros. The list is empty if VMCOREINFO does not tell.
func (in Info) ImageAddrs(machine string) []uint64 {
	f := File{Machine: machine, Info: in}
	var addrs []uint64
	for _, name := range []string{"_stext", "init_uts_ns", "prb", "log_buf"} {
		v, ok := in.Symbol(name)
		if !ok {
			continue
		}
		if p, ok := f.physical(v); ok {
			addrs = append(addrs, p)
		}
	}
	return addrs
}

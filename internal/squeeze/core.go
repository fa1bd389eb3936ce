package squeeze

import (
	"cmp"
	"fmt"
	"io"
	"math/bits"
	"os"
	"runtime/debug"
	"slices"
	"sort"
	"sync"

	"golang.org/x/sys/unix"

	"ukdump/internal/vmcore"
)

// windowSize is how much of a core is mapped at a time. Each part that is unmapped interrupts
// all processors with a worker, so it is more than the 4 MiB of makedumpfile(8); the page
// tables of such a part take 32 KiB. /proc/vmcore maps memory of the crashed kernel, which is
// several times faster than read(2): that remaps each page (fs/proc/vmcore.c).
const windowSize = 16 << 20

// mapUnit is what offsets of mmap(2) are a multiple of.
var mapUnit = int64(os.Getpagesize())

// Core is an ELF core: the memory that makedumpfile(8) filters.
type Core struct {
	f    *os.File
	size int64
	segs []vmcore.Segment // with data, sorted by address
	used bool             // Run read the pages from it

	mapping  sync.Mutex // guards the rest
	parts    []*part    // in use
	unmapped int        // parts that could not be mapped
}

// mmap is mmap(2).
var mmap = unix.Mmap

// NewCore reads the headers of /proc/vmcore or a copy of it. The caller closes the file
// after Run.
func NewCore(f *os.File) (*Core, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	elf, err := vmcore.Open(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	c := &Core{f: f, size: info.Size(), segs: elf.Segments()}
	c.segs = slices.DeleteFunc(c.segs, func(s vmcore.Segment) bool { return s.Size <= 0 })
	slices.SortStableFunc(c.segs, func(a, b vmcore.Segment) int { return cmp.Compare(a.Paddr, b.Paddr) })
	return c, nil
}

// part is a part of a core that is mapped. Workers share it, because their batches alternate:
// each would have to map most of the core otherwise.
//
// It lies in one segment. x86 maps memory of two only if all of it has the same memory type
// (track_pfn_remap in arch/x86/mm/pat/memtype.c), and what another process maps of it at the
// same time, as makedumpfile(8), has another one.
type part struct {
	off   int64  // in the file
	data  []byte // none if it cannot be mapped
	users int    // workers
}

// pageReader reads pages of a core for one worker.
type pageReader struct {
	core   *Core
	part   *part // with the latest page; may be nil
	latest int   // segment
}

// read reads the page at a physical address. It is a copy, because a device may still write
// to it: if a byte changed while it is packed, others that were like it would change with it
// in the dump.
func (r *pageReader) read(page []byte, addr uint64) error {
	segs, size := r.core.segs, len(page)
	for i := max(r.latest-1, 0); i < min(r.latest+2, len(segs)); i++ {
		if holds(&segs[i], addr, size) {
			r.latest = i
			return r.readAt(page, &segs[i], segs[i].Off+int64(addr-segs[i].Paddr))
		}
	}
	// Segments may overlap: the kernel's image has one of its own.
	first := sort.Search(len(segs), func(i int) bool { return segs[i].Paddr > addr })
	for i := first - 1; i >= max(first-4, 0); i-- {
		if holds(&segs[i], addr, size) {
			r.latest = i
			return r.readAt(page, &segs[i], segs[i].Off+int64(addr-segs[i].Paddr))
		}
	}
	return r.assemble(page, addr)
}

// holds reports whether a segment has the whole page.
func holds(s *vmcore.Segment, addr uint64, size int) bool {
	return addr >= s.Paddr && addr-s.Paddr <= uint64(s.Size) && uint64(s.Size)-(addr-s.Paddr) >= uint64(size)
}

// assemble reads a page at the border of memory. Bytes outside are zeros.
func (r *pageReader) assemble(page []byte, addr uint64) error {
	clear(page)
	found := false
	for i := range r.core.segs {
		s := &r.core.segs[i]
		from, to := max(addr, s.Paddr), min(addr+uint64(len(page)), s.Paddr+uint64(s.Size))
		if from >= to {
			continue
		}
		found = true
		if _, err := r.core.f.ReadAt(page[from-addr:to-addr], s.Off+int64(from-s.Paddr)); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("the page at address %#x is not in the core", addr)
	}
	return nil
}

// readAt reads a page of a segment at an offset of the file.
func (r *pageReader) readAt(page []byte, s *vmcore.Segment, off int64) error {
	base := s.Off - s.Off%mapUnit
	start := off - (off-base)%windowSize
	if r.part == nil || r.part.off != start {
		r.part = r.core.swap(r.part, start, min(start+windowSize, s.Off+s.Size))
	}
	if at := off - start; at+int64(len(page)) <= int64(len(r.part.data)) {
		copy(page, r.part.data[at:])
		return nil
	}
	_, err := r.core.f.ReadAt(page, off)
	return err
}

// close ends the use of the part that is mapped.
func (r *pageReader) close() {
	r.core.release(r.part)
	r.part = nil
}

// swap releases a part and returns that from off to end in the file.
func (c *Core) swap(old *part, off, end int64) *part {
	c.release(old)
	c.mapping.Lock()
	defer c.mapping.Unlock()
	for _, p := range c.parts {
		if p.off == off {
			p.users++
			return p
		}
	}
	p := &part{off: off, users: 1}
	if n := min(end, c.size) - off; n > 0 {
		var err error
		if p.data, err = mmap(int(c.f.Fd()), off, int(n), unix.PROT_READ, unix.MAP_PRIVATE); err != nil {
			c.unmapped++ // the next may be
		}
	}
	c.parts = append(c.parts, p)
	return p
}

// release ends the use of a part by one worker. p may be nil.
func (c *Core) release(p *part) {
	if p == nil {
		return
	}
	c.mapping.Lock()
	p.users--
	last := p.users == 0
	if last {
		c.parts = slices.DeleteFunc(c.parts, func(o *part) bool { return o == p })
	}
	c.mapping.Unlock()
	if last && p.data != nil {
		unix.Munmap(p.data)
	}
}

// fault is the panic after SIGBUS: memory that cannot be read, or a file that became
// shorter.
type fault interface {
	error
	Addr() uintptr
}

// packCore compresses the pages of a batch out of the core.
func (b *batch) packCore(c packer, r *pageReader) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var addr uint64
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(fault); !ok {
				panic(p)
			}
			err = fmt.Errorf("read %s: bus error at address %#x", r.core.f.Name(), addr)
		}
	}()
	page := b.scratch[:b.pageSize]
	for _, pfn := range b.pfns {
		addr = pfn * uint64(b.pageSize)
		if err := r.read(page, addr); err != nil {
			return fmt.Errorf("read %s: %w", r.core.f.Name(), err)
		}
		if b.noZeros && zeros(page) {
			b.addRun(true, 1)
			continue
		}
		b.addRun(b.first && len(b.results) == 0 && !b.noZeros, 1)
		out := b.buf[b.packed:cap(b.buf)]
		p := c.pack(out, page)
		if len(p) >= len(page) {
			b.store(page)
			continue
		}
		b.packed += copy(out, p)
		b.results = append(b.results, result(len(p)))
	}
	return nil
}

// filter is the bitmap of the pages in the dump, as the stream has it. Run takes pages
// from a core if it comes before any page: in one cycle of makedumpfile(8).
type filter struct {
	back    io.ReaderAt // where bits was written; nil: it is kept
	bits    []byte
	off     int64 // of the bitmap in the dump
	end     int64 // of its part that has bits for memory
	next    int64 // of the part that is to come
	count   int64 // of pages
	broken  bool
	noZeros bool // pages of zeros are excluded

	chunk  []byte // of the bitmap, with the next page
	at     int64  // of chunk in the dump
	bit    int    // next bit in chunk
	opened bool   // the first batch was made
}

// maxKept bounds a bitmap that is kept in memory, in bytes: that of 128 GiB in pages of
// 4 KiB. makedumpfile keeps as much.
const maxKept = 4 << 20

// learn takes the layout from the sub header.
func (f *filter) learn(l *layout, sub []byte) {
	pages := le.Uint64(sub[96:])
	if f.next > f.off || pages == 0 || pages > uint64(l.most) {
		return
	}
	f.off = l.desc - l.most/8
	f.next, f.end = f.off, f.off+int64(pages+7)/8
	f.noZeros = le.Uint32(sub[8:])&1 != 0
	f.broken = f.back == nil && f.end-f.off > maxKept
}

// take takes data before the descriptors.
func (f *filter) take(p []byte, off int64) {
	if f.broken || f.end == 0 || off >= f.end || off+int64(len(p)) <= f.off {
		return
	}
	if skip := f.off - off; skip > 0 {
		p, off = p[skip:], f.off
	}
	p = p[:min(int64(len(p)), f.end-off)]
	if off != f.next {
		f.broken = true
		return
	}
	f.next += int64(len(p))
	f.count += countBits(p)
	if f.back == nil {
		f.bits = append(f.bits, p...)
	}
}

// whole reports whether all of the bitmap has come.
func (f *filter) whole() bool { return !f.broken && f.end > 0 && f.next == f.end && f.count > 0 }

// fill makes the next batch of pages, or the end.
func (f *filter) fill(b *batch) error {
	b.noZeros = f.noZeros
	b.first = !f.opened
	if !f.opened && f.noZeros {
		f.opened = true
		clear(b.buf[:b.pageSize])
		b.n = b.pageSize // the page of zeros that descriptors share
		return nil
	}
	f.opened = true
	most := batchSize / b.pageSize
	for len(b.pfns) < most {
		if f.bit == 8*len(f.chunk) {
			f.at, f.bit = max(f.at+int64(len(f.chunk)), f.off), 0
			n := min(f.end-f.at, 4096)
			if n == 0 {
				f.chunk = f.chunk[:0]
				break
			}
			if err := f.read(n); err != nil {
				return err
			}
		}
		base := uint64(f.at-f.off) * 8
		f.bit = b.addPages(f.chunk, f.bit, base, most)
	}
	if len(b.pfns) == 0 {
		b.kind = endBatch
	}
	return nil
}

// read reads n bytes of the bitmap.
func (f *filter) read(n int64) error {
	if cap(f.chunk) < int(n) {
		f.chunk = make([]byte, n)
	}
	f.chunk = f.chunk[:n]
	if f.back == nil {
		copy(f.chunk, f.bits[f.at-f.off:])
		return nil
	}
	if _, err := f.back.ReadAt(f.chunk, f.at); err != nil {
		return fmt.Errorf("read back the bitmap: %w", err)
	}
	return nil
}

func countBits(p []byte) (n int64) {
	for _, c := range p {
		n += int64(bits.OnesCount8(c))
	}
	return n
}

// addPages adds the pages of a bitmap from a bit on, and returns the bit behind the last.
func (b *batch) addPages(bitmap []byte, bit int, base uint64, most int) int {
	for ; bit < 8*len(bitmap) && len(b.pfns) < most; bit++ {
		if bit%8 == 0 && bitmap[bit/8] == 0 {
			bit += 7
			continue
		}
		if bitmap[bit/8]&(1<<(bit%8)) != 0 {
			b.pfns = append(b.pfns, base+uint64(bit))
		}
	}
	return bit
}

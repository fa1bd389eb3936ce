package dump

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"

	"ukdump/internal/dumpfile"
	"ukdump/internal/vmcore"
)

// elfBlock is the unit in which an ELF core is read, in bytes: the smallest page.
const elfBlock = 4096

// elf is the memory in an ELF core.
type elf struct {
	r     io.ReaderAt
	data  []run // sorted, without overlap
	holes []run // memory that a filter left out, sorted, without overlap
	last  uint64
}

// run is a range of physical memory; off is its place in the file.
type run struct {
	start, end uint64
	off        int64
}

func newELF(src source) (*Dump, error) {
	f, err := vmcore.Open(src.r)
	if err != nil {
		return nil, err
	}
	e := &elf{r: src.r}
	segments := f.Segments()
	for _, s := range segments {
		data, end := s.Paddr+uint64(s.Size), s.Paddr+s.Memory
		if data < s.Paddr || end < s.Paddr {
			return nil, fmt.Errorf("ELF segment of %d bytes at physical address %#x ends outside of any memory", s.Memory, s.Paddr)
		}
		e.data = append(e.data, run{s.Paddr, data, s.Off})
		e.holes = append(e.holes, run{data, end, 0})
		e.last = max(e.last, end)
	}
	e.data, e.holes = disjoint(e.data), disjoint(e.holes)
	d := &Dump{header: src.header, mem: e, blockSize: elfBlock, info: f.Info}
	d.space.segments = kernelSegments(segments)
	v := statusReader{d: d, r: src.r}
	if err := f.VisitStatus(&v); err != nil {
		return nil, fmt.Errorf("read ELF notes: %w", err)
	}
	d.findInfo()
	return d, nil
}

// disjoint sorts runs by their addresses and cuts the parts off that an earlier run has:
// a core may have the kernel's image twice.
func disjoint(runs []run) []run {
	slices.SortStableFunc(runs, func(a, b run) int { return cmp.Compare(a.start, b.start) })
	end := uint64(0)
	out := runs[:0]
	for _, r := range runs {
		if r.start < end {
			cut := min(end, r.end) - r.start
			r.start, r.off = r.start+cut, r.off+int64(cut)
		}
		if r.start < r.end {
			out = append(out, r)
			end = r.end
		}
	}
	return out
}

// find returns the index of the first run that ends behind addr.
func find(runs []run, addr uint64) int {
	i, _ := slices.BinarySearchFunc(runs, addr, func(r run, addr uint64) int {
		if r.end <= addr {
			return -1
		}
		return 1
	})
	return i
}

// readBlock implements memory. A block in which memory begins or ends is filled up with
// zeros, since the firmware's map may have ranges that begin inside a page.
func (e *elf) readBlock(p []byte, addr uint64) error {
	end := addr + uint64(len(p))
	i := find(e.data, addr)
	if i == len(e.data) || e.data[i].start >= end {
		if i := find(e.holes, addr); i < len(e.holes) && e.holes[i].start < end {
			return &ExcludedError{Addr: addr, Zeros: true}
		}
		return &AbsentError{addr}
	}
	clear(p)
	for ; i < len(e.data) && e.data[i].start < end; i++ {
		r := e.data[i]
		from := max(addr, r.start)
		n := min(end, r.end) - from
		if r.off > math.MaxInt64-int64(r.end-r.start) {
			return &DamagedError{addr, io.ErrUnexpectedEOF}
		}
		if err := dumpfile.ReadFull(e.r, p[from-addr:][:n], r.off+int64(from-r.start)); err != nil {
			return &DamagedError{addr, err}
		}
	}
	return nil
}

// next implements memory.
func (e *elf) next(addr uint64) (uint64, bool) {
	if rest := addr % elfBlock; rest != 0 {
		addr += elfBlock - rest
	}
	i := find(e.data, addr)
	if i == len(e.data) {
		return 0, false
	}
	return max(addr, e.data[i].start/elfBlock*elfBlock), true
}

// end implements memory.
func (e *elf) end() uint64 { return e.last }

// kernelSegments returns the segments with a virtual address of the kernel.
func kernelSegments(all []vmcore.Segment) []vmcore.Segment {
	return slices.DeleteFunc(all, func(s vmcore.Segment) bool { return s.Vaddr < 1<<63 || s.Vaddr+s.Memory < s.Vaddr })
}

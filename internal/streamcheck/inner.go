package streamcheck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sort"

	"ukdump/internal/dumpfile"
	"ukdump/internal/vmcore"
)

// descSize is the size of a page descriptor, struct page_desc in makedumpfile's
// diskdump_mod.h: offset, size, flags, page flags.
const descSize = 24

// probe is a byte of a dump that shows whether the dump has a page.
type probe struct {
	off             int64 // in the dump
	mask, want, got byte
	mark            *vmcore.Mark
}

// inner is the dump inside the flattened one. Its header comes first; a kdump-compressed
// dump then has
//
//	bitmap of the memory | bitmap of the pages in the dump | descriptors | data of the pages
//
// of which each is written in its order, but all at the same time: makedumpfile(8) writes
// a part of the bitmap, and then the pages in it.
type inner struct {
	mem    *dumpfile.Memory
	head   head
	known  bool // the header was read
	header dumpfile.Header
	layout dumpfile.Layout
	size   int64 // of the dump so far
	probes []probe

	bitmapEnd int64 // of the bitmap of pages in the dump
	bitmap    spans // parts of it that passed
	pages     uint64

	data      spans // from the descriptors on
	dataStart int64 // where the data of pages begin; 0 if not known yet
	firstData int64 // lowest offset of data so far
	nextDesc  int64 // where the next descriptor is expected
	part      []byte
	lowest    uint64 // offset that descriptors have
	highest   uint64 // end that descriptors have
}

func newInner(mem *dumpfile.Memory) inner {
	return inner{mem: mem, firstData: math.MaxInt64, lowest: math.MaxUint64}
}

// write takes data at an offset.
func (d *inner) write(p []byte, off int64) error {
	d.size = max(d.size, off+int64(len(p)))
	if !d.known && off+int64(len(p)) > maxHead {
		if err := d.endRecord(); err != nil { // a record may be longer
			return err
		}
	}
	if !d.known {
		return d.head.write(p, off)
	}
	return d.place(p, off)
}

// endRecord looks for the header after each of the first records.
func (d *inner) endRecord() error {
	if d.known {
		return nil
	}
	h, err := d.head.read()
	if err != nil {
		if d.head.records++; d.head.records == maxHeadRecords {
			return err
		}
		return nil
	}
	return d.begin(h)
}

// begin takes the header.
func (d *inner) begin(h dumpfile.Header) error {
	d.header, d.layout, d.known = h, h.Layout(), true
	if d.layout.Split {
		return errors.New("one part of a split dump")
	}
	if !d.isELF() {
		d.bitmapEnd = d.layout.Dumped + int64((d.layout.Pages+7)/8)
		d.nextDesc = d.layout.Descs
	}
	if err := d.setProbes(); err != nil {
		return err
	}
	return d.replay()
}

// replay places the data behind the header that were kept with it.
func (d *inner) replay() error {
	if d.isELF() {
		d.readProbes(d.head.b, 0)
		return nil
	}
	b, written := d.head.b, d.head.written
	end := min(d.layout.Memory, int64(len(b)))
	d.head.cut(end)
	for _, s := range written {
		if s.start = max(s.start, end); s.start < s.end {
			if err := d.place(b[s.start:s.end], s.start); err != nil {
				return err
			}
		}
	}
	return nil
}

// isELF reports whether the dump is an ELF core.
func (d *inner) isELF() bool { return d.layout.Pages == 0 }

// place takes data of a dump whose header is known.
func (d *inner) place(p []byte, off int64) error {
	d.readProbes(p, off)
	if n := int64(len(d.head.b)) - off; n > 0 { // the header is written again
		n = min(n, int64(len(p)))
		if err := d.head.write(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	if d.isELF() || len(p) == 0 {
		return nil
	}
	if err := d.count(p, off); err != nil {
		return err
	}
	if n := d.layout.Descs - off; n > 0 {
		n = min(n, int64(len(p)))
		p, off = p[n:], off+n
	}
	if len(p) == 0 {
		return nil
	}
	return d.placePages(p, off)
}

// count counts the bits in the part of p that belongs to the bitmap of pages.
func (d *inner) count(p []byte, off int64) error {
	start, end := max(off, d.layout.Dumped), min(off+int64(len(p)), d.bitmapEnd)
	if start >= end {
		return nil
	}
	if d.bitmap.overlaps(start, end) {
		return fmt.Errorf("the bitmap is written twice at offset %d", start)
	}
	if err := d.bitmap.add(start, end); err != nil {
		return err
	}
	for _, c := range p[start-off : end-off] {
		d.pages += uint64(bits.OnesCount8(c))
	}
	if d.bitmap.from(d.layout.Dumped) < d.bitmapEnd {
		return nil
	}
	if d.pages > uint64(math.MaxInt64-d.layout.Descs)/descSize {
		return fmt.Errorf("impossible number of pages: %d", d.pages)
	}
	d.dataStart = d.layout.Descs + int64(d.pages)*descSize
	if d.nextDesc > d.dataStart || d.firstData < d.dataStart {
		return fmt.Errorf("the data of pages begin at offset %d, before the end of %d descriptors", d.firstData, d.pages)
	}
	return nil
}

// placePages takes descriptors and data of pages. As long as a part of the bitmap is to
// come, their border is not known; but descriptors come one after the other.
func (d *inner) placePages(p []byte, off int64) error {
	border := d.dataStart
	if border == 0 {
		border = d.firstData
		if off != d.nextDesc {
			border = off
		}
	}
	if n := border - off; n > 0 {
		n = min(n, int64(len(p)))
		if err := d.descs(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	if len(p) == 0 {
		return nil
	}
	d.firstData = min(d.firstData, off)
	return d.data.add(off, off+int64(len(p)))
}

// descs takes page descriptors.
func (d *inner) descs(p []byte, off int64) error {
	if off != d.nextDesc {
		return fmt.Errorf("page descriptors at offset %d, expected at %d", off, d.nextDesc)
	}
	d.nextDesc += int64(len(p))
	for len(p) > 0 {
		if len(d.part) == 0 && len(p) >= descSize {
			if err := d.desc(p[:descSize]); err != nil {
				return err
			}
			p = p[descSize:]
			continue
		}
		n := min(len(p), descSize-len(d.part))
		d.part, p = append(d.part, p[:n]...), p[n:]
		if len(d.part) == descSize {
			if err := d.desc(d.part); err != nil {
				return err
			}
			d.part = d.part[:0]
		}
	}
	return nil
}

// desc takes one page descriptor.
func (d *inner) desc(b []byte) error {
	le := binary.LittleEndian
	off, n, flags := le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:])
	switch flags {
	case 0, 0x1, 0x2, 0x4, 0x20: // DUMP_DH_COMPRESSED_*: none, zlib, lzo, snappy, zstd
	default:
		return fmt.Errorf("a page is compressed by unknown method %#x", flags)
	}
	if off > math.MaxInt64/2 || off < uint64(d.layout.Descs) || n == 0 || int64(n) > int64(d.header.BlockSize) {
		return fmt.Errorf("a page has impossible data: %d bytes at offset %d", n, off)
	}
	d.lowest, d.highest = min(d.lowest, off), max(d.highest, off+uint64(n))
	return nil
}

// setProbes finds the bytes of the dump that show whether it has the marks of the memory.
func (d *inner) setProbes() error {
	if d.mem == nil {
		return nil
	}
	var elf *vmcore.File
	if d.isELF() {
		var err error
		if elf, err = vmcore.Open(plain{&d.head}); err != nil {
			return err
		}
	}
	for i := range d.mem.Marks {
		m := &d.mem.Marks[i]
		p := probe{mark: m, mask: 0xff, want: m.Byte}
		ok := false
		if elf != nil {
			p.off, ok = elf.Offset(m.Addr)
		} else {
			pfn := m.Addr / uint64(d.header.BlockSize)
			ok = pfn < d.layout.Pages
			p.off, p.mask, p.want = d.layout.Dumped+int64(pfn/8), 1<<(pfn%8), 1<<(pfn%8)
		}
		if !ok {
			return missing(m)
		}
		// Sorted by insertion: the marks are a few sorted ranges.
		d.probes = append(d.probes, p)
		for i := len(d.probes) - 1; i > 0 && d.probes[i].off < d.probes[i-1].off; i-- {
			d.probes[i], d.probes[i-1] = d.probes[i-1], d.probes[i]
		}
	}
	return nil
}

func missing(m *vmcore.Mark) error {
	return fmt.Errorf("the dump lacks a page of %s, at physical address %#x", m.What, m.Addr)
}

// readProbes reads the bytes of the probes that are in p.
func (d *inner) readProbes(p []byte, off int64) {
	end := off + int64(len(p))
	i := sort.Search(len(d.probes), func(i int) bool { return d.probes[i].off >= off })
	for ; i < len(d.probes) && d.probes[i].off < end; i++ {
		d.probes[i].got = p[d.probes[i].off-off]
	}
}

// close checks the whole dump.
func (d *inner) close() error {
	if len(d.head.written) == 0 {
		return errors.New("no dump inside the flattened file")
	}
	// makedumpfile(8) writes the header again, with the mark of an incomplete dump.
	h, err := d.head.read()
	if err != nil {
		return fmt.Errorf("the header that was written last: %w", err)
	}
	if !d.known {
		if err := d.begin(h); err != nil {
			return err
		}
	}
	l := h.Layout()
	d.layout.VMCOREINFO, d.layout.Notes = l.VMCOREINFO, l.Notes
	if l != d.layout || h.BlockSize != d.header.BlockSize {
		return errors.New("the header was written again for another layout")
	}
	d.header = h
	if !h.Complete {
		return errors.New("makedumpfile marked it as incomplete")
	}
	check := d.closeKdump
	if d.isELF() {
		check = d.closeELF
	}
	if err := check(); err != nil {
		return err
	}
	for i := range d.probes {
		if p := &d.probes[i]; p.got&p.mask != p.want {
			return missing(p.mark)
		}
	}
	return nil
}

func (d *inner) closeELF() error {
	f, err := vmcore.Open(plain{&d.head})
	if err != nil {
		return err
	}
	if end := f.End(); end > d.size {
		return fmt.Errorf("the dump has %d bytes and needs %d", d.size, end)
	}
	return nil
}

func (d *inner) closeKdump() error {
	if d.dataStart == 0 {
		return fmt.Errorf("the bitmap at offset %d, which ends at %d, lacks a part", d.layout.Dumped, d.bitmapEnd)
	}
	if d.pages == 0 {
		return errors.New("the dump has no pages")
	}
	if d.nextDesc != d.dataStart {
		return fmt.Errorf("the dump has %d pages and descriptors of %d", d.pages, (d.nextDesc-d.layout.Descs)/descSize)
	}
	if d.lowest < uint64(d.dataStart) {
		return fmt.Errorf("a page has data at offset %d, before the end of the descriptors at %d", d.lowest, d.dataStart)
	}
	if end := d.data.from(d.dataStart); d.highest > uint64(end) {
		return fmt.Errorf("the data of pages end at offset %d, their descriptors need %d", end, d.highest)
	}
	for _, x := range []dumpfile.Extent{d.layout.VMCOREINFO, d.layout.Notes} {
		if x.Size > 0 && x.Size > d.size-x.Off {
			return fmt.Errorf("a part of the header at offset %d, %d bytes, is not inside the %d bytes of the dump", x.Off, x.Size, d.size)
		}
	}
	if d.mem == nil {
		return nil
	}
	return d.compareSize()
}

// compareSize compares the number of pages with the memory, as dumpfile.VerifyMemory does
// for a dump that is not flattened.
func (d *inner) compareSize() error {
	page := uint64(d.header.BlockSize)
	if end := d.mem.Core.MemoryEnd() / page; d.layout.Pages < end/2 {
		return fmt.Errorf("the dump covers pages below %d, the memory ends at page %d", d.layout.Pages, end)
	}
	memory := uint64(d.mem.Core.Size()) / page
	if most := memory + memory/16 + 64; d.pages > most {
		return fmt.Errorf("the dump has %d pages, the memory %d", d.pages, memory)
	}
	if d.header.DumpLevel == 0 && d.pages < memory/2 {
		return fmt.Errorf("the dump has %d of %d pages, but its level excludes none", d.pages, memory)
	}
	return nil
}

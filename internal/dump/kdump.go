package dump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"ukdump/internal/dumpfile"
	"ukdump/internal/vmcore"
)

var le = binary.LittleEndian

// maxPages bounds the page frames of a dump: 256 TiB in pages of 4 KiB. Their bitmap has
// 8 GiB.
const maxPages = 1 << 36

// maxInfo bounds VMCOREINFO: the kernel has one page for it.
const maxInfo = 64 << 10

// kdump is a kdump-compressed dump in one or several files: IMPLEMENTATION and
// diskdump_mod.h in makedumpfile's sources.
type kdump struct {
	parts []*part
	pages uint64 // page frames
	block uint64 // size of a page in bytes
	level int
	unpack
}

// part is one file. All parts have the same bitmaps.
type part struct {
	source
	layout         dumpfile.Layout
	memory, dumped *bitmap
}

func newKdump(files []source) (*Dump, error) {
	k := &kdump{}
	d := &Dump{header: files[0].header, mem: k}
	for _, src := range files {
		l := src.header.Layout()
		if l.Pages > maxPages {
			return nil, fmt.Errorf("bitmap of %d pages, more than %d", l.Pages, uint64(maxPages))
		}
		k.parts = append(k.parts, &part{
			source: src,
			layout: l,
			memory: newBitmap(src.r, l.Memory, l.Pages, 0),
			dumped: newBitmap(src.r, l.Dumped, l.Pages, l.First),
		})
		if err := d.readExtras(src, l); err != nil {
			return nil, err
		}
	}
	k.pages = k.parts[0].layout.Pages
	k.block = uint64(d.header.BlockSize)
	k.level = d.header.DumpLevel
	d.blockSize = k.block
	d.findInfo()
	return d, nil
}

// readExtras reads VMCOREINFO and the registers, which one part of a split dump has.
func (d *Dump) readExtras(src source, l dumpfile.Layout) error {
	if x := l.VMCOREINFO; x.Size > 0 && x.Size <= maxInfo && d.info.Release() == "" {
		text := make([]byte, x.Size)
		if err := dumpfile.ReadFull(src.r, text, x.Off); err != nil {
			return fmt.Errorf("read VMCOREINFO: %w", err)
		}
		d.info = vmcore.ParseInfo(text)
	}
	if x := l.Notes; x.Size > 0 && len(d.cpus) == 0 {
		v := statusReader{d: d, r: src.r}
		if err := vmcore.VisitStatus(src.r, x.Off, x.Size, &v); err != nil {
			return fmt.Errorf("read ELF notes: %w", err)
		}
	}
	return nil
}

// readBlock implements memory.
func (k *kdump) readBlock(p []byte, addr uint64) error {
	n := addr / k.block
	if n >= k.pages {
		return &AbsentError{addr}
	}
	part := k.partOf(n)
	if part == nil {
		return k.lacks(k.parts[0], n, &PartError{addr})
	}
	has, err := part.dumped.has(n)
	if err != nil {
		return &DamagedError{addr, err}
	}
	if !has {
		return k.lacks(part, n, &ExcludedError{Addr: addr, Level: k.level})
	}
	desc, err := part.desc(n)
	if err == nil {
		err = k.unpack.page(p, part.r, desc)
	}
	if err != nil {
		return &DamagedError{addr, err}
	}
	return nil
}

// partOf returns the part that has the page n if any has it.
func (k *kdump) partOf(n uint64) *part {
	for _, p := range k.parts {
		if n >= p.layout.First && n < p.layout.End {
			return p
		}
	}
	return nil
}

// lacks returns the error for the page n if it is memory, otherwise an AbsentError.
func (k *kdump) lacks(p *part, n uint64, memory error) error {
	is, err := p.memory.has(n)
	if err != nil {
		return &DamagedError{n * k.block, err}
	}
	if !is {
		return &AbsentError{n * k.block}
	}
	return memory
}

// next implements memory.
func (k *kdump) next(addr uint64) (uint64, bool) {
	n := addr / k.block
	if addr%k.block != 0 {
		n++
	}
	for n < k.pages {
		p := k.partOf(n)
		if p == nil {
			if n = k.nextPart(n); n == k.pages {
				break
			}
			continue
		}
		m, ok, err := p.dumped.next(n)
		if err != nil {
			return 0, false
		}
		if ok && m < p.layout.End {
			return m * k.block, true
		}
		n = p.layout.End
	}
	return 0, false
}

// nextPart returns the first page behind n that a part has.
func (k *kdump) nextPart(n uint64) uint64 {
	first := k.pages
	for _, p := range k.parts {
		if p.layout.First > n && p.layout.First < p.layout.End {
			first = min(first, p.layout.First)
		}
	}
	return first
}

// end implements memory.
func (k *kdump) end() uint64 { return k.pages * k.block }

// pageDesc is a page descriptor, struct page_desc.
type pageDesc struct {
	off   int64 // of the data in the file
	size  int   // of the data
	flags uint32
}

const pageDescSize = 24

// desc reads the descriptor of the page n, which the part has.
func (p *part) desc(n uint64) (pageDesc, error) {
	rank, err := p.dumped.rank(n)
	if err != nil {
		return pageDesc{}, err
	}
	if rank > uint64(math.MaxInt64-p.layout.Descs)/pageDescSize-1 {
		return pageDesc{}, errors.New("its descriptor lies outside of any file")
	}
	var b [pageDescSize]byte
	at := p.layout.Descs + int64(rank)*pageDescSize
	if err := dumpfile.ReadFull(p.r, b[:], at); err != nil {
		return pageDesc{}, fmt.Errorf("read its descriptor at offset %d: %w", at, err)
	}
	off, size := le.Uint64(b[:]), le.Uint32(b[8:])
	if off == 0 && size == 0 {
		return pageDesc{}, errors.New("its descriptor was never written")
	}
	if off > uint64(p.size) || uint64(size) > uint64(p.size)-off || size == 0 || int(size) > p.header.BlockSize {
		return pageDesc{}, fmt.Errorf("its data, %d bytes at offset %d, are not inside the file of %d bytes", size, off, p.size)
	}
	return pageDesc{int64(off), int(size), le.Uint32(b[12:])}, nil
}

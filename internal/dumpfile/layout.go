package dumpfile

import (
	"bytes"
	"io"
	"math"
)

// Extent is a part of a file, in bytes.
type Extent struct{ Off, Size int64 }

// Layout tells where the parts of a kdump-compressed dump are, in bytes. A bitmap has a
// bit for each page frame, the lowest bit of a byte first.
type Layout struct {
	Memory int64 // bitmap of the page frames that are memory
	Dumped int64 // bitmap of those that the dump has
	// Descs are the page descriptors, one for each bit in Dumped from First on.
	Descs int64
	// Pages is the number of page frames that the bitmaps cover.
	Pages uint64
	// Split is set in a part of a split dump. It has the pages from First up to End.
	Split      bool
	First, End uint64
	// VMCOREINFO and Notes (of ELF) have the size 0 if the dump lacks them.
	VMCOREINFO, Notes Extent
}

// Layout returns the layout of a kdump-compressed dump. Pages is 0 for an ELF core.
func (h Header) Layout() Layout {
	dumped, _ := h.secondBitmap()
	l := Layout{
		Memory:     h.bitmap,
		Dumped:     dumped,
		Descs:      h.bitmap + h.bitmapSize,
		Pages:      h.maxPFN,
		Split:      h.split,
		End:        h.maxPFN,
		VMCOREINFO: h.extras[0].extent(),
		Notes:      h.extras[1].extent(),
	}
	if h.split {
		l.First, l.End = min(h.first, h.maxPFN), min(h.end, h.maxPFN)
	}
	return l
}

// extent is empty if the part cannot lie in a file.
func (x extent) extent() Extent {
	if x.off > math.MaxInt64 || x.size > math.MaxInt64-x.off {
		return Extent{}
	}
	return Extent{Off: int64(x.off), Size: int64(x.size)}
}

// Sizes of the parts of a flattened dump, in bytes.
const (
	FlatHeaderSize = flatHdrSize
	FlatRecordSize = flatRecSize // without its data
)

// FlatRecord is the head of a record of a flattened dump: Size bytes of data follow, for
// the offset Off of the dump inside. End is set in the last record, which has no data.
type FlatRecord struct {
	Off, Size int64
	End       bool
}

// ReadFlatRecord reads the head of the record at an offset of a flattened dump.
func ReadFlatRecord(r io.ReaderAt, at int64) (FlatRecord, error) {
	rec, err := readFlatRecord(r, at)
	return rec.head(), err
}

// ParseFlatRecord parses the head of the record at an offset of a flattened dump, which has
// FlatRecordSize bytes. Neither the stream nor the dump inside exceeds an int64.
func ParseFlatRecord(head []byte, at int64) (FlatRecord, error) {
	rec, err := parseFlatRecord(head, at)
	return rec.head(), err
}

func (rec *flatRecord) head() FlatRecord { return FlatRecord{rec.off, rec.size, rec.end} }

// IsFlattened reports whether a file that begins with head is a flattened dump.
func IsFlattened(head []byte) bool { return bytes.HasPrefix(head, []byte(flatMagic)) }

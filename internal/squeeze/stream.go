package squeeze

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"ukdump/internal/dumpfile"
)

// Sizes and signature of the dump inside a flattened one: diskdump_mod.h in makedumpfile's
// sources, for 64-bit little-endian machines.
const (
	kdumpMagic = "KDUMP   "
	headerSize = 464 // struct disk_dump_header
	statusAt   = 424 // in it
	subSize    = 104 // struct kdump_sub_header
	splitAt    = 12  // in it
	eraseAt    = 64  // in it: offset and size of the erase information
	descSize   = 24  // struct page_desc

	// maxAhead bounds how many pages the descriptors and the data may be ahead of each
	// other: that many fill a cache of makedumpfile with the option -b 13. Its default
	// are 16.
	maxAhead = 1 << 13

	// maxOffset bounds offsets and sizes, so that sums of a few do not overflow.
	maxOffset = math.MaxInt64 / 4
)

var le = binary.LittleEndian

// stream reads the flattened dump.
type stream struct {
	r    *bufio.Reader
	flag uint32 // of the compression, for the header

	begun, ended bool  // the head or the end mark was read
	done         bool  // a batch has the end
	at, pos      int64 // offsets in the stream: of the record, and of the next byte
	off, left    int64 // of its data that are to come

	layout
	nextDesc int64 // offset of the next descriptor
	nextData int64 // offset of the next data of pages
	nextPage int64 // number of the page that the next descriptor has, unless it shares one
	filter   filter
	descs    [170 * descSize]byte
	part     int // bytes in descs
}

// layout tells where the parts of the dump in the stream are, in bytes. A field is 0 as long
// as it is not known.
type layout struct {
	pageSize int64
	desc     int64 // descriptors
	most     int64 // descriptors that the bitmap has bits for
	data     int64 // data of pages
	end      int64 // of the data of pages
}

// fill fills a batch with the next part of the stream.
func (s *stream) fill(b *batch) error {
	b.reset(s.pageSize)
	b.first = s.nextData == s.data
	for {
		if s.left == 0 && !s.ended {
			if err := s.record(); err != nil {
				return err
			}
		}
		full, err := s.take(b)
		if err != nil {
			return fmt.Errorf("flattened dump, record at offset %d: %w", s.at, err)
		}
		if full {
			b.layout = s.layout
			return nil
		}
	}
}

// read reads all of p.
func (s *stream) read(p []byte) error {
	n, err := io.ReadFull(s.r, p)
	s.pos += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("flattened dump ends without an end mark: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// record reads the head of the next record.
func (s *stream) record() error {
	if !s.begun {
		return s.begin()
	}
	s.at = s.pos
	var b [dumpfile.FlatRecordSize]byte
	if err := s.read(b[:]); err != nil {
		return err
	}
	rec, err := dumpfile.ParseFlatRecord(b[:], s.at)
	if err != nil {
		return err
	}
	if rec.End {
		s.ended = true
		return s.finish()
	}
	if rec.Size > maxOffset || rec.Off > maxOffset {
		return fmt.Errorf("flattened dump, record at offset %d: impossible size %d for offset %d", s.at, rec.Size, rec.Off)
	}
	s.off, s.left = rec.Off, rec.Size
	return nil
}

// begin reads the head of the stream.
func (s *stream) begin() error {
	var b [dumpfile.FlatHeaderSize]byte
	n, err := io.ReadFull(s.r, b[:])
	switch {
	case !strings.HasPrefix(dumpfile.FlatSignature, string(b[:min(n, len(dumpfile.FlatSignature))])):
		return errors.New("input is not a flattened dump of type 1, version 1: makedumpfile needs -F")
	case err != nil:
		return fmt.Errorf("read head of the flattened dump: %w", io.ErrUnexpectedEOF)
	}
	s.begun, s.pos = true, dumpfile.FlatHeaderSize
	return s.record()
}

// finish checks that the dump is whole and nothing follows.
func (s *stream) finish() error {
	switch {
	case s.pageSize == 0:
		return errors.New("flattened dump has no header")
	case s.data == 0:
		return errors.New("flattened dump has no pages")
	case s.nextDesc != s.data || s.part != 0:
		return fmt.Errorf("flattened dump has descriptors up to offset %d, not up to %d", s.nextDesc, s.data)
	case s.nextData < s.end:
		return fmt.Errorf("flattened dump has data up to offset %d, its descriptors need them up to %d", s.nextData, s.end)
	}
	if _, err := s.r.ReadByte(); err != io.EOF {
		if err == nil {
			err = errors.New("bytes follow")
		}
		return fmt.Errorf("flattened dump behind its end mark: %w", err)
	}
	return nil
}

// take puts the next part of the record into the batch. The batch is full if that, or
// the next part, is no data of pages.
func (s *stream) take(b *batch) (full bool, err error) {
	switch {
	case s.ended:
		return s.special(b, endBatch)
	case s.pageSize == 0 || s.off < s.desc:
		return s.special(b, headBatch)
	case s.end > 0 && s.off >= s.end:
		return s.special(b, tailBatch)
	case s.off == s.nextDesc && (s.data == 0 || s.off < s.data):
		err := s.takeDescs(b)
		return len(b.runs) > maxRuns-len(s.descs)/descSize, err
	}
	err = s.takeData(b)
	return b.n == len(b.buf), err
}

// special makes a batch that has no pages, if no page is in it yet.
func (s *stream) special(b *batch, k kind) (full bool, err error) {
	if b.n > 0 || len(b.runs) > 0 {
		return true, s.whole(b)
	}
	b.kind, b.off = k, s.off
	switch {
	case k == endBatch:
		s.done = true
		return true, nil
	case k == tailBatch && s.off != s.nextData:
		return false, fmt.Errorf("offset %d of the dump, expected %d", s.off, s.nextData)
	}
	n := min(s.left, int64(len(b.buf)))
	if k == headBatch && s.pageSize > 0 {
		n = min(n, s.desc-s.off)
	}
	if err := s.content(b.buf[:n]); err != nil {
		return false, err
	}
	b.n = int(n)
	if k == tailBatch {
		s.nextData = s.off
		return true, nil
	}
	return true, s.head(b.buf[:n], b.off)
}

// whole checks that the pages of a batch are whole.
func (s *stream) whole(b *batch) error {
	if int64(b.n)%s.pageSize != 0 {
		return fmt.Errorf("offset %d of the dump is out of order: the page at %d is not whole", s.off, s.nextData-int64(b.n)%s.pageSize)
	}
	return nil
}

// content reads data of the record.
func (s *stream) content(p []byte) error {
	if err := s.read(p); err != nil {
		return err
	}
	s.off, s.left = s.off+int64(len(p)), s.left-int64(len(p))
	return nil
}

// takeDescs reads descriptors.
func (s *stream) takeDescs(b *batch) error {
	n := int64(len(s.descs) - s.part)
	if n = min(n, s.left); s.data > 0 {
		n = min(n, s.data-s.off)
	}
	if err := s.content(s.descs[s.part:][:n]); err != nil {
		return err
	}
	s.nextDesc = s.off
	p := s.descs[:s.part+int(n)]
	for ; len(p) >= descSize; p = p[descSize:] {
		if err := s.takeDesc(b, p); err != nil {
			return err
		}
	}
	s.part = copy(s.descs[:], p)
	if s.data == 0 {
		return nil
	}
	switch {
	case s.nextPage-s.readPages() > maxAhead:
		return fmt.Errorf("descriptors are more than %d pages ahead of the data", maxAhead)
	case s.nextDesc > s.data:
		return fmt.Errorf("descriptors up to offset %d, where data begin at %d", s.nextDesc, s.data)
	case s.nextDesc == s.data:
		s.end = s.data + max(s.nextPage, 1)*s.pageSize
	}
	return nil
}

// takeDesc reads one descriptor. Each has the next page, or shares the first.
func (s *stream) takeDesc(b *batch, p []byte) error {
	off, size, flags := le.Uint64(p), le.Uint32(p[8:]), le.Uint32(p[12:])
	if flags != 0 || int64(size) != s.pageSize {
		return fmt.Errorf("a page of %d bytes with flags %#x: it is compressed already", size, flags)
	}
	if off > math.MaxInt64/2 {
		return fmt.Errorf("a page at impossible offset %d", off)
	}
	at := int64(off)
	if s.data == 0 {
		if err := s.setData(s.firstData(at)); err != nil {
			return err
		}
	}
	switch at {
	case s.data:
		b.addRun(true, 1)
	case s.data + s.nextPage*s.pageSize:
		s.nextPage++
		b.addRun(false, 1)
	default:
		return fmt.Errorf("a page at offset %d, expected at %d or %d", at, s.data, s.data+s.nextPage*s.pageSize)
	}
	return nil
}

// firstData returns where the data begin, from the first descriptor. It has the first page
// or the second one; a number of descriptors is a multiple of three bytes long, and one page
// more is not.
func (s *stream) firstData(at int64) int64 {
	if (at-s.desc)%descSize == 0 {
		return at
	}
	return at - s.pageSize
}

// setData sets where the data of pages begin.
func (s *stream) setData(at int64) error {
	n := (at - s.desc) / descSize
	if n <= 0 || n > s.most || (at-s.desc)%descSize != 0 {
		return fmt.Errorf("data of pages at offset %d, descriptors at %d of at most %d pages", at, s.desc, s.most)
	}
	s.data, s.nextData, s.nextPage = at, at, 1
	return nil
}

// readPages returns how many pages begin before nextData.
func (s *stream) readPages() int64 { return (s.nextData - s.data) / s.pageSize }

// takeData reads data of pages.
func (s *stream) takeData(b *batch) error {
	if s.data == 0 {
		if err := s.setData(s.off); err != nil {
			return err
		}
	}
	if s.off != s.nextData {
		return fmt.Errorf("offset %d of the dump is out of order: expected descriptors at %d or data at %d", s.off, s.nextDesc, s.nextData)
	}
	n := min(s.left, int64(len(b.buf)-b.n))
	if s.end > 0 {
		n = min(n, s.end-s.off)
	}
	if err := s.content(b.buf[b.n:][:n]); err != nil {
		return err
	}
	b.n, s.nextData = b.n+int(n), s.off
	if s.readPages()-s.nextPage > maxAhead {
		return fmt.Errorf("data are more than %d pages ahead of their descriptors", maxAhead)
	}
	return nil
}

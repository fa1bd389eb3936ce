package dumpfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
)

// A flattened dump is a sequence of writes: a header of 4096 bytes, then for
// each write the offset in the real dump and the size, both 64-bit big-endian,
// and the data. The last has -1 for both (makedumpfile.h in makedumpfile's
// sources). Later writes replace earlier ones.
const (
	// FlatSignature begins a flattened dump: the name, then type and version in big-endian.
	FlatSignature = flatMagic + "\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x01"

	flatMagic   = "makedumpfile"
	flatHdrSize = 4096
	flatRecSize = 16

	// flatHeaderRecords bounds the search for the header of the dump inside:
	// makedumpfile writes it first, and again at the end.
	flatHeaderRecords = 256
)

// readFlattened reads the header of the dump inside the stream.
func readFlattened(r io.ReaderAt) (Header, error) {
	var b [flatHdrSize]byte
	if err := ReadFull(r, b[:], 0); err != nil {
		return Header{}, err
	}
	if err := checkFlatHeader(b[:]); err != nil {
		return Header{}, err
	}
	head, err := openFlatHead(r)
	if err != nil {
		return Header{}, err
	}
	var magic [4]byte
	if err := ReadFull(head, magic[:], 0); err != nil {
		return Header{}, err
	}
	read := readKdump
	if string(magic[:]) == elfMagic {
		read = readELF
	}
	h, err := read(head)
	h.Format = Flattened
	return h, err
}

// checkFlatHeader returns an error unless b begins a flattened dump.
func checkFlatHeader(b []byte) error {
	if !IsFlattened(b) {
		return errors.New("not a flattened dump")
	}
	if typ, version := binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:]); typ != 1 || version != 1 {
		return fmt.Errorf("flattened dump of type %d, version %d, not 1 and 1", typ, version)
	}
	return nil
}

// openFlatHead finds the first records of a flattened dump.
func openFlatHead(r io.ReaderAt) (*flatHead, error) {
	head := &flatHead{r: r}
	for off := int64(flatHdrSize); len(head.records) < flatHeaderRecords; {
		rec, err := readFlatRecord(r, off)
		if err != nil && len(head.records) == 0 {
			return nil, err
		}
		if err != nil || rec.end {
			break // Verify checks the rest
		}
		rec.at = off + flatRecSize
		head.records = append(head.records, rec)
		off = rec.at + rec.size
	}
	if len(head.records) == 0 {
		return nil, errors.New("no dump inside the flattened file")
	}
	return head, nil
}

// flatHead reads the data of the first records.
type flatHead struct {
	r       io.ReaderAt
	records []flatRecord
}

// ReadAt implements io.ReaderAt. The last of several records counts. An offset without
// a record is the end of the file.
func (h *flatHead) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		size, from := int64(len(p)-n), int64(-1)
		for _, rec := range h.records {
			switch {
			case rec.off <= at && at-rec.off < rec.size: // the record has this byte
				size, from = min(int64(len(p)-n), rec.size-(at-rec.off)), rec.at+at-rec.off
			case rec.off > at && rec.off-at < size: // the record replaces the rest
				size = rec.off - at
			}
		}
		if from < 0 {
			return n, io.EOF
		}
		m, err := h.r.ReadAt(p[n:n+int(size)], from)
		n += m
		if err != nil && m < int(size) {
			return n, err
		}
	}
	return n, nil
}

type flatRecord struct {
	off, size int64 // in the dump
	at        int64 // of the data in the flattened file
	end       bool
}

func readFlatRecord(r io.ReaderAt, at int64) (flatRecord, error) {
	var b [flatRecSize]byte
	if err := ReadFull(r, b[:], at); err != nil {
		return flatRecord{}, fmt.Errorf("flattened dump, record at offset %d: %w", at, err)
	}
	return parseFlatRecord(b[:], at)
}

// parseFlatRecord parses the head of the record at offset at of the stream.
func parseFlatRecord(b []byte, at int64) (flatRecord, error) {
	off, size := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	if off == -1 && size == -1 {
		return flatRecord{end: true}, nil
	}
	if off < 0 || size <= 0 || size > math.MaxInt64-flatRecSize-at || size > math.MaxInt64-off {
		return flatRecord{}, fmt.Errorf("flattened dump, record at offset %d: impossible size %d for offset %d", at, size, off)
	}
	return flatRecord{off: off, size: size}, nil
}

// FlatWriter writes a flattened dump, see makedumpfile(8), option -F.
type FlatWriter struct{ w io.Writer }

// NewFlatWriter writes the header and returns a FlatWriter for the records.
func NewFlatWriter(w io.Writer) (*FlatWriter, error) {
	var b [flatHdrSize]byte
	copy(b[:], FlatSignature)
	_, err := w.Write(b[:])
	return &FlatWriter{w}, err
}

// WriteAt implements io.WriterAt for the dump inside: offsets may come in any
// order.
func (f *FlatWriter) WriteAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := f.record(off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.w.Write(p)
}

// Close writes the end mark.
func (f *FlatWriter) Close() error { return f.record(-1, -1) }

func (f *FlatWriter) record(off, size int64) error {
	var b [flatRecSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(off))
	binary.BigEndian.PutUint64(b[8:], uint64(size))
	_, err := f.w.Write(b[:])
	return err
}

// verifyFlattened walks all records up to the end mark, counts the pages of the dump
// inside and reads the bytes of the probes. It takes the bitmaps for written once.
func (h *Header) verifyFlattened(r io.ReaderAt, size int64, probes []probe) error {
	var pages, data uint64 // data: bytes of descriptors and pages
	start, end := h.secondBitmap()
	buf := make([]byte, verifyBuf)
	for off := int64(flatHdrSize); ; {
		rec, err := readFlatRecord(r, off)
		if err != nil {
			return err
		}
		rec.at = off + flatRecSize
		if off = rec.at + rec.size; off > size {
			return fmt.Errorf("flattened dump ends inside a record: %d bytes instead of %d", size, off)
		}
		if rec.end {
			break
		}
		if err := rec.readProbes(r, probes); err != nil {
			return err
		}
		if at, n := rec.part(start, end); n > 0 {
			bits, err := countBits(r, at, n, buf)
			if err != nil {
				return err
			}
			pages += bits
		}
		_, n := rec.part(h.bitmap+h.bitmapSize, math.MaxInt64)
		data += uint64(n)
	}
	elf := h.maxPFN == 0
	if data == 0 || pages == 0 && !elf {
		return errNoPages
	}
	// A page has a descriptor; equal pages may share their data.
	if most := data / pageDescSize; pages >= most && !elf {
		return fmt.Errorf("the dump has %d pages and room for the descriptors of %d", pages, most)
	}
	return nil
}

// part returns the part of the record between two offsets of the dump: where it is in the
// flattened file, and its size.
func (rec *flatRecord) part(start, end int64) (at, n int64) {
	start, end = max(start, rec.off), min(end, rec.off+rec.size)
	return rec.at + start - rec.off, max(0, end-start)
}

// readProbes reads the bytes of the probes that are in the record.
func (rec *flatRecord) readProbes(r io.ReaderAt, probes []probe) error {
	i := sort.Search(len(probes), func(i int) bool { return probes[i].off >= rec.off })
	for ; i < len(probes) && probes[i].off < rec.off+rec.size; i++ {
		if err := ReadFull(r, probes[i].got[:], rec.at+probes[i].off-rec.off); err != nil {
			return err
		}
	}
	return nil
}

package vmcore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// A flattened dump is a sequence of writes: a header of 4096 bytes, then for
// each write the offset in the real dump and the size, both 64-bit big-endian,
// and the data. The last has -1 for both (makedumpfile.h in makedumpfile's
// sources). Later writes replace earlier ones.
const (
	flatMagic   = "makedumpfile"
	flatHdrSize = 4096
	flatRecSize = 16

	// flatHeaderRecords bounds the search for the header of the dump inside:
	// makedumpfile writes it first.
	flatHeaderRecords = 1024
)

// readFlattened reads the header of the dump inside the stream.
func readFlattened(r io.ReaderAt) (Header, error) {
	var b [flatHdrSize]byte
	if err := readFull(r, b[:], 0); err != nil {
		return Header{}, err
	}
	be := binary.BigEndian
	if typ, version := be.Uint64(b[16:]), be.Uint64(b[24:]); typ != 1 || version != 1 {
		return Header{}, fmt.Errorf("flattened dump of type %d, version %d, not 1 and 1", typ, version)
	}
	// The head of the dump inside, put together: it has all of the two headers.
	head := prefix(make([]byte, kdumpMaxBlock+kdumpSubSize))
	var h Header
	err := errors.New("no dump inside the flattened file")
	for n, off := 0, int64(flatHdrSize); n < flatHeaderRecords; n++ {
		rec, rerr := readFlatRecord(r, off)
		if rerr != nil {
			return Header{}, rerr
		}
		if rec.end {
			break
		}
		if rec.off < int64(len(head)) {
			part := head[rec.off:]
			if rec.size < int64(len(part)) {
				part = part[:rec.size]
			}
			if rerr := readFull(r, part, off+flatRecSize); rerr != nil {
				return Header{}, rerr
			}
			h, err = readKdump(head)
		} else if err == nil {
			break // headers are over
		}
		off += flatRecSize + rec.size
	}
	h.Format = Flattened
	return h, err
}

// prefix is the beginning of a file in memory.
type prefix []byte

func (h prefix) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(h)) {
		return 0, io.EOF
	}
	n := copy(p, h[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

type flatRecord struct {
	off, size int64
	end       bool
}

func readFlatRecord(r io.ReaderAt, at int64) (flatRecord, error) {
	var b [flatRecSize]byte
	if err := readFull(r, b[:], at); err != nil {
		return flatRecord{}, fmt.Errorf("flattened dump, record at offset %d: %w", at, err)
	}
	off, size := int64(binary.BigEndian.Uint64(b[:])), int64(binary.BigEndian.Uint64(b[8:]))
	if off == -1 && size == -1 {
		return flatRecord{end: true}, nil
	}
	if off < 0 || size <= 0 || size > math.MaxInt64-flatRecSize-at || size > math.MaxInt64-off {
		return flatRecord{}, fmt.Errorf("flattened dump, record at offset %d: %d bytes for offset %d cannot be", at, size, off)
	}
	return flatRecord{off: off, size: size}, nil
}

// verifyFlattened walks all records up to the end mark.
func verifyFlattened(r io.ReaderAt, size int64) error {
	off := int64(flatHdrSize)
	for {
		rec, err := readFlatRecord(r, off)
		if err != nil {
			return err
		}
		off += flatRecSize + rec.size
		if off > size {
			return fmt.Errorf("flattened dump ends inside a record: it has %d bytes and needs %d", size, off)
		}
		if rec.end {
			return nil
		}
	}
}

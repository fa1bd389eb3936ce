package streamcheck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"ukdump/internal/dumpfile"
	"ukdump/internal/vmcore"
)

const (
	// maxHead bounds the beginning of the dump that is kept: the header of an ELF core
	// with 8192 ranges of memory and the notes of 8192 CPUs has 4 MiB.
	maxHead = 8 << 20
	// maxHeadRecords bounds the search for the header: makedumpfile writes it first.
	maxHeadRecords = 256
)

// head is the beginning of the dump inside. Later writes replace earlier ones.
type head struct {
	b       []byte
	written spans
	records int
}

// write keeps a part that ends below maxHead.
func (h *head) write(p []byte, off int64) error {
	end := off + int64(len(p))
	if end > maxHead {
		return fmt.Errorf("the dump has data at offset %d before its header", off)
	}
	if n := int(end) - len(h.b); n > 0 {
		h.b = append(h.b, make([]byte, n)...)
	}
	copy(h.b[off:], p)
	return h.written.add(off, end)
}

// ReadAt implements io.ReaderAt for a flattened dump of the parts that were written:
// dumpfile reads headers of such dumps.
func (h *head) ReadAt(p []byte, off int64) (int, error) {
	var start [dumpfile.FlatHeaderSize]byte
	copy(start[:], dumpfile.FlatSignature)
	n := copyAt(p, start[:], &off)
	for _, s := range h.written {
		var rec [dumpfile.FlatRecordSize]byte
		binary.BigEndian.PutUint64(rec[:], uint64(s.start))
		binary.BigEndian.PutUint64(rec[8:], uint64(s.end-s.start))
		n += copyAt(p[n:], rec[:], &off)
		n += copyAt(p[n:], h.b[s.start:s.end], &off)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// copyAt copies the part of b from offset off on, and makes off that of the bytes behind b.
func copyAt(p, b []byte, off *int64) int {
	n := 0
	if *off < int64(len(b)) {
		n = copy(p, b[*off:])
	}
	*off = max(0, *off-int64(len(b)))
	return n
}

// read returns the header, if that has been written. makedumpfile -E writes empty program
// headers first and the real ones last, too late for a check in passing.
func (h *head) read() (dumpfile.Header, error) {
	header, err := dumpfile.ReadHeader(h)
	if err != nil || header.Layout().Pages != 0 {
		return header, err
	}
	f, err := vmcore.Open(plain{h})
	if err == nil && f.End() == 0 {
		err = errNoMemory
	}
	return header, err
}

var errNoMemory = errors.New("the program headers of the ELF core have no memory")

// plain reads the beginning of the dump itself. A part that was not written is the end.
type plain struct{ h *head }

func (r plain) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if end := r.h.written.from(off); end > off {
		n = copy(p, r.h.b[off:end])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// cut forgets everything from an offset on.
func (h *head) cut(end int64) {
	h.b = append([]byte(nil), h.b[:end]...)
	var kept spans
	for _, s := range h.written {
		if s.start < end {
			kept = append(kept, span{s.start, min(s.end, end)})
		}
	}
	h.written = kept
}

package dumpfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"ukdump/internal/vmcore"
)

// verifyBuf is the size of the reads of Verify: a multiple of a page
// descriptor's and of a block's size.
const verifyBuf = 3 * 64 << 10

// Page descriptors, struct page_desc in makedumpfile's diskdump_mod.h.
const pageDescSize = 24

// Verify checks that the dump in r, of size bytes and with header h, is structurally
// whole. Of a kdump-compressed file it reads the bitmap and every page descriptor and
// checks that there are pages and that the data of each lies inside the file: about 3% of
// the file, in constant memory. Of a flattened file it walks the records up to the end
// mark, and of the dump inside it counts pages and descriptors. Of an ELF file it checks
// the program headers. It does not decompress pages. VerifyImage and VerifyMemory find
// missing ones.
//
// Verify does not notice lost data of a page whose descriptor is intact: sync the file
// before.
func (h Header) Verify(r io.ReaderAt, size int64) error {
	if err := h.verify(r, size, nil); err != nil {
		return fmt.Errorf("verify dump: %w", err)
	}
	return nil
}

func (h *Header) verify(r io.ReaderAt, size int64, probes []probe) error {
	if !h.Complete {
		return errors.New("makedumpfile marked it as incomplete")
	}
	var err error
	switch h.Format {
	case Kdump:
		err = h.verifyKdump(r, size)
	case Flattened: // the probes are read in the same walk
		err = h.verifyFlattened(r, size, probes)
	case ELF:
		err = verifyELF(r, size)
	default:
		err = errors.New("no header was read")
	}
	for i := range probes {
		p := &probes[i]
		if err == nil && h.Format != Flattened {
			err = ReadFull(r, p.got[:], p.off)
		}
		if err == nil && p.got[0]&p.mask != p.want {
			err = missing(p.mark)
		}
	}
	return err
}

func verifyELF(r io.ReaderAt, size int64) error {
	f, err := vmcore.Open(r)
	if err != nil {
		return err
	}
	end := f.End()
	if end == 0 {
		return errors.New("the ELF core has no memory")
	}
	if end > size {
		return fmt.Errorf("the file has %d bytes and needs %d", size, end)
	}
	return nil
}

func (h *Header) verifyKdump(r io.ReaderAt, size int64) error {
	if h.split {
		return errors.New("one part of a split dump")
	}
	buf := make([]byte, verifyBuf)
	start, end := h.secondBitmap()
	pages, err := countBits(r, start, end-start, buf)
	if err != nil {
		return err
	}
	if pages == 0 {
		return errNoPages
	}
	descs := h.bitmap + h.bitmapSize
	if pages > uint64(math.MaxInt64-descs)/pageDescSize {
		return fmt.Errorf("impossible number of pages: %d", pages)
	}
	data := descs + int64(pages)*pageDescSize
	if data > size {
		return fmt.Errorf("the file has %d bytes and needs more than %d", size, data)
	}
	for _, x := range h.extras {
		if x.size > 0 && (x.off > uint64(size) || x.size > uint64(size)-x.off) {
			return fmt.Errorf("%s at offset %d, %d bytes, is not inside the %d bytes of the file", x.name, x.off, x.size, size)
		}
	}
	return h.verifyDescs(r, buf, descs, data, size)
}

// verifyDescs checks the page descriptors between the offsets descs and data.
func (h *Header) verifyDescs(r io.ReaderAt, buf []byte, descs, data, size int64) error {
	for at := descs; at < data; {
		b := buf[:min(int64(len(buf)), data-at)]
		if err := ReadFull(r, b, at); err != nil {
			return fmt.Errorf("read page descriptors at offset %d: %w", at, err)
		}
		for i := 0; i < len(b); i += pageDescSize {
			off, n := le.Uint64(b[i:]), le.Uint32(b[i+8:])
			if off < uint64(data) || off > uint64(size) || uint64(n) > uint64(size)-off || n == 0 || int(n) > h.BlockSize {
				return fmt.Errorf("page %d of %d: its data at offset %d, %d bytes, are not between %d and the end of the file at %d",
					(at-descs+int64(i))/pageDescSize, (data-descs)/pageDescSize, off, n, data, size)
			}
		}
		at += int64(len(b))
	}
	return nil
}

// secondBitmap returns the offsets between which the bits of the pages in the dump are.
func (h *Header) secondBitmap() (start, end int64) {
	start = h.bitmap + h.bitmapSize/2
	return start, start + int64((h.maxPFN+7)/8)
}

// countBits counts the bits that are set in n bytes at offset at.
func countBits(r io.ReaderAt, at, n int64, buf []byte) (count uint64, err error) {
	for end := at + n; at < end; {
		b := buf[:min(int64(len(buf)), end-at)]
		if err := ReadFull(r, b, at); err != nil {
			return 0, fmt.Errorf("read bitmap at offset %d: %w", at, err)
		}
		for _, c := range b {
			count += uint64(bits.OnesCount8(c))
		}
		at += int64(len(b))
	}
	return count, nil
}

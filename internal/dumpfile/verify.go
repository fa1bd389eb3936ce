package dumpfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"

	"ukdump/internal/vmcore"
)

// verifyBuf is the size of the reads of Verify: a multiple of a page
// descriptor's and of a block's size.
const verifyBuf = 3 * 64 << 10

// Page descriptors, struct page_desc in makedumpfile's diskdump_mod.h.
const pageDescSize = 24

// VerifyFile reads the header of the dump in a file and verifies it. The error
// names the file.
func VerifyFile(name string) (Header, error) {
	f, err := os.Open(name)
	if err != nil {
		return Header{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Header{}, err
	}
	h, err := ReadHeader(f)
	if err == nil {
		err = h.Verify(f, info.Size())
	}
	if err != nil {
		return h, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}

// Verify checks that the dump in r, of size bytes and with header h, is structurally
// whole. Of a kdump-compressed file it reads the bitmap and every page descriptor and checks that the data of
// each page lies inside the file: about 3% of the file, in constant memory. Of a
// flattened file it walks the records up to the end mark, of an ELF file it
// checks the program headers. It does not decompress pages.
//
// Verify does not notice lost data of a page whose descriptor is intact: sync the file
// before.
func (h Header) Verify(r io.ReaderAt, size int64) error {
	if err := h.verify(r, size); err != nil {
		return fmt.Errorf("verify dump: %w", err)
	}
	return nil
}

func (h Header) verify(r io.ReaderAt, size int64) error {
	if !h.Complete {
		return errors.New("makedumpfile marked it as incomplete")
	}
	switch h.Format {
	case Kdump:
		return h.verifyKdump(r, size)
	case Flattened:
		return verifyFlattened(r, size)
	case ELF:
		return verifyELF(r, size)
	}
	return errors.New("no header was read")
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

func (h Header) verifyKdump(r io.ReaderAt, size int64) error {
	if h.split {
		return errors.New("one part of a split dump")
	}
	buf := make([]byte, verifyBuf)
	pages, err := h.countPages(r, buf)
	if err != nil {
		return err
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
	for at := descs; at < data; {
		b := buf[:min(int64(len(buf)), data-at)]
		if err := readFull(r, b, at); err != nil {
			return fmt.Errorf("read page descriptors at offset %d: %w", at, err)
		}
		for i := 0; i < len(b); i += pageDescSize {
			off, n := le.Uint64(b[i:]), le.Uint32(b[i+8:])
			if off < uint64(data) || off > uint64(size) || uint64(n) > uint64(size)-off || n == 0 || int(n) > h.BlockSize {
				return fmt.Errorf("page %d of %d: its data at offset %d, %d bytes, are not between %d and the end of the file at %d",
					(at-descs+int64(i))/pageDescSize, pages, off, n, data, size)
			}
		}
		at += int64(len(b))
	}
	return nil
}

// countPages counts the pages in the dump: the set bits of the second bitmap.
func (h Header) countPages(r io.ReaderAt, buf []byte) (uint64, error) {
	var pages uint64
	start := h.bitmap + h.bitmapSize/2
	end := start + int64((h.maxPFN+7)/8)
	for at := start; at < end; {
		b := buf[:min(int64(len(buf)), end-at)]
		if err := readFull(r, b, at); err != nil {
			return 0, fmt.Errorf("read bitmap at offset %d: %w", at, err)
		}
		for _, c := range b {
			pages += uint64(bits.OnesCount8(c))
		}
		at += int64(len(b))
	}
	return pages, nil
}

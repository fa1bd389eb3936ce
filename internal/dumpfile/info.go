package dumpfile

import (
	"errors"
	"fmt"
	"io"

	"ukdump/internal/vmcore"
)

// maxInfo bounds VMCOREINFO: the kernel has one page for it.
const maxInfo = kdumpMaxBlock

// Info returns the VMCOREINFO of the dump, an empty one if the dump was made without it.
func (h Header) Info(r io.ReaderAt) (vmcore.Info, error) {
	var err error
	if h.Format == Flattened {
		if r, err = openFlatHead(r); err != nil {
			return vmcore.Info{}, err
		}
	}
	if h.isELF() {
		f, err := vmcore.Open(r)
		if err != nil {
			return vmcore.Info{}, err
		}
		return f.Info, nil
	}
	return h.kdumpInfo(r)
}

// kdumpInfo reads VMCOREINFO of a kdump-compressed file.
func (h *Header) kdumpInfo(r io.ReaderAt) (vmcore.Info, error) {
	x := h.extras[0]
	if x.size == 0 || x.size > maxInfo {
		return vmcore.Info{}, nil
	}
	text := make([]byte, x.size)
	if err := ReadFull(r, text, int64(x.off)); err != nil {
		return vmcore.Info{}, fmt.Errorf("read VMCOREINFO: %w", err)
	}
	return vmcore.ParseInfo(text), nil
}

// isELF reports whether the dump is an ELF core, perhaps in a flattened file.
func (h *Header) isELF() bool { return h.maxPFN == 0 }

// Pages returns the number of pages in a kdump-compressed dump. It returns an error for
// the other formats, whose pages are not counted in one place.
func (h Header) Pages(r io.ReaderAt) (uint64, error) {
	if h.Format != Kdump {
		return 0, errors.New("count pages: not a kdump-compressed dump")
	}
	start, end := h.secondBitmap()
	return countBits(r, start, end-start, make([]byte, verifyBuf))
}

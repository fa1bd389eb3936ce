package dumpfile

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"ukdump/internal/vmcore"
)

// VerifyFile reads the header of the dump in a file and verifies it, with Verify and
// VerifyImage. The error names the file.
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
	if err == nil {
		err = h.VerifyImage(f)
	}
	if err != nil {
		return h, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}

// VerifyImage checks that the dump has the pages of the kernel's image that its VMCOREINFO
// names and that every tool reads first. It checks nothing in a dump that was made without
// VMCOREINFO, with the option -x of makedumpfile(8), and in a flattened one.
func (h Header) VerifyImage(r io.ReaderAt) error {
	switch h.Format {
	case Kdump:
		return h.verifyKdumpImage(r)
	case ELF:
		return verifyELFImage(r)
	}
	return nil
}

func (h *Header) verifyKdumpImage(r io.ReaderAt) error {
	info, err := h.kdumpInfo(r)
	if err != nil {
		return err
	}
	for _, addr := range info.ImageAddrs(h.Machine) {
		var b [1]byte
		off, mask, ok := h.bitOf(addr)
		if !ok {
			return missing(imageMark(addr))
		}
		if err := ReadFull(r, b[:], off); err != nil {
			return err
		}
		if b[0]&mask == 0 {
			return missing(imageMark(addr))
		}
	}
	return nil
}

func verifyELFImage(r io.ReaderAt) error {
	f, err := vmcore.Open(r)
	if err != nil {
		return err
	}
	for _, addr := range f.Info.ImageAddrs(f.Machine) {
		if !hasData(r, f, addr) {
			return missing(imageMark(addr))
		}
	}
	return nil
}

func imageMark(addr uint64) *vmcore.Mark {
	return &vmcore.Mark{What: "the kernel's image", Addr: addr}
}

// hasData reports whether the page of a physical address is in the core and has a byte
// that is not zero.
func hasData(r io.ReaderAt, f *vmcore.File, addr uint64) bool {
	var page [4096]byte // the smallest
	off, ok := f.Offset(addr &^ (uint64(len(page)) - 1))
	if !ok || ReadFull(r, page[:], off) != nil {
		return false
	}
	return len(bytes.TrimLeft(page[:], "\x00")) > 0
}

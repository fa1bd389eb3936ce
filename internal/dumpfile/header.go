// Package dumpfile reads the headers of dump files, verifies that such a file is
// whole, and writes and unpacks flattened dumps.
//
// PID 1 of the capture kernel links this package, so it imports little, and its memory
// does not grow with its input.
package dumpfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"ukdump/internal/vmcore"
)

// Format is the file format of a dump.
type Format string

// The formats that makedumpfile(8) writes.
const (
	Kdump     Format = "kdump-compressed"
	Flattened Format = "flattened" // kdump-compressed in a stream, option -F
	ELF       Format = "elf"
)

// Header is the beginning of a dump file.
type Header struct {
	Format Format
	// Complete is false if makedumpfile ran out of space and marked the file as
	// incomplete. A file may be damaged although Complete is true; see Verify.
	Complete    bool
	Compression string // zlib, lzo, snappy, zstd or none; "" for ELF
	DumpLevel   int    // the -d option of makedumpfile; 0 for ELF
	Machine     string // GOARCH name: amd64 or arm64
	Release     string // as uname -r prints it
	Nodename    string // host name
	Time        int64  // of the dump, seconds since the epoch; 0 for ELF
	BlockSize   int    // page size in bytes; 0 for ELF without VMCOREINFO

	// Kdump only: where the parts of the file are, in bytes, and the number of
	// page frames that the bitmap covers.
	bitmap, bitmapSize int64
	maxPFN             uint64
	split              bool
	first, end         uint64 // page frames of this part, if split
	extras             [3]extent
}

// extent is a part of a file.
type extent struct {
	name      string
	off, size uint64
}

// struct disk_dump_header and struct kdump_sub_header of 64-bit machines:
// IMPLEMENTATION and diskdump_mod.h in makedumpfile's sources.
const (
	kdumpMagic    = "KDUMP   "
	kdumpHdrSize  = 464
	kdumpSubSize  = 104
	kdumpMaxBlock = 64 << 10

	dhZlib       = 0x1
	dhLzo        = 0x2
	dhSnappy     = 0x4
	dhIncomplete = 0x8
	dhZstd       = 0x20

	elfMagic      = "\x7fELF"
	elfIncomplete = 0x1 // DUMP_ELF_INCOMPLETE in e_flags
)

var le = binary.LittleEndian

// ReadHeader reads the header of a dump that makedumpfile(8) wrote on x86-64 or
// AArch64, or of an ELF core copied from /proc/vmcore. It returns an error for
// all other files, and for a file that ends inside its header or bitmaps.
func ReadHeader(r io.ReaderAt) (Header, error) {
	magic, err := readMagic(r)
	if err != nil {
		return Header{}, fmt.Errorf("read dump header: %w", err)
	}
	var h Header
	switch {
	case string(magic[:8]) == kdumpMagic:
		h, err = readKdump(r)
		if err == nil {
			var b [1]byte
			if rerr := ReadFull(r, b[:], h.bitmap+h.bitmapSize-1); rerr != nil {
				err = fmt.Errorf("the file ends before its bitmaps, which end at %d bytes: %w", h.bitmap+h.bitmapSize, rerr)
			}
		}
	case string(magic[:4]) == elfMagic:
		h, err = readELF(r)
	case string(magic[:12]) == flatMagic:
		h, err = readFlattened(r)
	default:
		err = errors.New("not a dump: neither kdump-compressed, flattened nor ELF")
	}
	if err == io.ErrUnexpectedEOF {
		err = &shortError{"the file ends inside the header: it was cut off"}
	}
	if err != nil {
		return Header{}, fmt.Errorf("read dump header: %w", err)
	}
	return h, nil
}

// readMagic reads the first bytes of a dump.
func readMagic(r io.ReaderAt) (magic [16]byte, err error) {
	n, err := r.ReadAt(magic[:], 0)
	switch {
	case n == len(magic):
		return magic, nil
	case err != nil && err != io.EOF:
		return magic, err
	case n == 0:
		return magic, &shortError{"the file is empty"}
	}
	return magic, &shortError{"the file is too short for a dump"}
}

// A shortError is io.ErrUnexpectedEOF in words for people.
type shortError struct{ text string }

func (e *shortError) Error() string { return e.text }

func (e *shortError) Unwrap() error { return io.ErrUnexpectedEOF }

// readKdump reads the main header and the sub header.
func readKdump(r io.ReaderAt) (Header, error) {
	var b [kdumpHdrSize]byte
	if err := ReadFull(r, b[:], 0); err != nil {
		return Header{}, err
	}
	if string(b[:8]) != kdumpMagic {
		return Header{}, errors.New("no KDUMP signature")
	}
	status := le.Uint32(b[424:])
	h := Header{
		Format:    Kdump,
		Complete:  status&dhIncomplete == 0,
		Nodename:  cstring(b[77:142]),
		Release:   cstring(b[142:207]),
		Time:      int64(le.Uint64(b[408:])),
		BlockSize: int(le.Uint32(b[428:])),
	}
	switch m := cstring(b[272:337]); m {
	case "x86_64":
		h.Machine = "amd64"
	case "aarch64":
		h.Machine = "arm64"
	default:
		return Header{}, fmt.Errorf("a dump of machine type %q, not of x86_64 or aarch64", m)
	}
	switch {
	case status&dhZlib != 0:
		h.Compression = "zlib"
	case status&dhLzo != 0:
		h.Compression = "lzo"
	case status&dhSnappy != 0:
		h.Compression = "snappy"
	case status&dhZstd != 0:
		h.Compression = "zstd"
	default:
		h.Compression = "none"
	}
	version := le.Uint32(b[8:])
	subBlocks, bitmapBlocks := le.Uint32(b[432:]), le.Uint32(b[436:])
	bs := h.BlockSize
	if bs < 4096 || bs > kdumpMaxBlock || bs&(bs-1) != 0 {
		return Header{}, fmt.Errorf("block size %d is not a page size", bs)
	}
	if version < 1 || version > math.MaxInt32 {
		return Header{}, fmt.Errorf("header version %d is not supported, only 1 and later", int32(version))
	}
	if subBlocks == 0 || bitmapBlocks == 0 || bitmapBlocks%2 != 0 {
		return Header{}, fmt.Errorf("sub header of %d and bitmaps of %d blocks", subBlocks, bitmapBlocks)
	}

	var sub [kdumpSubSize]byte
	if err := ReadFull(r, sub[:], int64(bs)); err != nil {
		return Header{}, fmt.Errorf("sub header: %w", err)
	}
	h.DumpLevel = int(int32(le.Uint32(sub[8:])))
	frames := sub[80:]
	if version < 6 {
		// The numbers of page frames were 32-bit until 2013, and fields came one by one.
		copy(sub[80:96], sub[16:32])
		le.PutUint64(sub[96:], uint64(le.Uint32(b[440:])))
		clear(sub[[...]int{12, 32, 48, 64, 80}[version-1]:80])
	}
	h.split = le.Uint32(sub[12:]) != 0
	h.first, h.end = le.Uint64(frames), le.Uint64(frames[8:])
	h.bitmap = (1 + int64(subBlocks)) * int64(bs)
	h.bitmapSize = int64(bitmapBlocks) * int64(bs)
	h.maxPFN = le.Uint64(sub[96:])
	for i, name := range []string{"VMCOREINFO", "ELF notes", "erase info"} {
		h.extras[i] = extent{name, le.Uint64(sub[32+16*i:]), le.Uint64(sub[40+16*i:])}
	}
	if h.maxPFN == 0 {
		return Header{}, errors.New("bitmaps for no page at all")
	}
	if (h.maxPFN+7)/8 > uint64(h.bitmapSize/2) || h.maxPFN > math.MaxInt64 {
		return Header{}, fmt.Errorf("bitmaps of %d bytes are too small for %d pages", h.bitmapSize, h.maxPFN)
	}
	return h, nil
}

// readELF reads the release from VMCOREINFO, its only place in an ELF core.
func readELF(r io.ReaderAt) (Header, error) {
	f, err := vmcore.Open(r)
	if err != nil {
		return Header{}, err
	}
	return Header{
		Format:    ELF,
		Complete:  f.Flags&elfIncomplete == 0,
		Machine:   f.Machine,
		Release:   f.Info.Release(),
		BlockSize: int(f.Info.PageSize()),
	}, nil
}

func cstring(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// ReadFull fills p from offset off. Its error is io.ErrUnexpectedEOF if the file is
// too short.
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

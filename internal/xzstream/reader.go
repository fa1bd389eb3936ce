// Package xzstream reads xz files: "The .xz File Format", version 1.2.1, with
// LZMA2 as the only filter. Kernels, modules, firmware and initramfs images come
// in that form.
//
// The LZMA2 decoder is that of github.com/ulikunitz/xz. The container is read here,
// because the reader of that package allocates any dictionary that a header asks for,
// up to 4 GiB, keeps the sizes of all blocks, cannot stop at the end of a stream that
// is followed by something else, and reads its source byte by byte.
package xzstream

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

// MaxDict is the largest dictionary, in bytes, that a Reader allocates: twice
// that of xz -9, four times that of the kernel's Makefiles.
const MaxDict = 128 << 20

// UnsupportedError is a feature of the format that the Reader lacks.
type UnsupportedError string

func (u UnsupportedError) Error() string { return string(u) }

var errSizes = errors.New("sizes in the xz headers do not match the data")

// Reader unpacks xz streams. It allocates no more than MaxDict bytes and some constant
// amount. It verifies all checks of the format, those of a block after its last byte.
// So data are known to be right only after io.EOF.
type Reader struct {
	in     input
	multi  bool
	check  byte      // type of the integrity check of blocks
	sum    hash.Hash // of the current block; nil for a stream without checks
	block  *block    // nil between blocks
	blocks uint64    // of the current stream that were read
	sizes  uint32    // CRC32 of their index records
	err    error
}

// NewReader reads the header of the stream that begins at r and returns a Reader for
// it and the streams after it, up to the end of r; see Multistream. Errors, also those
// of the Reader, are those of r, io.ErrUnexpectedEOF if r ends too early, an
// UnsupportedError, or a description of the damage. They do not mention unpacking.
func NewReader(r *bufio.Reader) (*Reader, error) {
	x := &Reader{in: input{r: r}, multi: true}
	if err := x.header(); err != nil {
		return nil, x.in.explain(err)
	}
	return x, nil
}

// Multistream sets whether concatenated streams, with zero bytes between and after
// them, are read as one. Otherwise the Reader ends with the first stream and has taken
// exactly its bytes from the source.
func (x *Reader) Multistream(ok bool) { x.multi = ok }

func (x *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for x.err == nil {
		n, err := x.read(p)
		if err != nil && err != io.EOF {
			err = x.in.explain(err)
		}
		x.err = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// read makes one step. It may return neither data nor an error.
func (x *Reader) read(p []byte) (int, error) {
	if x.block != nil {
		n, err := x.block.read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if err == io.EOF {
			err = x.endBlock()
		}
		return n, err
	}
	size, err := x.in.ReadByte()
	if err != nil {
		return 0, truncated(err)
	}
	if size != 0 {
		x.block, err = newBlock(&x.in, size)
		return 0, err
	}
	if err := x.index(); err != nil {
		return 0, err
	}
	if !x.multi {
		return 0, io.EOF
	}
	return 0, x.nextStream()
}

// header reads a stream header: magic, flags, CRC32 of the flags.
func (x *Reader) header() error {
	var h [12]byte
	if err := x.in.full(h[:]); err != nil {
		return err
	}
	if string(h[:6]) != "\xfd7zXZ\x00" {
		return errors.New("not xz data")
	}
	if binary.LittleEndian.Uint32(h[8:]) != crc32.ChecksumIEEE(h[6:8]) {
		return errors.New("bad xz stream header")
	}
	x.check, x.blocks, x.sizes = h[7], 0, 0
	switch {
	case h[6] != 0:
		return UnsupportedError("xz stream of a newer format")
	case x.check == 0:
		x.sum = nil
	case x.check == 1:
		x.sum = crc32.NewIEEE()
	case x.check == 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case x.check == 10:
		x.sum = sha256.New()
	default:
		return UnsupportedError(fmt.Sprintf("xz with integrity check %d", x.check))
	}
	return nil
}

// nextStream goes over stream padding, zero bytes in groups of four, to the next
// stream. It returns io.EOF at the end.
func (x *Reader) nextStream() error {
	for {
		b, err := x.in.r.Peek(4)
		switch {
		case len(b) == 0:
			return err
		case len(b) == 4 && [4]byte(b) == [4]byte{}:
			x.in.r.Discard(4)
		case len(b) == 4 && string(b) == "\xfd7zX":
			return x.header()
		case err != nil && err != io.EOF:
			return err
		default:
			return errors.New("something else follows the xz data")
		}
	}
}

// endBlock reads the padding and the check after the data of a block.
func (x *Reader) endBlock() error {
	b := x.block
	x.block = nil
	packed := x.in.n - b.start
	if b.wantPacked >= 0 && packed != b.wantPacked || b.wantUnpacked >= 0 && b.unpacked != b.wantUnpacked {
		return errSizes
	}
	if err := x.in.zeros(padding(packed)); err != nil {
		return err
	}
	record := b.header + packed
	if x.sum != nil {
		got := make([]byte, x.sum.Size())
		if err := x.in.full(got); err != nil {
			return err
		}
		want := x.sum.Sum(nil)
		x.sum.Reset()
		if x.check != 10 {
			reverse(want) // a CRC is stored little endian
		}
		if string(got) != string(want) {
			return errors.New("checksum is wrong")
		}
		record += int64(len(got))
	}
	x.blocks++
	x.sizes = addRecord(x.sizes, uint64(record), uint64(b.unpacked))
	return nil
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

// addRecord adds an index record to sum. The sum stands for the list of records,
// so that memory does not grow with the number of blocks.
func addRecord(sum uint32, unpadded, unpacked uint64) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], unpadded)
	binary.LittleEndian.PutUint64(b[8:], unpacked)
	return crc32.Update(sum, crc32.IEEETable, b[:])
}

// index reads the index, whose first byte was read, and the stream footer.
func (x *Reader) index() error {
	start := x.in.n - 1
	in := &indexReader{&x.in, crc32.ChecksumIEEE([]byte{0})}
	records, err := binary.ReadUvarint(in)
	if err != nil {
		return truncated(err)
	}
	if records != x.blocks {
		return errSizes
	}
	var sizes uint32
	for range records {
		unpadded, err := binary.ReadUvarint(in)
		if err != nil {
			return truncated(err)
		}
		unpacked, err := binary.ReadUvarint(in)
		if err != nil {
			return truncated(err)
		}
		sizes = addRecord(sizes, unpadded, unpacked)
	}
	if sizes != x.sizes {
		return errSizes
	}
	for range padding(x.in.n - start) {
		if b, err := in.ReadByte(); err != nil {
			return truncated(err)
		} else if b != 0 {
			return errPadding
		}
	}
	var tail [16]byte // CRC32 of the index; footer: CRC32, size of the index, flags, "YZ"
	if err := x.in.full(tail[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(tail[:]) != in.sum {
		return errors.New("bad xz index")
	}
	size := (int64(binary.LittleEndian.Uint32(tail[8:])) + 1) * 4
	if binary.LittleEndian.Uint32(tail[4:]) != crc32.ChecksumIEEE(tail[8:14]) ||
		size != x.in.n-12-start || tail[12] != 0 || tail[13] != x.check || string(tail[14:]) != "YZ" {
		return errors.New("bad xz stream footer")
	}
	return nil
}

// indexReader sums the bytes of the index.
type indexReader struct {
	in  *input
	sum uint32
}

func (r *indexReader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.sum = crc32.Update(r.sum, crc32.IEEETable, []byte{b})
	}
	return b, err
}

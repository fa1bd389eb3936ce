package initramfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads one xz stream (The .xz File Format, version 1.2.1). The xz
// package has a reader too, but that allocates whatever dictionary the file
// asks for, up to 4 GiB, and reads on after the end of the stream.
type xzReader struct {
	r      *xzCounter
	check  byte // identifier of the integrity check
	blocks int64
	lzma   io.Reader // data of the current block; nil between blocks
	sum    hash.Hash // nil if the blocks have no check
	start  int64     // of the data of the current block
	err    error
}

// xzCounter counts bytes for the padding. It must not read ahead.
type xzCounter struct {
	r *bufio.Reader
	n int64
}

func (c *xzCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *xzCounter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (c *xzCounter) full(p []byte) error {
	_, err := io.ReadFull(c, p)
	return truncated(err)
}

func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

const (
	xzCheckNone   = 0
	xzCheckCRC32  = 1
	xzCheckCRC64  = 4
	xzFilterLZMA2 = 0x21
)

func newXZReader(r *bufio.Reader) (io.Reader, error) {
	x := &xzReader{r: &xzCounter{r: r}}
	var h [12]byte // magic, two bytes of flags, their CRC32
	if err := x.r.full(h[:]); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(h[8:]) != crc32.ChecksumIEEE(h[6:8]) || h[6] != 0 {
		return nil, errors.New("xz: bad stream header")
	}
	switch x.check = h[7]; x.check {
	case xzCheckNone:
	case xzCheckCRC32:
		x.sum = crc32.NewIEEE()
	case xzCheckCRC64:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	default:
		return nil, fmt.Errorf("xz: integrity check %d is not supported, by the kernel neither", x.check)
	}
	return x, nil
}

func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.lzma == nil {
			x.err = x.startBlock()
			continue
		}
		n, err := x.lzma.Read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if err == io.EOF {
			err = x.endBlock()
		}
		x.err = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// startBlock reads the header of the next block, or the index and footer, after
// which it returns io.EOF.
func (x *xzReader) startBlock() error {
	size, err := x.r.ReadByte()
	if err != nil {
		return truncated(err)
	}
	if size == 0 {
		return x.index()
	}
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if err := x.r.full(h[1:]); err != nil {
		return err
	}
	body := h[:len(h)-4]
	if binary.LittleEndian.Uint32(h[len(body):]) != crc32.ChecksumIEEE(body) {
		return errors.New("xz: bad block header")
	}
	dict, err := lzma2Dict(body[1:])
	if err != nil {
		return err
	}
	x.start = x.r.n
	if x.sum != nil {
		x.sum.Reset()
	}
	x.lzma, err = lzma.Reader2Config{DictCap: dict}.NewReader2(x.r)
	x.blocks++
	return err
}

// lzma2Dict returns the dictionary size, in bytes, of a block whose only filter
// is LZMA2.
func lzma2Dict(b []byte) (int, error) {
	flags, r := b[0], bytes.NewReader(b[1:])
	if flags&3 != 0 {
		return 0, errors.New("xz: more filters than LZMA2, which this program does not read")
	}
	for _, present := range []byte{0x40, 0x80} { // packed and unpacked size
		if flags&present != 0 {
			if _, err := binary.ReadUvarint(r); err != nil {
				return 0, errors.New("xz: bad block header")
			}
		}
	}
	var filter [3]byte // id, size of the properties, dictionary size
	if _, err := io.ReadFull(r, filter[:]); err != nil || filter[0] != xzFilterLZMA2 || filter[1] != 1 || filter[2] > 40 {
		return 0, errors.New("xz: unknown filter")
	}
	bits := uint(filter[2])
	dict := (2 | uint64(bits&1)) << (bits/2 + 11)
	if dict > maxWindow {
		return 0, fmt.Errorf("xz: dictionary of %d bytes is larger than the limit of %d", dict, maxWindow)
	}
	return int(dict), nil
}

// endBlock reads the padding and the check after the data of a block.
func (x *xzReader) endBlock() error {
	x.lzma = nil
	if err := x.zeros(padding(x.r.n - x.start)); err != nil {
		return err
	}
	if x.sum == nil {
		return nil
	}
	got := make([]byte, x.sum.Size())
	if err := x.r.full(got); err != nil {
		return err
	}
	want := x.sum.Sum(nil) // big endian, xz stores little endian
	for i, b := range got {
		if b != want[len(want)-1-i] {
			return errors.New("xz: checksum does not match the data")
		}
	}
	return nil
}

// index reads the index, whose first byte was read, and the stream footer.
func (x *xzReader) index() error {
	sum := crc32.NewIEEE()
	start := x.r.n - 1
	sum.Write([]byte{0})
	in := &summedReader{x.r, sum}
	records, err := binary.ReadUvarint(in)
	if err != nil {
		return truncated(err)
	}
	if int64(records) != x.blocks {
		return errors.New("xz: index and blocks do not agree")
	}
	for range 2 * x.blocks {
		if _, err := binary.ReadUvarint(in); err != nil {
			return truncated(err)
		}
	}
	for range padding(x.r.n - start) {
		if _, err := in.ReadByte(); err != nil {
			return truncated(err)
		}
	}
	var tail [16]byte // CRC32 of the index; footer: CRC32, size, flags, "YZ"
	if err := x.r.full(tail[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(tail[:]) != sum.Sum32() {
		return errors.New("xz: bad index")
	}
	if binary.LittleEndian.Uint32(tail[4:]) != crc32.ChecksumIEEE(tail[8:14]) || string(tail[14:]) != "YZ" || tail[13] != x.check {
		return errors.New("xz: bad stream footer")
	}
	return io.EOF
}

func (x *xzReader) zeros(n int64) error {
	for range n {
		b, err := x.r.ReadByte()
		if err != nil {
			return truncated(err)
		}
		if b != 0 {
			return errors.New("xz: bad padding")
		}
	}
	return nil
}

type summedReader struct {
	r   io.ByteReader
	sum hash.Hash32
}

func (s *summedReader) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.sum.Write([]byte{b})
	}
	return b, err
}

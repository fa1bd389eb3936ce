package initramfs

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"ukdump/internal/xzstream"
)

// maxWindow is the largest window, in bytes, that is read from zstd data or
// written: ZSTD_WINDOWSIZE_MAX of the kernel's lib/decompress_unzstd.c.
const maxWindow = 128 << 20

// magics are the first bytes by which the kernel (lib/decompress.c) knows a
// compression, and those of other files that people take for an initramfs.
var magics = []struct {
	magic string
	c     Compression
	what  string // description of a format that cannot be read
}{
	{"\x1f\x8b", Gzip, ""},
	{"\xfd7zXZ\x00", XZ, ""},
	{"\x28\xb5\x2f\xfd", Zstd, ""},
	{"\x02\x21\x4c\x18", "", "compressed with lz4, which this program does not read"},
	{"\x89LZO", "", "compressed with lzo, which this program does not read"},
	{"BZh", "", "compressed with bzip2, which this program does not read"},
	{"\x5d\x00\x00", "", "compressed with lzma, which this program does not read"},
	{"070707", "", "a cpio archive of the old portable format, the kernel reads only newc"},
	{"\xc7\x71", "", "a cpio archive of the old binary format, the kernel reads only newc"},
	{"07070", "", "a truncated or unknown cpio archive"},
	{"MZ", "", "an EFI program, perhaps a kernel"},
	{"\x7fELF", "", "an ELF file"},
	{"hsqs", "", "a squashfs file system"},
}

// detect returns the compression whose magic b begins with.
func detect(b []byte) (Compression, error) {
	for _, m := range magics {
		if strings.HasPrefix(string(b), m.magic) {
			if m.c != "" {
				return m.c, nil
			}
			return "", errors.New(m.what)
		}
	}
	return "", fmt.Errorf("neither a newc cpio archive nor compressed: it begins with % x", b)
}

// newDecompressor returns a reader for one gzip member, xz stream or zstd frame
// that takes exactly its bytes from r.
func newDecompressor(r *bufio.Reader, c Compression) (io.Reader, error) {
	switch c {
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		return z, nil
	case XZ:
		x, err := xzstream.NewReader(r)
		if err != nil {
			return nil, err
		}
		x.Multistream(false)
		return x, nil
	default:
		return zstd.NewReader(&zstdFrame{r: r},
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
	}
}

// zstdFrame delivers the bytes of one zstd frame (RFC 8878, section 3.1.1),
// because the decoder reads on after the end of a frame.
type zstdFrame struct {
	r        io.Reader
	started  bool
	checksum bool
	last     bool
	pending  []byte // header bytes read but not delivered
	left     int64  // bytes of the block, or checksum, to deliver after pending
	header   [18]byte
}

func (f *zstdFrame) Read(p []byte) (int, error) {
	for len(f.pending) == 0 && f.left == 0 {
		if err := f.advance(); err != nil {
			return 0, err
		}
	}
	if len(f.pending) > 0 {
		n := copy(p, f.pending)
		f.pending = f.pending[n:]
		return n, nil
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// advance reads the next header: of the frame, then of each block.
func (f *zstdFrame) advance() error {
	read := func(p []byte) error {
		_, err := io.ReadFull(f.r, p)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if !f.started {
		h := f.header[:]
		if err := read(h[:5]); err != nil {
			return err
		}
		desc := h[4]
		n := []int{0, 1, 2, 4}[desc&3] + []int{0, 2, 4, 8}[desc>>6] // dictionary id, content size
		single := desc&0x20 != 0
		if !single || desc>>6 == 0 {
			n++ // window descriptor, or the one byte of content size
		}
		if err := read(h[5 : 5+n]); err != nil {
			return err
		}
		f.started, f.checksum, f.pending = true, desc&4 != 0, h[:5+n]
		return nil
	}
	if f.last {
		if !f.checksum {
			return io.EOF
		}
		f.checksum = false
		f.left = 4
		return nil
	}
	if err := read(f.header[:3]); err != nil {
		return err
	}
	block := uint32(f.header[0]) | uint32(binary.LittleEndian.Uint16(f.header[1:3]))<<8
	f.last, f.left, f.pending = block&1 != 0, int64(block>>3), f.header[:3]
	if block>>1&3 == 1 {
		f.left = 1 // RLE: the size counts unpacked bytes
	}
	return nil
}

package kimage

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"
)

// compression names the method of compressed data as the kernel's Makefiles do,
// or returns "" if data begins like none of them.
func compression(data []byte) string {
	for _, m := range []struct{ magic, method string }{
		{"\x1f\x8b\x08", "gzip"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"\xfd7zXZ\x00", "xz"},
		{"\x02\x21\x4c\x18", "lz4"},
		{"\x5d\x00\x00", "lzma"},
		{"\x89LZO", "lzo"},
		{"BZh", "bzip2"},
	} {
		if bytes.HasPrefix(data, []byte(m.magic)) {
			return m.method
		}
	}
	return ""
}

// unpack decompresses data, at most maxImage bytes of it. Errors are typed as
// Open says.
func (im *Image) unpack(method string, data []byte) ([]byte, error) {
	out, err := decompress(method, data, maxImage)
	switch {
	case err == nil:
		return out, nil
	case errors.As(err, new(unsupported)):
		return nil, &CompressionError{im.Path, err.Error()}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &TruncatedError{Path: im.Path, Have: int64(len(data))}
	}
	return nil, &CorruptError{im.Path, fmt.Errorf("unpack %s: %w", method, err)}
}

// unsupported is the name of a compression that decompress does not know.
type unsupported string

func (u unsupported) Error() string { return string(u) }

func decompress(method string, data []byte, limit int64) ([]byte, error) {
	var r io.Reader
	switch method {
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		z.Multistream(false) // something else may follow
		r = z
	case "zstd":
		// The kernel is packed with -22 --ultra: a window of 128 MiB.
		z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case "xz":
		return unxz(data, limit)
	default:
		return nil, unsupported(method)
	}
	return readLimited(r, limit)
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(out)) > limit {
		err = fmt.Errorf("it is larger than %d MiB", limit>>20)
	}
	return out, err
}

// maxXZDict is the largest LZMA2 dictionary allowed, in bytes; the kernel's
// Makefiles use 32 MiB. The bound is why the container is read here: the xz
// package would allocate the 4 GiB that a header may ask for.
const maxXZDict = 128 << 20

// unxz unpacks one stream of "The .xz File Format", version 1.2, with LZMA2 as
// the only filter. Data after the stream is ignored.
func unxz(data []byte, limit int64) ([]byte, error) {
	const streamHeader = 12
	if len(data) < streamHeader+1 {
		return nil, io.ErrUnexpectedEOF
	}
	check := data[7] & 0xf
	checkSize := [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[check]
	var out []byte
	r := bytes.NewReader(data)
	r.Seek(streamHeader, io.SeekStart)
	for {
		dict, err := xzBlockHeader(r)
		if err != nil {
			return nil, err
		}
		if dict == 0 { // the index follows: end of data
			return out, nil
		}
		z, err := lzma.Reader2Config{DictCap: dict}.NewReader2(r)
		if err != nil {
			return nil, err
		}
		block, err := readLimited(z, limit-int64(len(out)))
		if err != nil {
			return nil, err
		}
		sum := make([]byte, (-r.Size()+int64(r.Len()))&3+checkSize) // padding, then the check
		if _, err := io.ReadFull(r, sum); err != nil {
			return nil, io.ErrUnexpectedEOF
		}
		if want := xzCheck(check, block); want != nil && !bytes.HasSuffix(sum, want) {
			return nil, errors.New("checksum is wrong")
		}
		out = append(out, block...)
	}
}

// xzBlockHeader reads a block header (3.1) and returns the size of the
// dictionary in bytes, or 0 where the index begins.
func xzBlockHeader(r *bytes.Reader) (int, error) {
	size, err := r.ReadByte()
	if err != nil {
		return 0, io.ErrUnexpectedEOF
	}
	if size == 0 {
		return 0, nil
	}
	h := make([]byte, int(size)*4+3)
	if _, err := io.ReadFull(r, h); err != nil {
		return 0, io.ErrUnexpectedEOF
	}
	flags, b := h[0], bytes.NewReader(h[1:])
	for _, present := range []byte{0x40, 0x80} { // compressed, uncompressed size
		if flags&present != 0 {
			if _, err := binary.ReadUvarint(b); err != nil {
				return 0, err
			}
		}
	}
	var filter [3]byte // id, length of properties, properties
	if _, err := io.ReadFull(b, filter[:]); err != nil {
		return 0, err
	}
	if flags&3 != 0 || filter[0] != 0x21 || filter[1] != 1 {
		return 0, unsupported("xz with other filters than LZMA2")
	}
	dict, err := lzma.DecodeDictCap(filter[2])
	if err != nil {
		return 0, err
	}
	if dict > maxXZDict {
		return 0, errors.New("LZMA2 dictionary of " + strconv.FormatInt(dict>>20, 10) + " MiB is too large")
	}
	return int(dict), nil
}

// xzCheck returns the check of a block, or nil if that kind is not verified.
func xzCheck(kind byte, block []byte) []byte {
	var h hash.Hash
	switch kind {
	case 1:
		h = crc32.NewIEEE()
	case 4:
		h = crc64.New(crc64.MakeTable(crc64.ECMA))
	default:
		return nil
	}
	h.Write(block)
	sum := h.Sum(nil)
	for i, j := 0, len(sum)-1; i < j; i, j = i+1, j-1 {
		sum[i], sum[j] = sum[j], sum[i] // stored little-endian
	}
	return sum
}

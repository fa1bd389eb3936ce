package kimage

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"ukdump/internal/crashdir"
	"ukdump/internal/xzstream"
)

// compression names the method of compressed data as the kernel's Makefiles do; "" if
// data begins with no known magic.
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
	case errors.As(err, new(unsupported)), errors.As(err, new(xzstream.UnsupportedError)):
		return nil, &CompressionError{Path: im.Path, Method: err.Error()}
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, &CompressionError{Path: im.Path, Method: fmt.Sprintf("zstd with a window of more than %d MiB", maxWindow>>20)}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &TruncatedError{Path: im.Path, Have: int64(len(data))}
	}
	return nil, &CorruptError{im.Path, fmt.Errorf("unpack %s: %w", method, err)}
}

// unsupported is the name of a compression that decompress does not know.
type unsupported string

func (u unsupported) Error() string { return string(u) }

// maxWindow is the window in bytes of zstd -22 --ultra, with which kernels are packed.
const maxWindow = 128 << 20

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
		z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case "xz":
		x, err := xzstream.NewReader(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return nil, err
		}
		x.Multistream(false) // as above
		r = x
	default:
		return nil, unsupported(method)
	}
	return crashdir.ReadAll(r, limit)
}

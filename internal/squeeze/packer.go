package squeeze

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
)

// Flags of the header and of a page descriptor, DUMP_DH_COMPRESSED_* of diskdump_mod.h in
// makedumpfile's sources.
const (
	flagZlib       = 0x1
	flagLzo        = 0x2
	flagSnappy     = 0x4
	flagIncomplete = 0x8
	flagZstd       = 0x20
)

// Compressions are the values of Options.Compression.
var Compressions = []string{"lzo", "snappy", "zlib", "zstd"}

// packer compresses single pages. A worker has its own.
type packer interface {
	// pack returns src compressed, in dst if it fits, until the next call. dst has scratchSize bytes.
	// The result may be as long as src, or longer: it is of no use then.
	pack(dst, src []byte) []byte
}

// scratchSize returns the size of dst for pages of a size: no compression needs more.
func scratchSize(page int) int { return page + page/4 + 512 }

// zlibLevel is slightly faster than level 1 of zlib, which makedumpfile(8) uses, and comes
// nearest to its size: level 1 of this library makes pages of 4 KiB a tenth larger.
const zlibLevel = 5

// newPacker returns a compressor and its flag.
func newPacker(name string) (packer, uint32, error) {
	switch name {
	case "lzo":
		return newLzo(), flagLzo, nil
	case "snappy":
		return snappyPacker{}, flagSnappy, nil
	case "zlib":
		p := &zlibPacker{}
		var err error
		p.w, err = zlib.NewWriterLevel(io.Discard, zlibLevel)
		return p, flagZlib, err
	case "zstd":
		return newZstd(), flagZstd, nil
	}
	return nil, 0, fmt.Errorf("unknown compression %q", name)
}

type snappyPacker struct{}

func (snappyPacker) pack(dst, src []byte) []byte { return snappy.Encode(dst, src) }

type zlibPacker struct {
	w   *zlib.Writer
	out []byte
}

// Write implements io.Writer for w. It cuts off the end of a page that does not shrink.
func (z *zlibPacker) Write(p []byte) (int, error) {
	z.out = append(z.out, p[:min(len(p), cap(z.out)-len(z.out))]...)
	return len(p), nil
}

func (z *zlibPacker) pack(dst, src []byte) []byte {
	z.out = dst[:0]
	z.w.Reset(z)
	if _, err := z.w.Write(src); err != nil {
		return src
	}
	if err := z.w.Close(); err != nil {
		return src
	}
	return z.out
}

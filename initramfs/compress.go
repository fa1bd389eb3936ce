package initramfs

import (
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Compression names a way to compress an image. The kernel can unpack it if it
// was built with CONFIG_RD_ZSTD, CONFIG_RD_GZIP or CONFIG_RD_XZ.
type Compression string

// The compressions that this package writes and reads.
const (
	None Compression = "none"
	Gzip Compression = "gzip"
	XZ   Compression = "xz"
	Zstd Compression = "zstd"
)

// DefaultWindow is the compression window in bytes if Image.Window is 0: the
// size of one zstd block, below which the kernel needs no less memory.
const DefaultWindow = 128 << 10

// ParseCompression returns the compression with that name, or an error that
// lists the known ones.
func ParseCompression(name string) (Compression, error) {
	switch c := Compression(name); c {
	case None, Gzip, XZ, Zstd:
		return c, nil
	}
	return "", fmt.Errorf("unknown compression %q: not zstd, gzip, xz or none", name)
}

// newCompressor returns a writer that makes one frame, member or stream of c,
// independent of the number of processors. Its Close ends that, not w.
func newCompressor(w io.Writer, c Compression, window int) (io.WriteCloser, error) {
	if window == 0 {
		window = DefaultWindow
	}
	if window < 1<<10 || window > maxWindow || window&(window-1) != 0 {
		return nil, fmt.Errorf("compression window of %d bytes is not a power of two from %d to %d", window, 1<<10, maxWindow)
	}
	switch c {
	case None:
		return nopCloser{w}, nil
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	case XZ:
		// The kernel knows only CRC32 (lib/xz/xz_dec_stream.c).
		return xz.WriterConfig{DictCap: max(window, 4<<10), CheckSum: xz.CRC32}.NewWriter(w)
	case Zstd:
		// The best level saves another 6 % and takes seven times as long.
		return zstd.NewWriter(w,
			zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
			zstd.WithWindowSize(window),
			zstd.WithEncoderConcurrency(1))
	}
	return nil, fmt.Errorf("unknown compression %q", string(c))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/anchore/go-lzo"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"ukdump/internal/dumpfile"
)

// Flags of a page descriptor: diskdump_mod.h in makedumpfile's sources.
const (
	flagZlib   = 0x1
	flagLzo    = 0x2
	flagSnappy = 0x4
	flagZstd   = 0x20
)

// unpack unpacks pages. The zero value is ready.
type unpack struct {
	buf  []byte // of the packed page
	in   bytes.Reader
	zlib io.ReadCloser
	zstd *zstd.Decoder
}

// page reads the page of a descriptor into p.
func (u *unpack) page(p []byte, r io.ReaderAt, d pageDesc) error {
	const packed = flagZlib | flagLzo | flagSnappy | flagZstd
	if d.flags&packed == 0 {
		if d.size != len(p) {
			return fmt.Errorf("%d bytes of an unpacked page of %d", d.size, len(p))
		}
		return dumpfile.ReadFull(r, p, d.off)
	}
	if cap(u.buf) < d.size {
		u.buf = make([]byte, len(p))
	}
	src := u.buf[:d.size]
	if err := dumpfile.ReadFull(r, src, d.off); err != nil {
		return err
	}
	switch {
	case d.flags&flagZlib != 0:
		return named("zlib", u.unzlib(p, src))
	case d.flags&flagLzo != 0:
		return named("lzo", unlzo(p, src))
	case d.flags&flagSnappy != 0:
		return named("snappy", unsnappy(p, src))
	}
	return named("zstd", u.unzstd(p, src))
}

func named(format string, err error) error {
	if err != nil {
		return fmt.Errorf("unpack %s: %w", format, err)
	}
	return nil
}

// errSize reports that a page has another size when unpacked.
var errSize = errors.New("the data are not one page")

func (u *unpack) unzlib(p, src []byte) error {
	u.in.Reset(src)
	var err error
	if u.zlib == nil {
		u.zlib, err = zlib.NewReader(&u.in)
	} else {
		err = u.zlib.(zlib.Resetter).Reset(&u.in, nil)
	}
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(u.zlib, p); err != nil {
		return err
	}
	// The checksum comes with the end.
	var more [1]byte
	switch n, err := u.zlib.Read(more[:]); {
	case n > 0:
		return errSize
	case err != io.EOF:
		return err
	}
	return nil
}

func unlzo(p, src []byte) error {
	n, err := lzo.Decompress(src, p)
	if err == nil && n != len(p) {
		err = errSize
	}
	return err
}

func unsnappy(p, src []byte) error {
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return err
	}
	if n != len(p) {
		return errSize
	}
	_, err = snappy.Decode(p, src)
	return err
}

func (u *unpack) unzstd(p, src []byte) error {
	if u.zstd == nil {
		var err error
		u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(1<<20))
		if err != nil {
			return err
		}
	}
	out, err := u.zstd.DecodeAll(src, p[:0:len(p)])
	if err == nil && len(out) != len(p) {
		err = errSize
	}
	return err
}

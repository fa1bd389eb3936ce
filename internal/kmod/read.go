package kmod

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/klauspost/compress/zstd"

	"ukdump/internal/advice"
	"ukdump/internal/crashdir"
	"ukdump/internal/xzstream"
)

// MaxSize is the largest module that Read returns, in bytes after unpacking.
// The largest of distributions' kernels (GPU drivers with debug symbols
// stripped) have about 20 MiB.
const MaxSize = 64 << 20

// Read returns the file of m, unpacked. A signature at its end stays, so the kernel
// can still verify it. Read fails if the file does not exist, is damaged, is larger
// than MaxSize, or is not a module for the tree's Arch.
func (t *Tree) Read(m Module) ([]byte, error) {
	data, err := t.read(m.Path)
	if err != nil {
		return nil, damagedFile(packedOtherwise(fmt.Errorf("read module %s: %s: %w", m.Name, m.Path, plain(err))), t.release)
	}
	return data, nil
}

// PackingError reports a file that is whole, but packed in a way that needs too much
// memory or that nothing here reads.
type PackingError struct {
	Err    error
	Remedy string
}

func (e *PackingError) Error() string { return e.Err.Error() }

func (e *PackingError) Unwrap() error { return e.Err }

// Advice returns the remedy.
func (e *PackingError) Advice() string { return e.Remedy }

// packedOtherwise returns a *PackingError for err if it is one, else err.
func packedOtherwise(err error) error {
	switch {
	case errors.As(err, new(xzstream.UnsupportedError)):
		return &PackingError{err, "Pack the file again as the kernel's Makefile does: xz --check=crc32 --lzma2=dict=1MiB."}
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return &PackingError{err, "Pack the file again with zstd and without --long or --ultra."}
	}
	return err
}

// damagedFile returns an error about a module's file with the remedy, unless it has one.
func damagedFile(err error, release string) error {
	if advice.For(err) != "" {
		return err
	}
	return advice.With(err, "The file is damaged, or of another kernel: install the package of kernel "+release+" again.")
}

// Info returns ReadInfo of data, the file of m as Read returns it.
func (t *Tree) Info(m Module, data []byte) (*Info, error) {
	info, err := ReadInfo(data)
	if err != nil {
		return nil, damagedFile(fmt.Errorf("module %s: %w", m.Path, err), t.release)
	}
	return info, nil
}

func (t *Tree) read(file string) ([]byte, error) {
	f, err := t.fsys.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := unpack(f, path.Ext(file))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := crashdir.ReadAll(r, MaxSize)
	if err != nil {
		return nil, err
	}
	if err := checkELF(data, t.Arch); err != nil {
		return nil, err
	}
	return data, nil
}

// unpack returns the content of a file with the extension ext.
func unpack(r io.Reader, ext string) (io.ReadCloser, error) {
	switch ext {
	case ".ko":
		return io.NopCloser(r), nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		x, err := xzstream.NewReader(bufio.NewReader(r))
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxSize))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, errors.New("unknown compression " + ext)
}

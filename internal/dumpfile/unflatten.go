package dumpfile

import (
	"bytes"
	"fmt"
	"io"
)

const (
	unflattenBuf = 256 << 10
	// sparseBlock is the unit that stays a hole if it is all zeros: the page of a
	// file system.
	sparseBlock = 4096
)

// Unflattened is the file that a flattened dump is written to, empty at first.
type Unflattened interface {
	io.WriterAt
	Truncate(size int64) error
}

// FlatError is damage in a flattened dump.
type FlatError struct{ Err error }

func (e *FlatError) Error() string { return e.Err.Error() }

func (e *FlatError) Unwrap() error { return e.Err }

// Unflatten writes the dump inside the flattened one in r to dst, as
// makedumpfile -R does, in constant memory. dst keeps a hole for zeros at offsets that
// were not written before. Unflatten reads r to its end and returns the size of the dump
// in bytes. The error is a *FlatError if r is not a whole flattened dump, otherwise that
// of r or dst. The data before the error has been written.
func Unflatten(dst Unflattened, r io.Reader) (size int64, err error) {
	u := &unflatten{dst: dst, r: r, buf: make([]byte, unflattenBuf)}
	err = u.run()
	if terr := dst.Truncate(u.size); err == nil {
		err = terr
	}
	return u.size, err
}

type unflatten struct {
	dst     Unflattened
	r       io.Reader
	buf     []byte
	at      int64 // offset in r
	size    int64 // of the dump so far
	written int64 // where the holes begin behind which nothing was written
}

func (u *unflatten) run() error {
	head := u.buf[:flatHdrSize]
	if _, err := u.read(head); err != nil {
		return err
	}
	if err := checkFlatHeader(head); err != nil {
		return &FlatError{err}
	}
	for {
		at := u.at
		b := u.buf[:flatRecSize]
		if _, err := u.read(b); err != nil {
			return err
		}
		rec, err := parseFlatRecord(b, at)
		if err != nil {
			return &FlatError{err}
		}
		if rec.end {
			_, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{u.r}, u.buf)
			return err
		}
		for rec.size > 0 {
			b := u.buf[:min(rec.size, int64(len(u.buf)))]
			n, err := u.read(b)
			if werr := u.write(b[:n], rec.off); werr != nil {
				return werr
			}
			if err != nil {
				return err
			}
			rec.off += int64(len(b))
			rec.size -= int64(len(b))
		}
	}
}

// read fills b, or less at the end of r.
func (u *unflatten) read(b []byte) (int, error) {
	n, err := io.ReadFull(u.r, b)
	u.at += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return n, &FlatError{fmt.Errorf("flattened dump ends at %d bytes without an end mark: %w", u.at, io.ErrUnexpectedEOF)}
	}
	return n, err
}

// write writes b at off, except for holes.
func (u *unflatten) write(b []byte, off int64) error {
	if len(b) > 0 {
		u.size = max(u.size, off+int64(len(b)))
	}
	for len(b) > 0 {
		n, hole := u.hole(b, off)
		if !hole {
			if _, err := u.dst.WriteAt(b[:n], off); err != nil {
				return err
			}
			u.written = max(u.written, off+int64(n))
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// hole returns the length of the beginning of b that is all data or all hole.
func (u *unflatten) hole(b []byte, off int64) (n int, hole bool) {
	for n < len(b) {
		block := b[n:min(len(b), n+sparseBlock-int((off+int64(n))%sparseBlock))]
		h := off+int64(n) >= u.written && len(bytes.TrimLeft(block, "\x00")) == 0
		if n > 0 && h != hole {
			break
		}
		hole = h
		n += len(block)
	}
	return n, hole
}

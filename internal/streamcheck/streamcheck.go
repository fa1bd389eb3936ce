// Package streamcheck verifies a flattened dump while it passes on its way to a server or
// into an encrypted file, where it cannot be read back.
//
// It checks the same as dumpfile.Verify and VerifyMemory do for a file, and that each page
// descriptor points to data that passed. Its memory does not grow with the dump.
package streamcheck

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"ukdump/internal/dumpfile"
)

// Summary describes a stream that was verified.
type Summary struct {
	Size     int64             // bytes of the stream
	DumpSize int64             // bytes of the dump inside
	SHA256   [sha256.Size]byte // of the stream
	Header   dumpfile.Header   // its format is dumpfile.Flattened
	Pages    uint64            // in the dump; 0 if that is an ELF core
}

// Checker verifies the flattened dump that is written to it.
type Checker struct {
	sum   hash.Hash
	size  int64 // of the stream so far
	err   error // the first
	ended bool  // the end mark has passed

	head  []byte // signature or head of a record, so far
	begun bool   // the signature has passed
	off   int64  // of the next data of the record
	left  int64  // data of the record that is to come

	dump inner
}

// New returns a Checker. If mem is not nil, the dump must be one of this memory.
func New(mem *dumpfile.Memory) *Checker {
	return &Checker{sum: sha256.New(), dump: newInner(mem)}
}

// Write implements io.Writer. It never fails: a dump that is not whole is better than no
// dump. Err and Close return the error.
func (c *Checker) Write(p []byte) (int, error) {
	c.sum.Write(p)
	at := c.size
	c.size += int64(len(p))
	for b := p; len(b) > 0 && c.err == nil; {
		n, err := c.next(b, at)
		if err != nil {
			c.err = err
		}
		b, at = b[n:], at+int64(n)
	}
	return len(p), nil
}

// Err returns the first error in the stream so far.
func (c *Checker) Err() error { return c.err }

// Size returns the number of bytes that have passed.
func (c *Checker) Size() int64 { return c.size }

// next takes the first bytes of b, which are at an offset of the stream, and returns their
// number.
func (c *Checker) next(b []byte, at int64) (int, error) {
	switch {
	case c.ended:
		return len(b), fmt.Errorf("flattened dump: bytes behind the end mark at offset %d", at)
	case c.left > 0:
		n := int(min(int64(len(b)), c.left))
		err := c.dump.write(b[:n], c.off)
		c.off, c.left = c.off+int64(n), c.left-int64(n)
		if c.left == 0 && err == nil {
			err = c.dump.endRecord()
		}
		return n, err
	case !c.begun:
		n, whole := c.fill(b, dumpfile.FlatHeaderSize)
		if !whole {
			return n, nil
		}
		c.begun = true
		if !bytes.HasPrefix(c.head, []byte(dumpfile.FlatSignature)) {
			return n, errors.New("not a flattened dump of type 1, version 1")
		}
		c.head = c.head[:0]
		return n, nil
	}
	n, whole := c.fill(b, dumpfile.FlatRecordSize)
	if !whole {
		return n, nil
	}
	err := c.record(at + int64(n) - dumpfile.FlatRecordSize)
	c.head = c.head[:0]
	return n, err
}

// fill appends to head until it has size bytes.
func (c *Checker) fill(b []byte, size int) (n int, whole bool) {
	n = min(len(b), size-len(c.head))
	c.head = append(c.head, b[:n]...)
	return n, len(c.head) == size
}

// record begins the record in head, which is at an offset of the stream.
func (c *Checker) record(at int64) error {
	rec, err := dumpfile.ParseFlatRecord(c.head, at)
	if err != nil {
		return err
	}
	c.ended, c.off, c.left = rec.End, rec.Off, rec.Size
	return nil
}

// Close ends the stream. The error says why it is not a whole dump; the Summary then has
// only Size and SHA256.
func (c *Checker) Close() (Summary, error) {
	s := Summary{Size: c.size}
	c.sum.Sum(s.SHA256[:0])
	if c.err == nil && !c.ended {
		c.err = fmt.Errorf("flattened dump ends at %d bytes without an end mark: %w", c.size, io.ErrUnexpectedEOF)
	}
	if c.err == nil {
		c.err = c.dump.close()
	}
	if c.err != nil {
		return s, fmt.Errorf("verify stream: %w", c.err)
	}
	s.DumpSize, s.Header, s.Pages = c.dump.size, c.dump.header, c.dump.pages
	return s, nil
}

package symbols

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Memory is the virtual memory of a crashed kernel. ReadVirt fills p from the
// virtual address addr; it fails if a byte of it is not in the dump.
type Memory interface {
	ReadVirt(p []byte, addr uint64) error
}

// chunk is the unit in which tables of unknown length are read. It divides every
// page size, so a table that ends with the last page of the dump is readable.
const chunk = 4096

// maxString is the length of the longest string that is read, in bytes.
const maxString = 4096

// Reader reads values of a little-endian 64-bit kernel.
type Reader struct {
	mem Memory
}

// NewReader returns a Reader of mem.
func NewReader(mem Memory) Reader { return Reader{mem: mem} }

// ReadVirt fills p from the virtual address addr.
func (r Reader) ReadVirt(p []byte, addr uint64) error { return r.mem.ReadVirt(p, addr) }

// Uint returns the unsigned integer of size bytes, 1 to 8, at addr.
func (r Reader) Uint(addr uint64, size int) (uint64, error) {
	if size < 1 || size > 8 {
		return 0, fmt.Errorf("read %#x: an integer of %d bytes", addr, size)
	}
	var b [8]byte
	if err := r.mem.ReadVirt(b[:size], addr); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// U8 returns the byte at addr.
func (r Reader) U8(addr uint64) (uint8, error) {
	v, err := r.Uint(addr, 1)
	return uint8(v), err
}

// U16 returns the 16-bit integer at addr.
func (r Reader) U16(addr uint64) (uint16, error) {
	v, err := r.Uint(addr, 2)
	return uint16(v), err
}

// U32 returns the 32-bit integer at addr.
func (r Reader) U32(addr uint64) (uint32, error) {
	v, err := r.Uint(addr, 4)
	return uint32(v), err
}

// U64 returns the 64-bit integer at addr.
func (r Reader) U64(addr uint64) (uint64, error) { return r.Uint(addr, 8) }

// Pointer returns the pointer at addr.
func (r Reader) Pointer(addr uint64) (uint64, error) { return r.Uint(addr, 8) }

// String returns the string at addr up to its NUL byte. It fails if the string
// is longer than max bytes, which may be at most 4096.
func (r Reader) String(addr uint64, max int) (string, error) {
	s, ended, err := r.text(addr, min(max, maxString))
	if err != nil {
		return "", err
	}
	if !ended {
		return "", fmt.Errorf("read string at %#x: no end within %d bytes", addr, max)
	}
	return s, nil
}

// text reads at most max bytes and reports whether a NUL byte ended them. It
// reads no chunk behind the one with the NUL byte.
func (r Reader) text(addr uint64, max int) (string, bool, error) {
	var buf []byte
	for len(buf) < max {
		at := addr + uint64(len(buf))
		n := min(max-len(buf), int(chunk-at%chunk))
		buf = append(buf, make([]byte, n)...)
		part := buf[len(buf)-n:]
		if err := r.mem.ReadVirt(part, at); err != nil {
			return "", false, err
		}
		if i := bytes.IndexByte(part, 0); i >= 0 {
			return string(buf[:len(buf)-n+i]), true, nil
		}
	}
	return string(buf), false, nil
}

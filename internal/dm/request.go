package dm

import (
	"bytes"
	"errors"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// request is a struct dm_ioctl and the data behind it. The kernel overwrites it with
// its answer.
type request []byte

const (
	headerSize = int(unsafe.Sizeof(unix.DmIoctl{}))
	specSize   = int(unsafe.Sizeof(unix.DmTargetSpec{}))
)

// maxTable limits the table for the kernel, in bytes: a longer one has tens of
// thousands of lines.
const maxTable = 4 << 20

// badName reports whether the kernel would take s as the name or UUID of a
// device: it must fit in size bytes with its NUL, and a slash would lead out of
// /dev/mapper.
func badName(s string, size int) bool {
	return len(s) >= size || strings.ContainsAny(s, "/\x00")
}

// newRequest returns a request about the device of this name, or this UUID, or to
// create one with both, with room for size bytes behind the header.
func newRequest(name, uuid string, size int) (request, error) {
	if badName(name, unix.DM_NAME_LEN) || badName(uuid, unix.DM_UUID_LEN) || len(name)+len(uuid) == 0 || size > maxTable {
		return nil, errors.New("invalid name of a device, or its table is too long")
	}
	r := make(request, headerSize+size)
	h := r.header()
	h.Version[0] = unix.DM_VERSION_MAJOR // of any minor version
	h.Data_size = uint32(len(r))
	h.Data_start = uint32(headerSize)
	copy(h.Name[:], name)
	copy(h.Uuid[:], uuid)
	return r, nil
}

func (r request) header() *unix.DmIoctl { return (*unix.DmIoctl)(unsafe.Pointer(&r[0])) }

// spec returns the specification at an offset behind the header.
func (r request) spec(at int) *unix.DmTargetSpec {
	return (*unix.DmTargetSpec)(unsafe.Pointer(&r[at : at+specSize][0]))
}

// tableSize returns the size of a table's lines in a request, in bytes.
func tableSize(table []Target) (n int) {
	for i := range table {
		n += lineSize(&table[i])
	}
	return n
}

// lineSize returns the size of one line: with the NUL, rounded up to a multiple of 8.
func lineSize(t *Target) int { return (specSize + len(t.Params) + 8) &^ 7 }

// putTable writes a table behind the header.
func (r request) putTable(table []Target) error {
	at := headerSize
	for i := range table {
		t := &table[i]
		if badName(t.Type, unix.DM_MAX_TYPE_NAME) || strings.IndexByte(t.Params, 0) >= 0 {
			return unix.EINVAL
		}
		s := r.spec(at)
		s.Sector_start, s.Length, s.Next = t.Start, t.Length, uint32(lineSize(t))
		copy(s.Target_type[:], t.Type)
		copy(r[at+specSize:], t.Params)
		at += lineSize(t)
	}
	r.header().Target_count = uint32(len(table))
	return nil
}

// text returns a string that a NUL ends.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func (r request) device() Device {
	h := r.header()
	return Device{
		Name: text(h.Name[:]), UUID: text(h.Uuid[:]),
		Major: unix.Major(h.Dev), Minor: unix.Minor(h.Dev),
		Active: h.Flags&unix.DM_ACTIVE_PRESENT_FLAG != 0,
	}
}

// errAnswer is the error for a malformed answer.
var errAnswer = errors.New("device-mapper: malformed answer of the kernel")

// targets decodes the answer to DM_TABLE_STATUS. There, and only there, a
// specification's "next" counts from the first one.
func (r request) targets() ([]Target, error) {
	start, count := int(r.header().Data_start), int(r.header().Target_count)
	if start < headerSize || start > len(r) || count > len(r)/specSize {
		return nil, errAnswer
	}
	list := make([]Target, 0, count)
	for at := start; len(list) < count; {
		if len(r)-at < specSize {
			return nil, errAnswer
		}
		s := r.spec(at)
		params, _, ok := bytes.Cut(r[at+specSize:], []byte{0})
		if !ok {
			return nil, errAnswer
		}
		list = append(list, Target{Start: s.Sector_start, Length: s.Length, Type: text(s.Target_type[:]), Params: string(params)})
		next := start + int(s.Next)
		if (next <= at || next > len(r)) && len(list) < count {
			return nil, errAnswer
		}
		at = next
	}
	return list, nil
}

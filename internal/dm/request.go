package dm

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// request is a struct dm_ioctl and what follows it. The kernel writes its answer
// over it.
type request []byte

// Where the fields of struct dm_ioctl and struct dm_target_spec lie.
const (
	sizeAt        = 12
	startAt       = 16
	targetCountAt = 20
	flagsAt       = 28
	devAt         = 40
	nameAt        = 48
	uuidAt        = nameAt + unix.DM_NAME_LEN
	headerSize    = 312

	specLengthAt = 8
	specNextAt   = 20
	specTypeAt   = 24
	specSize     = 40
)

// maxTable limits what is handed to the kernel, in bytes: a table that is longer
// has tens of thousands of lines.
const maxTable = 4 << 20

var native = binary.NativeEndian

// newRequest returns a request about the device of this name, or this UUID, or
// to create one with both, followed by a table.
func newRequest(name, uuid string, table []Target) (request, error) {
	if badName(name, unix.DM_NAME_LEN) || badName(uuid, unix.DM_UUID_LEN) || name == "" && uuid == "" {
		return nil, &Error{"find", name + uuid, errors.New("that is no name of a device")}
	}
	r := make(request, headerSize)
	native.PutUint32(r, unix.DM_VERSION_MAJOR) // of any minor version
	copy(r[nameAt:], name)
	copy(r[uuidAt:], uuid)
	for _, t := range table {
		if badName(t.Type, unix.DM_MAX_TYPE_NAME) || bytes.IndexByte([]byte(t.Params), 0) >= 0 || len(r)+len(t.Params) > maxTable {
			return nil, &Error{"load the table of", name, unix.E2BIG}
		}
		at := len(r)
		r = append(r, make([]byte, specSize)...)
		r = append(append(r, t.Params...), 0)
		for len(r)%8 != 0 {
			r = append(r, 0)
		}
		native.PutUint64(r[at:], t.Start)
		native.PutUint64(r[at+specLengthAt:], t.Length)
		native.PutUint32(r[at+specNextAt:], uint32(len(r)-at))
		copy(r[at+specTypeAt:], t.Type)
	}
	native.PutUint32(r[targetCountAt:], uint32(len(table)))
	native.PutUint32(r[startAt:], headerSize)
	return r.grow(len(r)), nil
}

// grow returns r with room for an answer of size bytes.
func (r request) grow(size int) request {
	if size > len(r) {
		r = append(r, make([]byte, size-len(r))...)
	}
	native.PutUint32(r[sizeAt:], uint32(len(r)))
	return r
}

func (r request) flags() uint32         { return native.Uint32(r[flagsAt:]) }
func (r request) setFlags(flags uint32) { native.PutUint32(r[flagsAt:], flags) }

// text returns a string that a NUL ends, of at most size bytes.
func (r request) text(at, size int) string {
	b, _, _ := bytes.Cut(r[at:at+size], []byte{0})
	return string(b)
}

func (r request) device() Device {
	dev := native.Uint64(r[devAt:])
	return Device{
		Name: r.text(nameAt, unix.DM_NAME_LEN), UUID: r.text(uuidAt, unix.DM_UUID_LEN),
		Major: unix.Major(dev), Minor: unix.Minor(dev),
		Active:    r.flags()&unix.DM_ACTIVE_PRESENT_FLAG != 0,
		Suspended: r.flags()&unix.DM_SUSPEND_FLAG != 0,
		ReadOnly:  r.flags()&unix.DM_READONLY_FLAG != 0,
	}
}

// errAnswer is that of an answer which makes no sense.
var errAnswer = errors.New("device-mapper: the kernel's answer cannot be understood")

// targets decodes the answer to DM_TABLE_STATUS. There, and only there, a
// specification's "next" counts from the first one.
func (r request) targets() ([]Target, error) {
	start, count := int(native.Uint32(r[startAt:])), int(native.Uint32(r[targetCountAt:]))
	if start < headerSize || start > len(r) || count > len(r)/specSize {
		return nil, errAnswer
	}
	data := r[start:]
	list := make([]Target, 0, count)
	for at := 0; len(list) < count; {
		if at < 0 || len(data)-at < specSize {
			return nil, errAnswer
		}
		spec := data[at:]
		params, _, ok := bytes.Cut(spec[specSize:], []byte{0})
		if !ok {
			return nil, errAnswer
		}
		list = append(list, Target{
			Start: native.Uint64(spec), Length: native.Uint64(spec[specLengthAt:]),
			Type: spec.text(specTypeAt, unix.DM_MAX_TYPE_NAME), Params: string(params),
		})
		next := int(native.Uint32(spec[specNextAt:]))
		if next <= at && len(list) < count {
			return nil, errAnswer
		}
		at = min(next, len(data))
	}
	return list, nil
}

package rawdump

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/fsid"
)

// version is the version of the format. It changes when an old reader could not
// understand a new dump.
const version = 1

// Header is a dump's description of itself. Texts that are too long for the format are
// cut at the length given here.
type Header struct {
	ID        string    // of the crash, as in report.json: 1 to 48 letters, digits and dashes
	Host      string    // name of the machine, 64 bytes
	MachineID string    // machine-id(5), 32 bytes
	Kernel    string    // release of the capture kernel, 80 bytes
	Started   time.Time // of the capture, by its clock, in seconds
	Held      fsid.ID   // content of the device before: Type (32 bytes) and UUID (48 bytes) only
	Size      int64     // of the device, in bytes
	Created   time.Time // by Create, in nanoseconds: differs between two dumps of one crash
	savedCRC  uint32    // of the copy of the device's own head
}

// Where the fields are in the header. Texts end with a NUL or with their field.
const (
	hVersion  = 16
	hCRC      = 20 // of the sector, with zeros here
	hSavedCRC = 24
	hSize     = 32
	hStarted  = 40 // seconds since the epoch
	hID       = fsid.RawDumpID
	hHeldType = 96
	hHeldUUID = 128
	hMachine  = 176
	hHost     = 208
	hKernel   = 272
	hCreated  = 352 // nanoseconds since the epoch
)

var le = binary.LittleEndian

func (h *Header) encode() []byte {
	b := make([]byte, sector)
	copy(b, fsid.RawDumpMagic)
	le.PutUint32(b[hVersion:], version)
	le.PutUint32(b[hSavedCRC:], h.savedCRC)
	le.PutUint64(b[hSize:], uint64(h.Size))
	le.PutUint64(b[hStarted:], uint64(h.Started.Unix()))
	copy(b[hID:hHeldType], h.ID)
	copy(b[hHeldType:hHeldUUID], h.Held.Type)
	copy(b[hHeldUUID:hMachine], h.Held.UUID)
	copy(b[hMachine:hHost], h.MachineID)
	copy(b[hHost:hKernel], h.Host)
	copy(b[hKernel:hCreated], h.Kernel)
	le.PutUint64(b[hCreated:], uint64(h.Created.UnixNano()))
	le.PutUint32(b[hCRC:], checksum(b))
	return b
}

func decodeHeader(b []byte) (Header, error) {
	if string(b[:len(fsid.RawDumpMagic)]) != fsid.RawDumpMagic {
		return Header{}, ErrNone
	}
	if !sumOK(b, hCRC) {
		return Header{}, &DamagedError{What: "the header"}
	}
	if v := le.Uint32(b[hVersion:]); v != version {
		return Header{}, &VersionError{v}
	}
	h := Header{
		ID:        text(b[hID:hHeldType]),
		Host:      text(b[hHost:hKernel]),
		MachineID: text(b[hMachine:hHost]),
		Kernel:    text(b[hKernel:hCreated]),
		Started:   crashdir.Clamp(time.Unix(int64(le.Uint64(b[hStarted:])), 0).UTC()),
		Held:      fsid.ID{Type: text(b[hHeldType:hHeldUUID]), UUID: text(b[hHeldUUID:hMachine])},
		Size:      int64(le.Uint64(b[hSize:])),
		Created:   time.Unix(0, int64(le.Uint64(b[hCreated:]))).UTC(),
		savedCRC:  le.Uint32(b[hSavedCRC:]),
	}
	if !validID(h.ID) || h.Size < MinSize {
		return Header{}, &DamagedError{What: "the header"}
	}
	return h, nil
}

// readHeader reads the header of a device of size bytes. It returns the header
// beside the error if the device has become smaller.
func readHeader(dev io.ReaderAt, size int64) (Header, error) {
	b := make([]byte, sector)
	if size < sector {
		return Header{}, ErrNone
	}
	if err := readFull(dev, b, 0); err != nil {
		return Header{}, fmt.Errorf("read the head of the device: %w", err)
	}
	h, err := decodeHeader(b)
	if err != nil {
		return h, err
	}
	if h.Size > size {
		return h, &DamagedError{"the end", fmt.Errorf("the device had %d bytes when the dump was written and has %d", h.Size, size)}
	}
	return h, nil
}

// sumOK reports whether b has its checksum at offset at.
func sumOK(b []byte, at int) bool {
	want := le.Uint32(b[at:])
	b = bytes.Clone(b)
	le.PutUint32(b[at:], 0)
	return checksum(b) == want
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func validID(id string) bool {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"
	return id != "" && len(id) <= fsid.RawDumpIDLen && strings.Trim(id, alphabet) == ""
}

// readFull fills b or returns an error, also if the device ends.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Foreign reports whether a dump is not known to be of the machine with this
// machine-id(5). Nothing is known if the machine has none, "", or if the dump names none:
// the disk may have come from anywhere.
func (h *Header) Foreign(machineID string) bool {
	return machineID == "" || h.MachineID != machineID
}

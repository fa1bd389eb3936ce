// Package rawdump reads and writes raw dumps: on a block device that is never mounted,
// such as a partition, a logical volume or a swap area. rawdump(5) describes the
// format.
//
// PID 1 of the capture kernel writes a dump with a Writer; after the reboot
// kdumpctl reads it with a Dump and gives the device back with Restore.
//
//	0        header: 512 bytes, then zeros up to 4 KiB
//	4 KiB    not touched: swap areas of larger pages have their signature here
//	64 KiB   copy of the first 4 KiB of the device
//	68 KiB   state, written in turns with the one at 72 KiB
//	1 MiB    report.json, in turns with the one at 2 MiB
//	3 MiB    kexec-dmesg.log, in turns with the one at 4 MiB
//	5 MiB    vmcore-dmesg.txt, and behind it the flattened dump
//
// The header is written once, in one sector, after the copy of the bytes that it
// replaces is durable. Writing the same sector again ends the dump and returns the
// device. The state holds all that changes: place, length and checksum of each file
// and of the stream. Everything that a state refers to is durable before the state is
// written, and a state never overwrites the previous one. So a loss of power leaves
// the content before or after a write. A state has the ID of its dump, so remains of
// an older dump are never taken for a part of this one.
//
// Everything small lies before the stream, which may take the rest of the device: a
// collector stops only at the end of the device.
//
// Numbers are little-endian, offsets and sizes in bytes, checksums CRC-32C.
package rawdump

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"ukdump/internal/crashdir"
	"ukdump/internal/fsid"
)

const (
	headSize  = 4096 // part of the device's own head that is replaced
	sector    = 512  // the smallest atomic write of a disk
	savedAt   = 64 << 10
	stateAt   = savedAt + headSize
	stateSize = 4096

	// FileLimit is the limit of report.json and kexec-dmesg.log, in bytes each. The
	// format has room for as much at any time.
	FileLimit = 1 << 20

	reportAt = 1 << 20
	logAt    = reportAt + 2*FileLimit
	areaAt   = logAt + 2*FileLimit

	// MinSize is the least size of a device, in bytes. It has room for a log and the
	// beginning of a dump.
	MinSize = 16 << 20

	streamAlign = 1 << 20
	fileAlign   = 4096
	bufferSize  = 256 << 10
)

// Device is the block device, or a file in its place: *os.File. If it also has
// Fd, its page cache is dropped before a dump is read back.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error // as fsync(2)
}

// ErrNone says that the device holds no dump.
var ErrNone = errors.New("no raw dump")

// ErrFinished says that nothing may be added to the dump any more.
var ErrFinished = errors.New("the raw dump is finished")

// NotCollectedError reports a device with a dump that has not been collected yet and
// may be damaged.
type NotCollectedError struct{ ID string }

func (e *NotCollectedError) Error() string {
	return fmt.Sprintf("dump %q has not been collected", e.ID)
}

// Advice returns the command that makes room.
func (e *NotCollectedError) Advice() string { return "Run kdumpctl collect." }

// HibernatedError reports a device with the memory of a hibernated system.
type HibernatedError struct{}

func (*HibernatedError) Error() string { return "the device holds a hibernated system" }

// ContentError reports that the content of the device has changed since it was chosen.
// An empty Type stands for nothing known.
type ContentError struct{ Want, Got fsid.ID }

func (e *ContentError) Error() string {
	return fmt.Sprintf("the device holds %s, not %s as when it was chosen", content(e.Got), content(e.Want))
}

// Advice returns the way to choose the device again.
func (e *ContentError) Advice() string {
	return "If the device may still be overwritten, run kdumpctl load to record its present content."
}

func content(id fsid.ID) string {
	switch {
	case id.Type == "":
		return "nothing known"
	case id.UUID == "":
		return id.Type
	}
	return id.Type + " " + id.UUID
}

// SmallError reports a device that is too small. Sizes are in bytes.
type SmallError struct{ Size, Need int64 }

func (e *SmallError) Error() string {
	return fmt.Sprintf("the device has %d bytes, a dump needs at least %d", e.Size, e.Need)
}

// DamagedError names a part of a dump that is damaged or cannot be read.
type DamagedError struct {
	What string
	Err  error // nil if it was read but differs from the data written
}

func (e *DamagedError) Error() string {
	if e.Err != nil {
		return e.What + " of the raw dump: " + e.Err.Error()
	}
	return e.What + " of the raw dump is damaged"
}

func (e *DamagedError) Unwrap() error { return e.Err }

// VersionError reports a dump of a format version that this program does not support.
type VersionError struct{ Got uint32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("a raw dump of format version %d, this program supports version %d", e.Got, version)
}

// Check returns an error if no dump may be written to a device of size bytes. The
// device must still hold want, its content when it was chosen (Type and UUID; empty if
// nothing known). Only a swap area may have another UUID, because some get a new one
// at every boot. The error is a *SmallError, *NotCollectedError, *HibernatedError,
// *ContentError or *fsid.ReadError.
func Check(dev io.ReaderAt, size int64, want fsid.ID) (got fsid.ID, err error) {
	if size < MinSize {
		return got, &SmallError{size, MinSize}
	}
	got, err = fsid.Probe(dev, size)
	if err != nil && !errors.Is(err, fsid.ErrUnknown) {
		return got, err
	}
	switch {
	case got.Type == fsid.RawDump:
		return got, &NotCollectedError{got.UUID}
	case got.Type == "swsuspend":
		return got, &HibernatedError{}
	case got.Type != want.Type, got.UUID != want.UUID && got.Type != "swap":
		return got, &ContentError{want, got}
	}
	return got, nil
}

// The files of a dump, in the order in which the state has them.
const (
	dmesg = iota
	report
	captureLog
	nFiles
)

var fileNames = [nFiles]string{crashdir.Dmesg, crashdir.ReportFile, crashdir.CaptureLog}

func fileIndex(name string) (int, error) {
	for i, n := range fileNames {
		if n == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("a raw dump has no file %q", name)
}

// slots returns the two places of a file that is written in turns; 0 for others.
var slots = [nFiles]int64{report: reportAt, captureLog: logAt}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func alignUp(n, to int64) int64 { return (n + to - 1) / to * to }

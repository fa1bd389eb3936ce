// Package rawdump is how a dump lies on a block device that is never mounted: a
// partition, a logical volume or a swap area. rawdump(5) describes the format.
//
// PID 1 of the capture kernel writes a dump with a Writer; after the reboot
// kdumpctl reads it with a Dump and gives the device back with Restore.
//
//	0        header: 512 bytes, then zeros up to 4 KiB
//	4 KiB    not touched: swap areas of larger pages have their signature here
//	64 KiB   what the device had in its first 4 KiB
//	68 KiB   state, written in turns with the one at 72 KiB
//	1 MiB    report.json, in turns with the one at 2 MiB
//	3 MiB    kexec-dmesg.log, in turns with the one at 4 MiB
//	5 MiB    vmcore-dmesg.txt, and behind it the flattened dump
//
// The header is written once, in one sector, after the copy of what it replaces
// is durable; the same sector ends the dump when the device is given back. All
// that changes is in the state: where each file and the stream of the dump lie,
// how long they are and their checksums. What a state names is durable before it
// is written, and it never replaces the state before it. So the loss of power at
// any point leaves what was there before a write or what was there after it, and
// nothing that an older dump left on the device can be taken for a part of this
// one: a state has the ID of its dump.
//
// Everything small lies before the stream, which may take the rest of the
// device: a collector cannot be stopped elsewhere than at the device's end.
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
	headSize  = 4096 // how much of the device's own head is replaced
	sector    = 512  // the least that a disk writes as a whole
	savedAt   = 64 << 10
	stateAt   = savedAt + headSize
	stateSize = 4096

	// FileLimit is the most bytes that report.json and kexec-dmesg.log may
	// have. Within it they always fit, whenever they are written.
	FileLimit = 1 << 20

	reportAt = 1 << 20
	logAt    = reportAt + 2*FileLimit
	areaAt   = logAt + 2*FileLimit

	// MinSize is the least size of a device, in bytes: there is room for a log
	// and the beginning of a dump.
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

// NotCollectedError says that the device holds a dump that nobody has collected
// yet, perhaps one that is damaged.
type NotCollectedError struct{ ID string }

func (e *NotCollectedError) Error() string {
	return fmt.Sprintf("the dump %q on it has not been collected", e.ID)
}

// Advice returns the command that makes room.
func (e *NotCollectedError) Advice() string { return "Run kdumpctl collect." }

// HibernatedError says that the device holds the memory of a hibernated system.
type HibernatedError struct{}

func (*HibernatedError) Error() string { return "it holds a hibernated system" }

// ContentError says that the device does not hold what it held when it was
// chosen. An empty Type stands for nothing known.
type ContentError struct{ Want, Got fsid.ID }

func (e *ContentError) Error() string {
	return fmt.Sprintf("it holds %s, not %s as when it was chosen", content(e.Got), content(e.Want))
}

// Advice returns how to choose it again.
func (e *ContentError) Advice() string {
	return "If it may still be overwritten, run kdumpctl load to note what it holds now."
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

// SmallError says that the device is too small, in bytes.
type SmallError struct{ Size, Need int64 }

func (e *SmallError) Error() string {
	return fmt.Sprintf("it has %d bytes and a dump needs at least %d", e.Size, e.Need)
}

// DamagedError says what of a dump cannot be read or believed.
type DamagedError struct {
	What string
	Err  error // nil if it was read but is not what was written
}

func (e *DamagedError) Error() string {
	if e.Err != nil {
		return e.What + " of the raw dump: " + e.Err.Error()
	}
	return e.What + " of the raw dump is damaged"
}

func (e *DamagedError) Unwrap() error { return e.Err }

// VersionError reports a dump of a format that this program does not speak.
type VersionError struct{ Got uint32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("a raw dump of format version %d, this program speaks version %d", e.Got, version)
}

// Check tells whether a dump may be written to a device of size bytes that was
// chosen when it held want (Type and UUID; empty if nothing known): it must still
// hold that. Only a swap area may have another UUID, because some get a new one
// at every boot. The error is a *SmallError, *NotCollectedError,
// *HibernatedError, *ContentError or *fsid.ReadError.
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

// slots are the two places of a file that is written in turns; 0 for others.
var slots = [nFiles]int64{report: reportAt, captureLog: logAt}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func alignUp(n, to int64) int64 { return (n + to - 1) / to * to }

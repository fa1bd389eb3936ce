package collect

import (
	"errors"
	"fmt"
	"math"
	"os"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/rawdump"
)

// In bytes.
const (
	// fileBlock is the space that a small write takes: a block of most file systems.
	fileBlock = 4096
	// checkEach is the space that writes may take until the free space is looked at again.
	checkEach = 64 << 20
	// keepFree is the space that they leave free.
	keepFree = collectReserve / 4
	// slack is the room for a dump's headers and bitmaps, whatever the memory.
	slack = 1 << 30
)

var (
	errTooLarge = errors.New("its vmcore is larger than a dump of this machine can be")
	errFills    = errors.New("its vmcore takes more space than its stream, and fills the file system")
)

// boundedFile is the vmcore that a stream is rearranged into. A stream of few bytes can
// take any space: by many small records far from each other, or by one at a huge offset.
type boundedFile struct {
	*os.File
	most  int64                 // bytes that a dump may have
	room  func() (int64, error) // free bytes
	taken int64                 // bytes that the writes may have taken
	next  int64                 // of taken at which room is asked
}

// WriteAt writes unless a bound is exceeded.
func (f *boundedFile) WriteAt(p []byte, off int64) (int, error) {
	n := int64(len(p))
	f.taken += (n/fileBlock + 1) * fileBlock
	if f.taken > f.most || off > f.most-n {
		return 0, errTooLarge
	}
	if f.taken >= f.next {
		free, err := f.room()
		if err != nil {
			return 0, err
		}
		if free < keepFree {
			return 0, errFills
		}
		f.next = f.taken + min(checkEach, (free-keepFree)/2)
	}
	return f.File.WriteAt(p, off)
}

// bounded returns the file with the bounds for this dump. The memory of a machine may
// have changed since the crash; that of another machine is not known.
func (k *dumpRun) bounded(f *os.File) *boundedFile {
	b := &boundedFile{File: f, most: math.MaxInt64, room: func() (int64, error) {
		room, err := crashdir.RoomIn(k.parent)
		return room.Free, err
	}}
	if k.run.Foreign {
		return b
	}
	h, err := host.Open(k.run.Root)
	if err != nil {
		return b
	}
	if memory, err := h.Memory(); err == nil {
		b.most = 2*memory + slack
	}
	return b
}

// refused is the error of a vmcore that a bound stopped.
func refused(err error) error {
	if errors.Is(err, errTooLarge) {
		return advice.With(stays(err), "Run kdumpctl collect --foreign if this machine had more memory then.")
	}
	return left(err)
}

// whose says of which machine a dump is that is not known to be of this one.
func (r *Run) whose(h *rawdump.Header) string {
	switch {
	case h.MachineID == "":
		return fmt.Sprintf("a dump that names no machine (host %s)", cli.OrDash(h.Host))
	case r.machine == "":
		return fmt.Sprintf("a dump of the machine %s (this one has no machine-id)", h.MachineID)
	case h.Host == "": // it has no /etc/hostname
		return "a dump of another machine, " + h.MachineID + ","
	}
	return "a dump of another machine, " + h.Host + ","
}

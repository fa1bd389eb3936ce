package squeeze

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ukdump/internal/dumpfile"
)

// writeBack is how many bytes the file system may hold back before File lets it write them:
// fsync(2) at the end reports no progress, so it must not have much to do.
const writeBack = 8 << 20

// File is an Output that is a file. Its header is marked as incomplete until Finish, as
// makedumpfile(8) marks a dump that it could not write.
type File struct {
	f      *os.File
	header []byte // as it will be
	begun  int64  // write-back was started up to here
	before int64  // offset of the part whose write-back was started last
}

// NewFile returns an Output for an empty file.
func NewFile(f *os.File) *File { return &File{f: f} }

// WriteAt implements io.WriterAt.
func (o *File) WriteAt(p []byte, off int64) (int, error) {
	if off == 0 && len(p) >= headerSize {
		return o.writeHeader(p)
	}
	n, err := o.f.WriteAt(p, off)
	if err == nil {
		o.startWriteBack(off + int64(n))
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (o *File) ReadAt(p []byte, off int64) (int, error) { return o.f.ReadAt(p, off) }

func (o *File) writeHeader(p []byte) (int, error) {
	o.header = append(o.header[:0], p[:headerSize]...)
	b := append([]byte(nil), p...)
	le.PutUint32(b[statusAt:], le.Uint32(b[statusAt:])|flagIncomplete)
	return o.f.WriteAt(b, 0)
}

// startWriteBack starts to write back data up to an offset, if they are many, and waits for
// those before them. A file system without it does so in Finish.
func (o *File) startWriteBack(end int64) {
	if end-o.begun < writeBack {
		return
	}
	fd := int(o.f.Fd())
	unix.SyncFileRange(fd, o.before, o.begun-o.before, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	unix.SyncFileRange(fd, o.begun, end-o.begun, unix.SYNC_FILE_RANGE_WRITE)
	o.before, o.begun = o.begun, end
}

// Finish writes the dump back to the disk and removes the mark.
func (o *File) Finish() error {
	if err := o.f.Sync(); err != nil {
		return err
	}
	if _, err := o.f.WriteAt(o.header, 0); err != nil {
		return err
	}
	return o.f.Sync()
}

// flattened is an Output that is a flattened stream. It has an end mark only if the dump
// is whole.
type flattened struct{ *dumpfile.FlatWriter }

// NewFlattened returns an Output that is a flattened stream, see makedumpfile(8).
func NewFlattened(w io.Writer) (Output, error) {
	f, err := dumpfile.NewFlatWriter(w)
	return flattened{f}, err
}

// Finish implements Output.
func (f flattened) Finish() error { return f.Close() }

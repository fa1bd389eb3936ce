package crashdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

var errNotRegular = errors.New("not a regular file")

// ReadFile reads a regular file of at most limit bytes. The error is an *fs.PathError.
// It follows symbolic links; readReport, which must not, opens its file itself.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, info, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: tooLarge(limit)}
	}
	// The size is that of a moment ago, and 0 in proc(5). There a number of /proc/sys must
	// be read at once: the second read finds nothing more (proc_dointvec in kernel/sysctl.c).
	b := make([]byte, min(max(info.Size(), 511), limit)+1)
	n, err := io.ReadFull(f, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return b[:n], nil
	}
	if err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(io.LimitReader(f, limit+1-int64(n)))
	if err != nil {
		return nil, err
	}
	if b = append(b, rest...); int64(len(b)) > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: tooLarge(limit)}
	}
	return b, nil
}

// OpenFile opens a regular file for reading. It follows symbolic links. The error is an
// *fs.PathError.
func OpenFile(path string) (*os.File, fs.FileInfo, error) {
	// Without O_NONBLOCK opening a FIFO would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// ReadAll reads r to its end. It is an error if r has more than limit bytes.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, tooLarge(limit)
	}
	return b, nil
}

func tooLarge(limit int64) error { return fmt.Errorf("larger than %d bytes", limit) }

// WithoutPath returns the reason of an *fs.PathError, for a caller that names the file
// itself, and any other error as it is.
func WithoutPath(err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err
	}
	return err
}

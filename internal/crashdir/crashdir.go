// Package crashdir defines the layout of a dump on disk: one directory per crash, with
// files of fixed names. Each file is written under a temporary name and renamed when
// it is whole.
package crashdir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Names of the files in a dump's directory. Vmcore and Dmesg are the names that
// kdump users, crash(8) and ABRT know.
const (
	Vmcore     = "vmcore"
	Dmesg      = "vmcore-dmesg.txt"
	CaptureLog = "kexec-dmesg.log" // the capture kernel's own log
	ReportFile = "report.json"

	// Sealed ends the name of a file that is encrypted to the keys of ENCRYPT, in the format
	// of age: vmcore.age, and vmcore.age-incomplete while it is being written.
	Sealed = ".age"

	// Suffix marks a file that is not known to be whole.
	Suffix = "-incomplete"
)

// TimeLayout is the layout of a directory's name, in UTC.
const TimeLayout = "2006-01-02T15-04-05Z"

// Name returns the name of the directory of a dump of time t.
func Name(t time.Time) string { return Clamp(t).UTC().Format(TimeLayout) }

// Clamp returns the time nearest to t that names and JSON can hold: RFC 3339 knows the
// years 0 to 9999 only. Times of a crash come from clocks that may be wrong and from
// memory that may be damaged.
func Clamp(t time.Time) time.Time {
	const year0, year9999 = -62167219200, 253402300799 // the first and the last second, since 1970
	if sec := t.Unix(); sec < year0 {
		return time.Unix(year0, 0).UTC()
	} else if sec > year9999 {
		return time.Unix(year9999, 0).UTC()
	}
	return t
}

// maxSuffix is the last number that follows a name, and the number of random ones that
// are tried after that.
const maxSuffix = 20

// randomSuffix begins the suffix of a name with a random number.
const randomSuffix = "-x"

// Create makes the directory of a new dump below parent, mode 0700, and parent itself
// if it is missing. A name that exists gets a number: two crashes can fall into one
// second, and a clock can stand still. If those are taken, too, it gets a random number:
// users who may write to parent can take all names that they can guess. Create returns
// the path.
func Create(parent string, t time.Time) (string, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	base := filepath.Join(parent, Name(t))
	dir := base
	for n := 2; ; n++ {
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, SyncDir(parent)
		}
		if !errors.Is(err, fs.ErrExist) || n > 2*maxSuffix {
			return "", err
		}
		dir = base + "-" + strconv.Itoa(n)
		if n > maxSuffix { // nobody knows the nanosecond, or has a thousand million files
			dir = base + randomSuffix + strconv.Itoa(time.Now().Nanosecond())
		}
	}
}

// WriteFile writes name into dir: to a temporary name, fsynced, renamed, and the
// directory fsynced. write produces the content. If it fails, its output so far keeps
// the temporary name: part of a log is better than no log.
func WriteFile(dir, name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(filepath.Join(dir, name+Suffix), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := writeTo(f, write); err != nil {
		return err
	}
	return Commit(dir, name)
}

// writeTo writes to f, fsyncs and closes it.
func writeTo(f *os.File, write func(io.Writer) error) error {
	werr := write(f)
	err := f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = werr
	}
	return err
}

// Commit gives name its final name and makes the renaming durable. The caller
// has fsynced the file.
func Commit(dir, name string) error {
	path := filepath.Join(dir, name)
	if err := os.Rename(path+Suffix, path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes the entries of dir durable, see fsync(2).
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

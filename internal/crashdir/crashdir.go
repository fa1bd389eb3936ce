// Package crashdir defines the layout of a dump on disk: one directory per crash, with
// files of fixed names. Each file is written under a temporary name and renamed when
// it is whole.
package crashdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Names of the files in a dump's directory. Vmcore and Dmesg are the names that
// kdump users, crash(8) and ABRT know.
const (
	Vmcore     = "vmcore"
	Dmesg      = "vmcore-dmesg.txt"
	CaptureLog = "kexec-dmesg.log" // the capture kernel's own log
	ReportFile = "report.json"

	// Suffix marks a file that is not known to be whole.
	Suffix = "-incomplete"
)

// TimeLayout is the layout of a directory's name, in UTC.
const TimeLayout = "2006-01-02T15-04-05Z"

// maxSuffix bounds the search for a free name.
const maxSuffix = 1000

// Create makes the directory of a new dump below parent, mode 0700, and parent itself
// if it is missing. A name that exists gets a suffix: two crashes can fall into one
// second, and a clock can stand still. Create returns the path.
func Create(parent string, t time.Time) (string, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	base := filepath.Join(parent, t.UTC().Format(TimeLayout))
	dir := base
	for n := 2; ; n++ {
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, SyncDir(parent)
		}
		if !errors.Is(err, fs.ErrExist) || n > maxSuffix {
			return "", err
		}
		dir = base + "-" + strconv.Itoa(n)
	}
}

// WriteFile writes name into dir: to a temporary name, fsynced, renamed, and the
// directory fsynced. write produces the content. If it fails, its output so far keeps
// the temporary name: part of a log is better than no log.
func WriteFile(dir, name string, write func(io.Writer) error) error {
	tmp := filepath.Join(dir, name+Suffix)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	werr := write(f)
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = werr
	}
	if err != nil {
		return err
	}
	return Commit(dir, name)
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

// Dump is one directory below the crash directory.
type Dump struct {
	Name string // name of the directory
	Path string // path of the directory
	Time time.Time
	nth  int // number of the dump in that second, beginning with 1

	Outcome Outcome // by the files; a report cannot make it better
	Vmcore  string  // path of the vmcore, complete or not; empty without one
	Size    int64   // bytes of all files
	Used    int64   // bytes on disk: less than Size if files have holes

	Report    *Report // nil if it cannot be read
	ReportErr error   // why Report is nil
}

// List returns the dumps below parent, oldest first. A parent that does not exist
// holds no dumps. List skips entries that are not directories with the name of a dump,
// and those that another user has planted, see CheckOwner.
func List(parent string) ([]Dump, error) {
	ents, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	above, err := os.Stat(parent)
	if err != nil {
		return nil, err
	}
	var dumps []Dump
	for _, e := range ents {
		if _, _, ok := ParseName(e.Name()); !ok || !e.IsDir() {
			continue
		}
		path := filepath.Join(parent, e.Name())
		if fi, err := e.Info(); err == nil && checkOwner(path, fi, above) != nil {
			continue
		}
		d, err := Read(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed in the meantime
			continue
		case err != nil: // one bad directory must not hide the others
			d.Outcome, d.ReportErr = Failed, err
		}
		dumps = append(dumps, d)
	}
	Sort(dumps)
	return dumps, nil
}

// Sort sorts dumps, oldest first. By insertion: they come almost in order, and
// package slices would add 8 KB to PID 1.
func Sort(dumps []Dump) {
	for i := range dumps {
		for j := i; j > 0 && dumps[j].before(&dumps[j-1]); j-- {
			dumps[j], dumps[j-1] = dumps[j-1], dumps[j]
		}
	}
}

func (d *Dump) before(other *Dump) bool {
	if !d.Time.Equal(other.Time) {
		return d.Time.Before(other.Time)
	}
	return d.nth < other.nth
}

// ParseName parses the name of a dump's directory: the time of the crash and the
// number of the dump in that second, beginning with 1. It returns false for any other
// name.
func ParseName(name string) (t time.Time, nth int, ok bool) {
	if len(name) < len(TimeLayout) {
		return t, 0, false
	}
	t, err := time.Parse(TimeLayout, name[:len(TimeLayout)])
	if err != nil {
		return t, 0, false
	}
	rest := name[len(TimeLayout):]
	if rest == "" {
		return t, 1, true
	}
	nth, err = strconv.Atoi(strings.TrimPrefix(rest, "-"))
	return t, nth, err == nil && nth >= 2 && rest == "-"+strconv.Itoa(nth)
}

// Read looks at the dump in the directory at path. It follows no symbolic link inside
// it: the content of a dump is untrusted.
func Read(path string) (Dump, error) {
	d := Dump{Name: filepath.Base(path), Path: path}
	var ok bool
	if d.Time, d.nth, ok = ParseName(d.Name); !ok {
		return d, fmt.Errorf("%s is not the directory of a dump", path)
	}
	ents, err := os.ReadDir(path)
	if err != nil {
		return d, err
	}
	have := map[string]bool{}
	for _, e := range ents {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		have[e.Name()] = fi.Size() > 0 // on a full disk files are made, but not written
		d.Size += fi.Size()
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			d.Used += st.Blocks * 512 // for any block size, inode(7)
		}
	}
	switch {
	case have[Vmcore]:
		d.Outcome, d.Vmcore = Complete, filepath.Join(path, Vmcore)
	case have[Vmcore+Suffix]:
		d.Outcome, d.Vmcore = Incomplete, filepath.Join(path, Vmcore+Suffix)
	case have[Dmesg] || have[Dmesg+Suffix]:
		d.Outcome = DmesgOnly
	default:
		d.Outcome = Failed
	}
	if !have[ReportFile] {
		d.ReportErr = errors.New("no report.json: the capture did not finish")
		return d, nil
	}
	d.Report, d.ReportErr = readReport(filepath.Join(path, ReportFile))
	return d, nil
}

// readReport reads one report.json. Its size is untrusted, and it may have been
// replaced since it was seen to be a regular file.
func readReport(path string) (*Report, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxReport+1))
	if err != nil {
		return nil, err
	}
	return ParseReport(b)
}

package crashdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dump is one directory below the crash directory.
type Dump struct {
	Name string // name of the directory
	Path string // path of the directory
	// Time is the time of the crash by the clock of the crashed kernel, as in Report; that
	// of Name, by the clock of the capture kernel, if that is not known or plainly wrong.
	Time time.Time
	nth  int // number of the dump in that second, beginning with 1
	id   identity
	more func() bool // of ListSome

	Outcome Outcome // by the files; a report cannot make it better
	Vmcore  string  // path of the vmcore, complete or not; empty without one
	Test    bool    // the crash was a test, by the report
	LogOnly bool    // there is no vmcore by choice, and the log is whole, by the report
	At      string  // the complete dump is at this server, by the report; "" if it is here
	Size    int64   // bytes of all files; 0 if Outcome is Unknown
	Used    int64   // bytes on disk: less than Size if files have holes

	Report    *Report // nil if it cannot be read
	ReportErr error   // why Report is nil
}

// batch is the number of entries of a directory that are read at once.
const batch = 1000

// List lists the dumps below parent, oldest first. A parent that does not exist holds no
// dumps. List skips entries that are not directories with the name of a dump, and those
// that are not known to belong to root, the caller or the owner of parent.
func List(parent string) ([]Dump, error) {
	return list(parent, func(error) {}, math.MaxInt, nil)
}

// ListSome is List with bounds on time and memory, for the capture: users may make any
// number of directories. It stops after most dumps, or as soon as more, which it calls
// for each entry, returns false. The dumps have no Report. Expendable is right about some
// of the dumps, too: the newest of all is the newest of any that it is among. Remove of
// these dumps stops with an error when more returns false.
func ListSome(parent string, most int, more func() bool) ([]Dump, error) {
	return list(parent, func(error) {}, most, more)
}

// list is ListSome, and calls leftOut for each directory with the name of a dump that
// does not count as one.
func list(parent string, leftOut func(error), most int, more func() bool) ([]Dump, error) {
	dir, err := openParent(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	dir.more = more
	var dumps []Dump
	_, err = dir.each(0, func(name string) error {
		if _, _, ok := ParseName(name); !ok {
			return nil
		}
		if len(dumps) >= most {
			return errStopped
		}
		in, err := dir.enter(filepath.Join(parent, name), false)
		if in == nil {
			if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) { // removed meanwhile, or a file or a link
				leftOut(err)
			}
			return nil
		}
		var d Dump
		if err := in.dump(&d, err); errors.Is(err, unix.ENOENT) { // removed meanwhile
			return nil
		}
		if d.more = more; more != nil {
			d.Report = nil
		}
		dumps = append(dumps, d)
		return nil
	})
	if err != nil && !errors.Is(err, errStopped) {
		return nil, err
	}
	Sort(dumps)
	return dumps, nil
}

// Read reads the dump in the directory at path, whoever made it.
func Read(path string) (Dump, error) {
	d := Dump{Name: filepath.Base(path), Path: path}
	if _, _, ok := ParseName(d.Name); !ok {
		return d, fmt.Errorf("%s is not the directory of a dump", path)
	}
	parent, err := openParent(filepath.Dir(path))
	if err != nil {
		return d, pathError("open", path, WithoutPath(err))
	}
	dir, err := parent.enter(path, true)
	parent.Close()
	if dir == nil {
		return d, err
	}
	err = dir.dump(&d, err)
	return d, err
}

// dump reads the dump in the directory into dump and closes the directory. err is the
// error of opening it. If the dump cannot be read, its outcome is Unknown, and its
// ReportErr is the error.
func (d *Folder) dump(dump *Dump, err error) error {
	dump.Name, dump.Path, dump.id, dump.Outcome = filepath.Base(d.Path), d.Path, d.id, Unknown
	dump.Time, dump.nth, _ = ParseName(dump.Name)
	if err == nil {
		err = d.read(dump)
		d.Close()
	}
	if err != nil {
		dump.Size, dump.Used, dump.ReportErr = 0, 0, err
	}
	return err
}

// files are the files that decide the outcome of a dump, the best first.
var files = [...]struct {
	name    string
	outcome Outcome
}{
	{Vmcore, Complete}, {Vmcore + Sealed, Complete},
	{Vmcore + Suffix, Incomplete}, {Vmcore + Sealed + Suffix, Incomplete},
	{Dmesg, DmesgOnly}, {Dmesg + Sealed, DmesgOnly},
	{Dmesg + Suffix, DmesgOnly}, {Dmesg + Sealed + Suffix, DmesgOnly},
	{"", Failed},
}

// Places in files.
const (
	firstLog    = 4 // of those above without a vmcore
	firstCutLog = 6
	noFile      = len(files) - 1
)

// read reads the files of a dump. It follows no symbolic link: the content of a dump is
// untrusted.
func (d *Folder) read(dump *Dump) error {
	best, report, err := d.sizes(dump)
	if err != nil {
		return err
	}
	dump.Outcome = files[best].outcome
	if best < firstLog {
		dump.Vmcore = d.path(files[best].name)
	}
	if report != nil {
		dump.ReportErr = report
		return nil
	}
	dump.Report, dump.ReportErr = d.readReport()
	if r := dump.Report; r != nil {
		dump.Test = r.Test != ""
		dump.LogOnly = r.LogOnly && best >= firstLog && best < firstCutLog
		if r.Outcome == Complete && dump.Outcome != Complete {
			dump.At = r.At
		}
		if !r.CrashTime.Before(clockWrong) {
			dump.Time = r.CrashTime
		}
	}
	return nil
}

// sizes adds up the sizes of the regular files. It returns the place in files of the best
// of them, and why the report cannot be read, nil if it can. Empty files do not count: on a
// full disk files are made, but not written.
func (d *Folder) sizes(dump *Dump) (best int, report, err error) {
	best, report = noFile, errNoReport
	_, err = d.each(0, func(name string) error {
		var st unix.Stat_t
		err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.ENOENT { // removed meanwhile
			return nil
		}
		if err != nil {
			return pathError("stat", d.path(name), err)
		}
		if name == ReportFile {
			report = reportFault(&st)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			dump.Size += st.Size
			dump.Used += st.Blocks * 512 // for any block size, inode(7)
			if st.Size > 0 {
				for i := range best {
					if files[i].name == name {
						best = i
					}
				}
			}
		}
		return nil
	})
	return best, report, err
}

var errNoReport = errors.New("no report.json: the capture did not finish")

// reportFault says why a file called report.json is no report, nil if it can be one. A capture
// makes regular files only, so somebody else has put there what is none.
func reportFault(st *unix.Stat_t) error {
	kind := "a device or socket"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if st.Size > 0 {
			return nil
		}
		return errors.New("report.json is empty: the capture did not finish")
	case unix.S_IFLNK:
		kind = "a symbolic link"
	case unix.S_IFDIR:
		kind = "a directory"
	case unix.S_IFIFO:
		kind = "a FIFO"
	}
	return errors.New("report.json is " + kind + " and not a file of ukdump: it is not read")
}

// readReport reads report.json. Its size is untrusted.
func (d *Folder) readReport() (*Report, error) {
	f, err := d.Open(ReportFile)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxReport+1))
	f.Close()
	if err != nil {
		return nil, err
	}
	return ParseReport(b)
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

// Saved reports whether the capture has saved all that it was to save, here or at a server.
func (d *Dump) Saved() bool { return d.Outcome == Complete || d.LogOnly || d.At != "" }

func (d *Dump) before(other *Dump) bool {
	if !d.Time.Equal(other.Time) {
		return d.Time.Before(other.Time)
	}
	// A copy of a dump has its time of the crash: the name decides then.
	if a, b := d.stamp(), other.stamp(); a != b {
		return a < b
	}
	if d.nth != other.nth {
		return d.nth < other.nth
	}
	return d.Name < other.Name // random numbers have no order, but always the same
}

// stamp returns the time in the name.
func (d *Dump) stamp() string { return d.Name[:min(len(d.Name), len(TimeLayout))] }

// ParseName parses the name of a dump's directory: the time of the capture and the
// number of the dump in that second, beginning with 1. A random number counts as one
// after all others. ParseName returns false for any other name.
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
	if number, ok := strings.CutPrefix(rest, randomSuffix); ok {
		n, err := strconv.ParseUint(number, 10, 32)
		return t, math.MaxInt, err == nil && number == strconv.FormatUint(n, 10)
	}
	nth, err = strconv.Atoi(strings.TrimPrefix(rest, "-"))
	return t, nth, err == nil && nth >= 2 && rest == "-"+strconv.Itoa(nth)
}

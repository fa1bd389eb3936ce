package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/plan"
)

// place is the directory or the raw device that holds the files of one dump.
type place interface {
	// String returns the path that messages and the state show.
	String() string
	// writeFile writes one of the small files of a dump, durably.
	writeFile(name string, write func(io.Writer) error) error
	// room returns the largest size of a new vmcore in bytes.
	room() int64
	// whole reports whether the vmcore was verified.
	whole() bool
	// begin prepares attempt nth of a collector. It returns the arguments, empty if
	// the collector cannot write here, and the standard output if the vmcore goes
	// there. With resume the collector continues the vmcore of the last attempt.
	begin(c *plan.Collector, nth int, resume bool) (argv []string, stdout *os.File, err error)
	// size returns how many bytes of the vmcore a collector has written.
	size() int64
	// taken returns the space of these bytes: less than size if there are holes.
	taken() int64
	// checkpoint makes the progress of a running collector durable.
	checkpoint() error
	// lost returns the error by which output of the last collector may be missing on
	// the disk, or nil.
	lost() error
	// verify syncs the vmcore, reads it back, compares it with the memory and marks it
	// as complete. It calls progress while it reads.
	verify(m dumpfile.Memory, progress func()) error
	// keeps reports whether the next collector preserves the last vmcore.
	keeps() bool
	// settle keeps the best output of the incomplete attempts. It returns the outcome
	// of all files and the size of the vmcore.
	settle() (crashdir.Outcome, int64, error)
	// close makes all files durable and releases the device.
	close() error
}

// directory is a place in a mounted file system.
type directory struct {
	dir    string
	suffix string // of an encrypted vmcore
	w      *worker
	err    error // the device failed under a vmcore
}

// base returns the directory; encrypted ones are around one.
func (d *directory) base() *directory { return d }

// directory returns the directory of the dump, nil if it goes elsewhere.
func (w *worker) directory() *directory {
	if d, ok := w.place.(interface{ base() *directory }); ok {
		return d.base()
	}
	return nil
}

func (d *directory) String() string { return d.dir }

func (d *directory) writeFile(name string, write func(io.Writer) error) error {
	return crashdir.WriteFile(d.dir, name, write)
}

// output returns the path of a collector's output.
func (d *directory) output() string {
	return filepath.Join(d.dir, crashdir.Vmcore+d.suffix+crashdir.Suffix)
}

func (d *directory) whole() bool { return fileExists(filepath.Join(d.dir, crashdir.Vmcore)) }

func (d *directory) room() int64 { return roomIn(d.dir) }

func (d *directory) begin(c *plan.Collector, nth int, resume bool) ([]string, *os.File, error) {
	if !resume {
		if err := d.makeWay(nth); err != nil {
			return nil, nil, fmt.Errorf("make way for the collector: %w", err)
		}
	}
	return c.Argv, nil, nil
}

// makeWay renames the output of an earlier attempt, or removes output that no tool
// can open.
func (d *directory) makeWay(nth int) error {
	output := d.output()
	switch {
	case !fileExists(output):
		return nil
	case readable(output):
		return os.Rename(output, fmt.Sprintf("%s.%d", output, nth))
	}
	return os.Remove(output)
}

// readable reports whether the dump at path has a header that crash(8) can read.
func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = dumpfile.ReadHeader(f)
	return err == nil
}

// superseded returns the outputs that makeWay renamed.
func (d *directory) superseded() []string { return beginning(d.output() + ".") }

// beginning returns the existing paths that begin with prefix, sorted. filepath.Glob
// would link 3 KB.
func beginning(prefix string) (paths []string) {
	dir, start := filepath.Split(prefix)
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		if strings.HasPrefix(name, start) {
			paths = append(paths, dir+name)
		}
	}
	slices.Sort(paths)
	return paths
}

func (d *directory) size() int64       { return fileSize(d.output()) }
func (d *directory) taken() int64      { return min(d.size(), blocks(d.output())) }
func (d *directory) checkpoint() error { return nil } // the file system keeps the size
func (d *directory) keeps() bool       { return readable(d.output()) }

// lost keeps further collectors from a device that fails. On the last target the
// next collector is worth a try: it may reach better sectors.
func (d *directory) lost() error {
	if d.w.state.Target+1 >= len(d.w.plan.Targets) {
		return nil
	}
	return d.err
}

func (d *directory) close() error {
	if d.w.mode == emergency {
		return syncFilesystem(d.dir) // the system unmounts it
	}
	return d.w.umount()
}

// blocks returns the bytes that a file takes on disk.
func blocks(path string) int64 {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0
	}
	return st.Blocks * 512 // in units of 512 for any block size, inode(7)
}

// verify gives a vmcore that is whole its final name and removes the output of other
// attempts.
func (d *directory) verify(m dumpfile.Memory, progress func()) error {
	f, err := os.OpenFile(d.output(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		if errors.Is(err, unix.EIO) || errors.Is(err, unix.EROFS) {
			d.err = err
		}
		return err
	}
	progress()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	// Later reads come from the disk, not from the cache.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return os.NewSyscallError("fadvise", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	h, err := dumpfile.ReadHeader(f)
	if err != nil {
		return fmt.Errorf("the header of the vmcore: %w", err)
	}
	// All page descriptors of a large machine take a while.
	if err := h.VerifyMemory(&progressReader{r: f, progress: progress}, fi.Size(), m); err != nil {
		return err
	}
	if !h.Complete {
		return errors.New("the vmcore is marked as incomplete")
	}
	if err := crashdir.Commit(d.dir, crashdir.Vmcore); err != nil {
		return err
	}
	for _, name := range d.superseded() {
		if err := os.Remove(name); err != nil {
			d.w.warn("remove an incomplete dump: %v", err)
		}
	}
	return nil
}

// restore gives a superseded output its first name again.
func (d *directory) restore(name string) error {
	if name == d.output() {
		return nil
	}
	if err := d.makeWay(0); err != nil {
		return err
	}
	return os.Rename(name, d.output())
}

// settle keeps the largest of the incomplete dumps.
func (d *directory) settle() (crashdir.Outcome, int64, error) {
	best := d.output()
	for _, name := range d.superseded() {
		if fileSize(name) > fileSize(best) || !readable(best) {
			best = name
		}
	}
	err := d.restore(best)
	dump, rerr := crashdir.Read(d.dir)
	if err = errors.Join(err, rerr); rerr != nil {
		return "", 0, err
	}
	size := int64(0)
	if dump.Vmcore != "" {
		size = fileSize(dump.Vmcore)
	}
	return dump.Outcome, size, err
}

// discard removes the output of the last collector.
func (d *directory) discard() error { return os.Remove(d.output()) }

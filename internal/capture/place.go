package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/plan"
)

// place is where the files of one dump go: a directory, or a raw device.
type place interface {
	// String names it in messages and in the state.
	String() string
	// writeFile writes one of the small files of a dump, durably.
	writeFile(name string, write func(io.Writer) error) error
	// room returns how many bytes a vmcore may have, beside the files that are there.
	room() int64
	// whole reports whether a vmcore was proven to be whole.
	whole() bool
	// begin makes way for a collector that is the nth attempt and returns how to run
	// it, with its standard output if that is the vmcore. No argument vector says
	// that the collector cannot write here. resume keeps the vmcore that is there
	// for the collector to go on.
	begin(c *plan.Collector, nth int, resume bool) (argv []string, stdout *os.File, err error)
	// size returns how many bytes of the vmcore a collector has written.
	size() int64
	// taken returns how much room that takes: less than its size if it has holes.
	taken() int64
	// checkpoint is called now and then while a collector runs.
	checkpoint() error
	// lost returns why some output of the last collector may not be on the
	// disk, or nil.
	lost() error
	// prove makes sure that the vmcore is on the disk and whole, and says so
	// there. progress is called while it goes on.
	prove(progress func()) error
	// keeps reports whether the next collector leaves the vmcore that is there alone.
	keeps() bool
	// settle chooses the best output of the incomplete attempts, and returns
	// the outcome of all files and the size of the vmcore.
	settle() (crashdir.Outcome, int64, error)
	// close makes everything durable and lets go of the device.
	close() error
}

// directory is a place in a mounted file system.
type directory struct {
	dir string
	w   *worker
	err error // the device failed under a vmcore
}

func (d *directory) String() string { return d.dir }

func (d *directory) writeFile(name string, write func(io.Writer) error) error {
	return crashdir.WriteFile(d.dir, name, write)
}

// output is where a collector writes.
func (d *directory) output() string {
	return filepath.Join(d.dir, crashdir.Vmcore+crashdir.Suffix)
}

func (d *directory) whole() bool { return fileExists(filepath.Join(d.dir, crashdir.Vmcore)) }

func (d *directory) room() int64 { return roomIn(d.dir) }

func (d *directory) begin(c *plan.Collector, nth int, resume bool) ([]string, *os.File, error) {
	if !resume {
		if err := d.stepAside(nth); err != nil {
			return nil, nil, fmt.Errorf("make way for the collector: %w", err)
		}
	}
	return c.Argv, nil, nil
}

// stepAside makes way for a collector. The output of another one is removed only if
// no tool could open it.
func (d *directory) stepAside(nth int) error {
	output := d.output()
	switch {
	case !fileExists(output):
		return nil
	case readable(output):
		return os.Rename(output, fmt.Sprintf("%s.%d", output, nth))
	}
	return os.Remove(output)
}

// readable reports whether crash(8) has a chance to open the dump at path.
func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = dumpfile.ReadHeader(f)
	return err == nil
}

// asides returns the files that stepAside made.
func (d *directory) asides() []string {
	list, _ := filepath.Glob(d.output() + ".*") // our own pattern cannot be bad
	return list
}

func (d *directory) size() int64       { return fileSize(d.output()) }
func (d *directory) taken() int64      { return min(d.size(), blocks(d.output())) }
func (d *directory) checkpoint() error { return nil } // the file system knows
func (d *directory) keeps() bool       { return readable(d.output()) }

// lost is about the next collector only: prove has its own error. Where there is
// no other target left it might find better sectors.
func (d *directory) lost() error {
	if d.w.state.Target+1 >= len(d.w.plan.Targets) {
		return nil
	}
	return d.err
}

func (d *directory) close() error {
	if d.w.mode == emergency {
		return syncFilesystem(d.dir) // it is not ours to take off
	}
	return d.w.umount()
}

// blocks returns the bytes that a file takes on disk.
func blocks(path string) int64 {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0
	}
	return st.Blocks * 512 // whatever the block size, inode(7)
}

// prove gives the vmcore its final name and removes the output of other attempts.
func (d *directory) prove(progress func()) error {
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
	// From here on reads come from the disk, not from the cache.
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
	if err := h.Verify(&progressReader{r: f, progress: progress}, fi.Size()); err != nil {
		return err
	}
	if !h.Complete {
		return errors.New("the vmcore is marked as incomplete")
	}
	if err := crashdir.Commit(d.dir, crashdir.Vmcore); err != nil {
		return err
	}
	for _, a := range d.asides() {
		if err := os.Remove(a); err != nil {
			d.w.warn("remove an incomplete dump: %v", err)
		}
	}
	return nil
}

// bringBack gives an aside the name under which it is looked for.
func (d *directory) bringBack(aside string) error {
	if aside == d.output() {
		return nil
	}
	if err := d.stepAside(0); err != nil {
		return err
	}
	return os.Rename(aside, d.output())
}

// settle keeps the largest of the incomplete dumps.
func (d *directory) settle() (crashdir.Outcome, int64, error) {
	best := d.output()
	for _, a := range d.asides() {
		if fileSize(a) > fileSize(best) || !readable(best) {
			best = a
		}
	}
	err := d.bringBack(best)
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

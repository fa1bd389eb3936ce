package capture

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/fsid"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
)

// checkpointEvery is how often the length of a growing stream is made durable.
const checkpointEvery = 30 * time.Second

// raw is a place on a block device that is never mounted.
type raw struct {
	path   string // /dev/vda2
	dev    *os.File
	out    *rawdump.Writer
	stream *os.File      // standard output of the collector; its offset is the progress
	noted  time.Duration // uptime of the last checkpoint
	err    error         // of writing this stream to the disk
}

// rawName describes a raw target.
func rawName(t *plan.Target) string {
	switch {
	case t.Device.PartUUID != "":
		return "partition " + t.Device.PartUUID
	case t.Device.Volume != "":
		return "logical volume " + t.Layers[len(t.Layers)-1].Name
	}
	return t.Filesystem.Type + " " + t.Filesystem.UUID
}

// openRaw begins a dump on a block device. Its content must be the one recorded when
// the image was built.
func (w *worker) openRaw(t *plan.Target, name string) error {
	dev, size, err := openDevice(name)
	if err != nil {
		return err
	}
	// Saved before the header is written. Otherwise the next worker would take the
	// header for that of an earlier dump that was not collected.
	w.state.Raw = name
	w.report.Target = crashdir.Target{Dir: t.Dir, Device: name, UUID: t.Device.PartUUID, Free: size}
	w.save()
	out, err := rawdump.Create(dev, size, rawdump.Header{
		ID: w.report.ID, Host: w.report.Host, MachineID: w.report.Machine, Kernel: w.report.Capture, Started: w.report.Started,
		Held: fsid.ID{Type: t.Filesystem.Type, UUID: t.Filesystem.UUID},
	})
	if err != nil {
		dev.Close()
		w.state.Raw = ""
		return fmt.Errorf("%s: %w", name, err)
	}
	w.place = &raw{path: dev.Name(), dev: dev, out: out}
	w.log.printf("writing to %s, %d MiB", name, size>>20)
	return nil
}

// resumeRaw continues the dump that an earlier worker began.
func resumeRaw(name, id string) (place, error) {
	dev, size, err := openDevice(name)
	if err != nil {
		return nil, err
	}
	out, err := rawdump.Resume(dev, size, id)
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &raw{path: dev.Name(), dev: dev, out: out}, nil
}

// openDevice opens a block device that is not in use and returns its size in
// bytes. With O_EXCL the kernel refuses a mounted device, see open(2).
func openDevice(name string) (*os.File, int64, error) {
	dev, err := os.OpenFile(filepath.Join("/dev", name), os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return nil, 0, err
	}
	return dev, blockSize(filepath.Join("/sys/class/block", name)), nil
}

func (r *raw) String() string { return r.path }

func (r *raw) writeFile(name string, write func(io.Writer) error) error {
	return r.out.WriteFile(name, write)
}

func (r *raw) whole() bool { return r.out.Stream().Complete }

func (r *raw) room() int64 {
	s := r.out.Stream()
	return s.Limit - s.Start
}

// begin discards the output of an earlier collector: the device has one stream.
func (r *raw) begin(c *plan.Collector, _ int, _ bool) ([]string, *os.File, error) {
	r.endStream()
	s, err := r.out.BeginStream()
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	if _, err := f.Seek(s.Start, io.SeekStart); err != nil {
		f.Close()
		return nil, nil, err
	}
	r.stream, r.noted, r.err = f, uptime(), nil
	return c.Stream, f, nil
}

func (r *raw) endStream() {
	if r.stream != nil {
		r.stream.Close()
		r.stream = nil
	}
}

func (r *raw) size() int64 {
	s := r.out.Stream()
	if r.stream == nil || s.Ended {
		return s.Length
	}
	at, err := r.stream.Seek(0, io.SeekCurrent)
	if err != nil {
		return s.Length
	}
	return at - s.Start
}

func (r *raw) taken() int64 { return r.size() }

func (r *raw) checkpoint() error {
	if r.stream == nil || uptime()-r.noted < checkpointEvery {
		return nil
	}
	r.noted = uptime()
	err := r.out.SaveLength(r.size())
	if err != nil {
		// The kernel reports a failed write only once, see fsync(2): the sync of
		// verify may succeed.
		r.err = err
	}
	return err
}

func (r *raw) lost() error { return r.err }

// verify marks the stream complete only after reading it back: the next worker
// trusts the mark.
func (r *raw) verify(m dumpfile.Memory, progress func()) error {
	size := r.size()
	if err := r.out.EndStream(size, false, progress); err != nil {
		r.err = err
		return err
	}
	if err := r.verifyStream(m, progress); err != nil {
		return err
	}
	return r.out.EndStream(size, true, progress)
}

// verifyStream reads the stream back from the disk.
func (r *raw) verifyStream(m dumpfile.Memory, progress func()) error {
	s := r.out.StreamReader()
	h, err := dumpfile.ReadHeader(s)
	if err != nil {
		return fmt.Errorf("the header of the vmcore: %w", err)
	}
	return h.VerifyMemory(&progressReader{r: s, progress: progress}, s.Size(), m)
}

func (r *raw) keeps() bool { return false }

func (r *raw) settle() (crashdir.Outcome, int64, error) {
	var err error
	// Not read back: there may be no time left.
	if s := r.out.Stream(); s.Start > 0 && !s.Ended {
		err = r.out.SaveLength(r.size())
	}
	s := r.out.Stream()
	_, herr := dumpfile.ReadHeader(r.out.StreamReader())
	switch {
	case s.Complete:
		return crashdir.Complete, s.Length, err
	case s.Length > 0 && herr == nil:
		return crashdir.Incomplete, s.Length, err
	case r.out.Has(crashdir.Dmesg):
		return crashdir.DmesgOnly, 0, err
	}
	return crashdir.Failed, 0, err
}

func (r *raw) close() error {
	r.endStream()
	err := r.out.Finish()
	if serr := r.dev.Sync(); err == nil {
		err = serr
	}
	if cerr := r.dev.Close(); err == nil {
		err = cerr
	}
	return err
}

package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
)

// encryption is the part of plan.Remote that the worker needs. Its types are those of
// decoded JSON, so that kdumpinit does not link package netplan.
func (w *worker) encryption() (vmcore, report bool) {
	m, _ := w.plan.Remote.(map[string]any)
	list, _ := m["recipients"].([]any)
	all, _ := m["encrypt_report"].(bool)
	return len(list) > 0, all
}

// sealPlace makes place encrypt if the plan says so. Servers encrypt by themselves.
func (w *worker) sealPlace() {
	vmcore, report := w.encryption()
	if w.sealed = vmcore; !vmcore {
		return
	}
	switch p := w.place.(type) {
	case *directory:
		p.suffix = crashdir.Sealed
		w.place = &sealedDirectory{directory: p, report: report}
	case *raw:
		w.place = &sealedRaw{raw: p, w: w, report: report}
	}
}

// redacted returns the report without any text that may come from the memory or the log of
// the crashed kernel, encoded. Its release, the time of the crash and the token of a test
// stay: without them the machine could not announce the crash.
func (w *worker) redacted() ([]byte, error) {
	r := *w.report
	r.Panic = crashdir.Panic{}
	r.Warnings, r.Errors = nil, nil
	r.Attempts = slices.Clone(r.Attempts)
	for i := range r.Attempts {
		a := &r.Attempts[i]
		a.Stderr = "" // makedumpfile shows symbols and addresses
		if a.Error != "" {
			a.Error = redactedText
		}
	}
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Error != "" {
			s.Error = redactedText
		}
	}
	return r.Encode()
}

// redactedText replaces an error in a report that is not encrypted.
const redactedText = "encrypted"

// sealing is a running RoleSeal.
type sealing struct {
	c      *courier
	in     *os.File // write end of its standard input
	file   *os.File // its output
	err    error
	broken int  // how often the child died
	stuck  bool // a child could not be killed and may still write
}

// errStuck is the error of a place to which a stuck child may still write.
var errStuck = errors.New("the encryption is stuck in the kernel")

// prepare ends the last child. Nothing may write beside one that is stuck.
func (s *sealing) prepare() error {
	s.end()
	if s.stuck {
		s.err = errStuck
		return s.err
	}
	return nil
}

// start starts the child with an output, which it closes in the end.
func (s *sealing) start(w *worker, sink *os.File) error {
	c, in, err := w.startFed([]string{RoleSeal, "stream"}, sink)
	if err != nil {
		return err
	}
	*s = sealing{c: c, in: in, file: sink, broken: s.broken}
	return nil
}

// end ends the child of an attempt that failed.
func (s *sealing) end() {
	for _, f := range []*os.File{s.in, s.file} {
		if f != nil {
			f.Close()
		}
	}
	s.in, s.file = nil, nil
	if s.c != nil {
		s.c.close()
		s.stuck = s.stuck || !s.c.p.ended
		s.c = nil
	}
}

// lost returns the error of the child.
func (s *sealing) lost() error {
	if s.err == nil && s.c != nil {
		if _, ended := s.c.pump(); ended {
			s.err = s.c.err()
		}
	}
	return s.err
}

// finish ends the stream and returns the size and the checksum of the output by the
// child, after the child has verified the dump inside.
func (s *sealing) finish(w *worker) (size int64, crc uint32, err error) {
	if s.c == nil {
		s.err = errGone
		return 0, 0, s.err
	}
	s.in.Close()
	s.in = nil
	if s.err = s.c.finish(seconds(w.plan.Deadlines.Stall)); s.err != nil {
		return 0, 0, s.err
	}
	w.report.SHA256 = s.c.sum
	return s.c.moved, s.c.crc, nil
}

// sealAgain reports whether the collector of attempt a is to be run again, because the
// child died or old dumps could make room. It forgets an error after which the next
// collector may do better.
func (w *worker) sealAgain(s *sealing, a *crashdir.Attempt) bool {
	if s.lost() == nil && s.c != nil && full(s.in) { // the collector waited for it
		s.err = s.c.stop("the encryption takes no more")
	}
	err := s.lost()
	switch {
	case err == nil || s.stuck || s.c != nil && !s.c.p.ended:
		return false
	case errors.Is(err, errBroken):
		if s.broken++; s.broken > maxBroken {
			return false
		}
		s.err = nil
		return true
	case w.full(a) && w.state.Collector > 0 && w.roomFor(a, &w.plan.Collectors[w.state.Collector-1]):
		s.err = nil
		return true
	case errors.Is(err, errStream) || w.directory() != nil && w.state.Target+1 >= len(w.plan.Targets):
		s.err = nil
	}
	return false
}

// sealTo has a child encrypt a small file to sink.
func (w *worker) sealTo(sink *os.File, write func(io.Writer) error) error {
	_, err := w.runCourier([]string{RoleSeal, "file"}, seconds(w.plan.Deadlines.Finish), sink, write)
	return err
}

// writeRedacted writes the report without anything secret.
func (w *worker) writeRedacted(p place) error {
	b, err := w.redacted()
	if err != nil {
		return err
	}
	return p.writeFile(crashdir.ReportFile, func(out io.Writer) error {
		_, err := out.Write(b)
		return err
	})
}

// sealedDirectory is a directory with encrypted files.
type sealedDirectory struct {
	*directory
	report bool // log and report are encrypted, too
	s      sealing
}

func (d *sealedDirectory) whole() bool {
	return fileExists(filepath.Join(d.dir, crashdir.Vmcore+crashdir.Sealed))
}

func (d *sealedDirectory) writeFile(name string, write func(io.Writer) error) error {
	if !d.report {
		return d.directory.writeFile(name, write)
	}
	err := d.sealFile(name+crashdir.Sealed, write)
	if name == crashdir.ReportFile {
		err = errors.Join(err, d.w.writeRedacted(d.directory))
	}
	return err
}

// sealFile writes an age file as crashdir.WriteFile writes others.
func (d *sealedDirectory) sealFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(filepath.Join(d.dir, name+crashdir.Suffix), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = d.w.sealTo(f, write) // the child ends the beginning of a file well, too
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return crashdir.Commit(d.dir, name)
}

func (d *sealedDirectory) begin(c *plan.Collector, _ int, _ bool) ([]string, *os.File, error) {
	if err := d.s.prepare(); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(d.output(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := d.s.start(d.w, f); err != nil {
		f.Close()
		return nil, nil, err
	}
	return c.Stream, d.s.in, nil
}

func (d *sealedDirectory) size() int64 {
	if d.s.c != nil {
		d.s.c.pump()
	}
	return d.directory.size()
}

func (d *sealedDirectory) keeps() bool { return false }
func (d *sealedDirectory) lost() error { return d.s.lost() }

// verify checks that the disk has the bytes which the child wrote. The child has verified
// the dump inside, which nobody can read any more.
func (d *sealedDirectory) verify(_ dumpfile.Memory, progress func()) error {
	defer d.s.end()
	size, crc, err := d.s.finish(d.w)
	if err != nil {
		return err
	}
	f := d.s.file
	if err := f.Sync(); err != nil {
		d.s.err = err
		return err
	}
	progress()
	// The next reads come from the disk, not from the cache.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return os.NewSyscallError("fadvise", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != size {
		return fmt.Errorf("the file has %d bytes, %d were written", fi.Size(), size)
	}
	got, err := rawdump.Checksum(io.NewSectionReader(f, 0, size), progress)
	if err != nil {
		return err
	}
	if got != crc {
		return errors.New("the file on disk is not the one that was written")
	}
	return crashdir.Commit(d.dir, crashdir.Vmcore+crashdir.Sealed)
}

func (d *sealedDirectory) settle() (crashdir.Outcome, int64, error) {
	d.s.end()
	return d.directory.settle() // no attempt has kept the output of another
}

func (d *sealedDirectory) close() error {
	d.s.end()
	return d.directory.close()
}

// sealedRaw is a raw device with an encrypted stream.
type sealedRaw struct {
	*raw
	w      *worker
	report bool
	s      sealing
}

// writeFile encrypts into memory first: the device has a place for each file, and the log of a
// kernel is small. Of a secret report the device gets the part that is not.
func (r *sealedRaw) writeFile(name string, write func(io.Writer) error) error {
	switch {
	case !r.report:
		return r.raw.writeFile(name, write)
	case name == crashdir.ReportFile:
		return r.w.writeRedacted(r.raw)
	}
	f, err := os.OpenFile(sealedTemp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(sealedTemp)
	defer f.Close()
	serr := r.w.sealTo(f, write)
	return r.raw.writeFile(name, func(out io.Writer) error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(out, f); err != nil {
			return err
		}
		return serr // the beginning of a log is better than none
	})
}

// sealedTemp is a file in memory.
var sealedTemp = "/run/ukdump/sealed"

func (r *sealedRaw) begin(c *plan.Collector, nth int, resume bool) ([]string, *os.File, error) {
	if err := r.s.prepare(); err != nil {
		return nil, nil, err
	}
	_, sink, err := r.raw.begin(c, nth, resume)
	if err != nil {
		return nil, nil, err
	}
	if err := r.s.start(r.w, sink); err != nil {
		r.endStream()
		return nil, nil, err
	}
	r.s.file = nil // raw closes it
	return c.Stream, r.s.in, nil
}

// size returns the bytes on the device.
func (r *sealedRaw) size() int64 {
	if r.s.c != nil {
		r.s.c.pump()
	}
	return r.raw.size()
}

func (r *sealedRaw) taken() int64 { return r.size() }

func (r *sealedRaw) lost() error {
	if err := r.raw.lost(); err != nil {
		return err
	}
	return r.s.lost()
}

// verify checks that the device has the bytes which the child wrote.
func (r *sealedRaw) verify(_ dumpfile.Memory, progress func()) error {
	defer r.s.end()
	size, crc, err := r.s.finish(r.w)
	if err != nil {
		return err
	}
	if got := r.raw.size(); got != size {
		return fmt.Errorf("the device has %d bytes, %d were written", got, size)
	}
	if err := r.out.EndStream(size, false, progress); err != nil { // which reads it back
		r.err = err
		return err
	}
	if r.out.Stream().Checksum() != crc {
		return errors.New("the stream on the device is not the one that was written")
	}
	return r.out.EndStream(size, true, progress)
}

func (r *sealedRaw) settle() (crashdir.Outcome, int64, error) {
	r.s.end()
	s := r.out.Stream()
	if s.Complete {
		return crashdir.Complete, s.Length, nil
	}
	outcome, size, err := r.raw.settle()
	if s = r.out.Stream(); s.Length > 0 {
		return crashdir.Incomplete, s.Length, err
	}
	return outcome, size, err
}

func (r *sealedRaw) close() error {
	r.s.end()
	return r.raw.close()
}

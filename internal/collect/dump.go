package collect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/host"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
	"ukdump/internal/seal"
	"ukdump/internal/target"
	"ukdump/internal/unseal"
)

// collectReserve is the space left free beside a dump, in bytes, for the reports
// and the file system itself.
const collectReserve = 4 << 20

// dumpRun is the way of one dump from its device to a directory. It can end
// at any point and be begun again: the directory is known by its report, and the
// device keeps the dump until all of it is durable elsewhere.
type dumpRun struct {
	run    *Run
	dev    host.RawDevice
	f      *os.File // the device, for this process alone
	dump   *rawdump.Dump
	parent string           // where dumps go
	dir    *crashdir.Folder // of this one, nil until there is one
	vmcore string           // name of the vmcore: that of an encrypted one if the stream is that

	report  *crashdir.Report
	cut     error // why the stream is not whole, nil if it is
	keep    error // why the device must keep its dump, nil if it need not
	warning []string
}

func (k *dumpRun) collect() error {
	defer func() {
		if k.dir != nil {
			k.dir.Close()
		}
	}()
	k.nameVmcore()
	for _, step := range []func() error{
		k.readReport, k.findDir, k.checkSpace, k.makeDir, k.writeInterim, k.writeLogs, k.writeVmcore, k.verify, k.writeFinal, k.giveBack,
	} {
		if k.run.Step != nil {
			if err := k.run.Step(); err != nil {
				return err
			}
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// nameVmcore looks at the beginning of the stream. An encrypted one is saved as it is.
func (k *dumpRun) nameVmcore() {
	k.vmcore = crashdir.Vmcore
	begin := make([]byte, len(seal.Magic))
	n, _ := io.ReadFull(k.dump.OpenStream(), begin) // writeVmcore reports the error
	if string(begin[:n]) == seal.Magic {
		k.vmcore += crashdir.Sealed
	}
}

// nameOf returns the name for a file beside the vmcore, which may be encrypted, too.
func (k *dumpRun) nameOf(file string) string {
	var b beginning
	k.dump.CopyFile(&b, file) // the error comes again when all of it is copied
	if string(b) == seal.Magic {
		return file + crashdir.Sealed
	}
	return file
}

// beginning keeps as many bytes as the magic of an encrypted file has.
type beginning []byte

// Write implements io.Writer. It fails when it has enough.
func (b *beginning) Write(p []byte) (int, error) {
	n := min(len(p), len(seal.Magic)-len(*b))
	*b = append(*b, p[:n]...)
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func (k *dumpRun) sealed() bool { return k.vmcore != crashdir.Vmcore }

// key tells this dump from others of the same crash.
func (k *dumpRun) key() string {
	return fmt.Sprintf("%x", k.dump.Header.Created.UnixNano())
}

// readReport takes the report that the capture wrote, or makes one of the
// header. It is the same each time that collecting begins again.
func (k *dumpRun) readReport() error {
	h := &k.dump.Header
	var b bytes.Buffer // no longer than a report may be
	err := k.dump.CopyFile(&b, crashdir.ReportFile)
	if err == nil {
		k.report, err = crashdir.ParseReport(b.Bytes())
	}
	if err != nil {
		k.report = &crashdir.Report{
			Version: crashdir.ReportVersion, Software: plan.Software, Host: h.Host, Machine: h.MachineID,
			Capture: h.Kernel, Started: h.Started,
		}
		k.problem("read the report of the capture: %v", err)
	}
	k.report.ID, k.report.Raw = h.ID, k.key()
	if t := &k.report.Target; t.Device == "" {
		*t = crashdir.Target{Dir: target.RawName(k.dev.Name), Device: k.dev.Name, FSType: h.Held.Type, UUID: h.Held.UUID}
	}
	if !k.dump.Finished {
		k.report.Errors = append(k.report.Errors, "the capture did not finish")
	}
	return nil
}

// problem notes a fault of the dump, for the report and for the person.
func (k *dumpRun) problem(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	k.report.Errors = append(k.report.Errors, "collect: "+text)
	k.warning = append(k.warning, text)
}

// findDir looks for the directory of an earlier run that did not come to its end.
func (k *dumpRun) findDir() error {
	if err := crashdir.CheckParent(k.parent); err != nil {
		return err
	}
	dumps, err := crashdir.List(k.parent)
	if err != nil {
		return err
	}
	for _, d := range dumps {
		if d.Report == nil || d.Report.ID != k.report.ID || d.Report.Raw != k.report.Raw {
			continue
		}
		if k.dir, err = crashdir.OpenFolder(d); err != nil {
			return err
		}
		return nil
	}
	return nil
}

// checkSpace makes sure that the dump fits before anything is written.
func (k *dumpRun) checkSpace() error {
	if err := os.MkdirAll(k.parent, 0o700); err != nil {
		return err
	}
	room, err := crashdir.RoomIn(k.parent)
	if err != nil {
		return fmt.Errorf("statfs %s: %w", k.parent, err)
	}
	free := room.Free
	if k.dir != nil {
		free += k.replaced()
	}
	if k.size() > free {
		return k.noSpace(free)
	}
	return k.fits(room.Largest)
}

// replaced returns the bytes on disk of the vmcore of an earlier run, which will be
// replaced.
func (k *dumpRun) replaced() int64 {
	for _, name := range []string{k.vmcore, k.vmcore + crashdir.Suffix} {
		if st, err := k.dir.Stat(name); err == nil {
			return st.Blocks * 512 // for any block size, inode(7)
		}
	}
	return 0
}

// fits makes sure that the vmcore is no larger than most, the largest size of a file.
func (k *dumpRun) fits(most int64) error {
	if k.dump.Stream.Length > most {
		return advice.With(
			stays(fmt.Errorf("its vmcore has %s, but %s allows files up to %s", cli.Size(k.dump.Stream.Length), k.parent, cli.Size(most))),
			"Run kdumpctl collect again with --dir and a directory on another file system.")
	}
	return nil
}

// size returns the space that the dump needs, in bytes.
func (k *dumpRun) size() int64 {
	n := k.dump.Stream.Length + collectReserve
	for _, f := range k.dump.Files {
		n += f.Size
	}
	return n
}

func (k *dumpRun) makeDir() error {
	if k.dir != nil {
		return nil
	}
	k.removeEmpty()
	path, err := crashdir.Create(k.parent, k.dump.Header.Started)
	if err != nil {
		return err
	}
	d, err := crashdir.Read(path)
	if err != nil {
		return err
	}
	k.dir, err = crashdir.OpenFolder(d)
	return err
}

// removeEmpty removes the directory of an earlier run that ended before there was a
// report to know it by. It is still empty.
func (k *dumpRun) removeEmpty() {
	dumps, err := crashdir.List(k.parent)
	if err != nil {
		return // as Create will find out
	}
	for _, d := range dumps {
		if d.Name == crashdir.Name(k.dump.Header.Started) && d.Outcome == crashdir.Failed && d.Report == nil {
			crashdir.RemoveUnused(d)
		}
	}
}

// writeInterim writes a report that explains the directory if this run ends now.
func (k *dumpRun) writeInterim() error {
	r := *k.report
	r.Outcome = crashdir.Incomplete
	r.Errors = append(r.Errors[:len(r.Errors):len(r.Errors)], "collect: interrupted")
	return k.writeReport(&r)
}

func (k *dumpRun) writeReport(r *crashdir.Report) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	return k.written(k.dir.WriteFile(crashdir.ReportFile, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}))
}

// errPartial keeps the name of a file that is not whole.
var errPartial = errors.New("only its beginning was written")

// writeLogs copies the files beside the vmcore. One that is damaged keeps the
// name of a file that is not whole.
func (k *dumpRun) writeLogs() error {
	for _, file := range k.dump.Files {
		if file.Name == crashdir.ReportFile {
			continue
		}
		err := k.dir.WriteFile(k.nameOf(file.Name), func(w io.Writer) error {
			err := k.dump.CopyFile(w, file.Name)
			if err == nil && file.Partial {
				err = errPartial
			}
			return err
		})
		var damaged *rawdump.DamagedError
		switch {
		case errors.As(err, &damaged):
			k.problem("%v", err)
			if damaged.Err != nil {
				k.keep = err
			}
		case errors.Is(err, errPartial):
			k.problem("%s: %v", file.Name, err)
		case err != nil:
			return k.written(err)
		}
	}
	return nil
}

// writeVmcore rearranges the stream, as far as there is one. It copies an encrypted one.
func (k *dumpRun) writeVmcore() error {
	s := &k.dump.Stream
	if s.Length == 0 || k.proven() {
		return nil
	}
	name := k.vmcore + crashdir.Suffix
	f, err := k.dir.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	task := k.run.Out.Begin("copying the dump on %s", k.dev.Path)
	size, err := k.copyStream(f, &sharing{r: k.dump.OpenStream(), task: task, total: s.Length})
	task.End()
	var damaged *rawdump.DamagedError
	var flat *dumpfile.FlatError
	switch {
	case errors.As(err, &damaged):
		if k.cut = err; damaged.Err != nil { // it may be read another time
			k.keep = err
		}
	case errors.As(err, &flat):
		if k.cut = err; s.Complete { // the stream is as it was written, but not understood
			k.keep = err
		}
	case errors.Is(err, errTooLarge) || errors.Is(err, errFills):
		k.dir.Remove(name)
		return refused(err)
	case err != nil:
		k.dir.Remove(name) // the whole of it is on the device
		return k.written(err)
	}
	if k.cut != nil && s.Complete {
		k.problem("%v", k.cut)
	}
	if err := f.Sync(); err != nil {
		k.dir.Remove(name)
		return k.written(err)
	}
	if size == 0 {
		k.dir.Remove(name)
	}
	// All reads from here on come from the disk, not from the cache.
	return os.NewSyscallError("fadvise", unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// copyStream writes the dump in the stream r to f and returns its size in bytes.
func (k *dumpRun) copyStream(f *os.File, r io.Reader) (int64, error) {
	if k.sealed() {
		return io.Copy(f, r)
	}
	return dumpfile.Unflatten(k.bounded(f), r)
}

// sharing tells a task how much was read.
type sharing struct {
	r           io.Reader
	task        *cli.Task
	done, total int64
}

// Read implements io.Reader.
func (s *sharing) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.done += int64(n)
	s.task.Share(s.done, s.total)
	return n, err
}

// proven reports whether the vmcore has its final name, which it gets when it is
// known to be whole and on disk.
func (k *dumpRun) proven() bool {
	st, err := k.dir.Stat(k.vmcore)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// verify gives a vmcore its final name if the capture, the checksum and the file
// itself all say that it is whole.
func (k *dumpRun) verify() error {
	if !k.dump.Stream.Complete || k.cut != nil || k.proven() {
		return nil
	}
	if err := k.verifyFile(k.vmcore + crashdir.Suffix); err != nil {
		// The bytes are those of the capture, so the device has the original.
		k.keep = err
		k.problem("%v", err)
		return nil
	}
	return k.dir.Commit(k.vmcore)
}

// verifyFile reads back a vmcore. Of an encrypted one only the length can be verified; the
// checksum of the stream was, and the capture has verified the dump before its encryption.
func (k *dumpRun) verifyFile(name string) error {
	f, err := k.dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	task := k.run.Out.Begin("verifying %s", f.Name())
	defer task.End()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if k.sealed() {
		if _, err := unseal.Inspect(f, info.Size()); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		return nil
	}
	h, err := dumpfile.ReadHeader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if err := h.Verify(f, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// writeFinal writes the report of the files that are there now.
func (k *dumpRun) writeFinal() error {
	d, err := k.dir.Read()
	if err != nil {
		return err
	}
	k.report.Outcome, k.report.Vmcore = d.Outcome, 0
	if d.Vmcore != "" {
		st, err := k.dir.Stat(filepath.Base(d.Vmcore))
		if err != nil {
			return err
		}
		k.report.Vmcore = st.Size
	}
	return k.writeReport(k.report) // and makes all names in the directory durable
}

// giveBack ends the dump on the device, which is now the second one.
func (k *dumpRun) giveBack() error {
	d, err := k.dir.Read()
	if err != nil {
		return err
	}
	out := k.run.Out
	fmt.Fprintf(out.Stdout, "collected %s from %s: %s, %s\n", d.Path, k.dev.Path, d.Outcome, cli.Size(d.Size))
	for _, w := range k.warning {
		out.Warn(fmt.Sprintf("%s: %s", k.dev.Path, w))
	}
	if k.keep != nil {
		return left(k.keep)
	}
	return k.run.restore(k.f, k.dev)
}

// written adds to an error of writing how much space would be needed.
func (k *dumpRun) written(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	room, serr := crashdir.RoomIn(k.parent)
	if serr != nil {
		return err
	}
	return k.noSpace(room.Free)
}

// noSpace reports that the dump needs more than the free bytes of its directory.
func (k *dumpRun) noSpace(free int64) error {
	return advice.With(
		stays(fmt.Errorf("it needs %s in %s, where %s are free", cli.Size(k.size()), k.parent, cli.Size(free))),
		"Free some space there and run kdumpctl collect again, or name another directory with --dir.")
}

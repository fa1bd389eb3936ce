package evidence

import (
	"bytes"
	"errors"
	"io"
	"io/fs"

	"ukdump/internal/crashdir"
	"ukdump/internal/vmcore"
)

// In bytes: the parts of a log that are read. The panic is at its end, the release of
// the kernel at its beginning.
const (
	logHead = 16 << 10
	logTail = 256 << 10
)

// Reason is why a kernel crashed.
type Reason struct {
	crashdir.Panic
	Kernel string // its release
	File   string // the file of the dump that has the panic, "" for the report
	// Hidden is true if nothing is known and a file cannot be read that may tell.
	Hidden bool
	// Sealed is true if nothing is known and a file is encrypted that tells.
	Sealed bool
}

// OfDump returns why the kernel of a dump crashed, from the first file that tells: the
// report, the log of the crashed kernel, the log of the capture kernel; those first that
// are whole.
func OfDump(d *crashdir.Dump) Reason {
	var r Reason
	if d.Report != nil {
		r.Panic, r.Kernel = d.Report.Panic, d.Report.Kernel
	}
	hidden := errors.Is(d.ReportErr, fs.ErrPermission)
	for _, look := range []struct {
		file string
		read func(f io.ReaderAt, size int64) Reason
	}{
		{crashdir.Dmesg, ofLog}, {crashdir.Dmesg + crashdir.Suffix, ofLog},
		{crashdir.ReportFile + crashdir.Suffix, ofReport},
		{crashdir.CaptureLog, ofCaptureLog}, {crashdir.CaptureLog + crashdir.Suffix, ofCaptureLog},
	} {
		if r.Panic.Reason() != "" && r.Kernel != "" {
			break
		}
		found, err := readReason(d, look.file, look.read)
		hidden = hidden || errors.Is(err, fs.ErrPermission)
		if r.Kernel == "" {
			r.Kernel = found.Kernel
		}
		if r.Panic.Reason() == "" && found.Panic.Reason() != "" {
			r.Panic, r.File = found.Panic, look.file
		}
	}
	if r.Panic.Reason() == "" {
		r.Hidden, r.Sealed = hidden, has(d, crashdir.Dmesg+crashdir.Sealed) || has(d, crashdir.ReportFile+crashdir.Sealed)
	}
	return r
}

// has reports whether a dump has a file.
func has(d *crashdir.Dump, file string) bool {
	f, err := d.Open(file)
	return err == nil && f.Close() == nil
}

func readReason(d *crashdir.Dump, file string, read func(io.ReaderAt, int64) Reason) (r Reason, err error) {
	f, err := d.Open(file)
	if err != nil {
		return r, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return r, err
	}
	return read(f, info.Size()), nil
}

// part returns at most n bytes at an offset, fewer if they cannot be read.
func part(f io.ReaderAt, off, n int64) []byte {
	b := make([]byte, n)
	got, _ := f.ReadAt(b, max(off, 0))
	return b[:got]
}

func ofLog(f io.ReaderAt, size int64) Reason {
	p := vmcore.FindPanic(part(f, size-logTail, logTail))
	return Reason{
		Panic:  crashdir.Panic{Line: p.Line, Cause: p.Cause, IP: p.Instruction, Trace: p.Trace},
		Kernel: releaseIn(part(f, 0, logHead)),
	}
}

func ofCaptureLog(f io.ReaderAt, size int64) Reason {
	found := Parse(part(f, size-logTail, logTail))
	return Reason{Panic: found.Panic, Kernel: found.Kernel}
}

func ofReport(f io.ReaderAt, size int64) Reason {
	r, err := crashdir.ParseReport(part(f, 0, min(size, logTail)))
	if err != nil {
		return Reason{}
	}
	return Reason{Panic: r.Panic, Kernel: r.Kernel}
}

// releaseIn returns the release in the banner of a log, "" without one: linux_banner in
// init/version.c.
func releaseIn(log []byte) string {
	_, after, ok := bytes.Cut(log, []byte("Linux version "))
	if !ok {
		return ""
	}
	release, _, ok := bytes.Cut(after, []byte(" "))
	if !ok || len(release) > 64 || bytes.ContainsAny(release, "\n\t") { // __NEW_UTS_LEN of linux/utsname.h
		return ""
	}
	return string(release)
}

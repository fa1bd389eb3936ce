package vmcore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// WriteLog decodes the kernel log of the crashed kernel and writes it to w,
// oldest record first, in the format of dmesg(1): "[%5d.%06d] text", where a
// record of several lines has the time in front of each. Bytes that are neither
// printable ASCII nor a tab become \xNN, as vmcore-dmesg(8) writes them.
//
// It knows the lockless ring of Linux 5.10 and later (prb) and the records of
// 3.5 to 5.9 (log_buf). Of a damaged log it writes all records that it can decode, and
// returns an error with the place where it stopped or the records that it skipped.
func (f *File) WriteLog(w io.Writer) error {
	out := &logWriter{w: bufio.NewWriterSize(w, 16<<10)}
	var err error
	if prb, ok := f.Info.Symbol("prb"); ok {
		err = f.writeRing(out, prb)
	} else if _, ok := f.Info.Symbol("log_first_idx"); ok {
		err = f.writeRecords(out)
	} else {
		err = errors.New("VMCOREINFO has no known log buffer (prb or log_first_idx)")
	}
	if ferr := out.w.Flush(); ferr != nil {
		return fmt.Errorf("write kernel log: %w", ferr)
	}
	if err == nil && out.skipped > 0 {
		err = fmt.Errorf("%d damaged records, the first: %w", out.skipped, out.first)
	}
	if err != nil {
		return fmt.Errorf("decode kernel log: %w", err)
	}
	return nil
}

// logWriter formats records. Errors of the underlying writer stick in the
// bufio.Writer and come out of its Flush.
type logWriter struct {
	w       *bufio.Writer
	skipped int
	first   error // of the first of them
}

// record writes one record; ts is in nanoseconds since the kernel's start.
func (l *logWriter) record(ts uint64, text []byte) {
	for more := true; more; {
		var line []byte
		line, text, more = bytes.Cut(text, []byte("\n"))
		fmt.Fprintf(l.w, "[%5d.%06d] ", ts/1e9, ts%1e9/1e3)
		for _, c := range line {
			if c >= ' ' && c <= '~' || c == '\t' {
				l.w.WriteByte(c)
			} else {
				fmt.Fprintf(l.w, `\x%02x`, c)
			}
		}
		l.w.WriteByte('\n')
	}
}

// skip counts a damaged record.
func (l *logWriter) skip(err error) {
	if l.skipped == 0 {
		l.first = err
	}
	l.skipped++
}

// layout looks up structure sizes and field offsets in VMCOREINFO and keeps
// the first that is missing or absurd.
type layout struct {
	info Info
	err  error
}

// maxStruct bounds the structures of the log: the largest has about 100 bytes.
const maxStruct = 4096

func (l *layout) size(name string) int   { return l.checked("SIZE("+name+")", l.info.Size, name) }
func (l *layout) offset(name string) int { return l.checked("OFFSET("+name+")", l.info.Offset, name) }

func (l *layout) checked(key string, get func(string) (uint64, bool), name string) int {
	n, ok := get(name)
	switch {
	case l.err != nil:
	case !ok:
		l.err = fmt.Errorf("VMCOREINFO has no %s", key)
	case n > maxStruct:
		l.err = fmt.Errorf("VMCOREINFO has an impossible %s=%d", key, n)
	default:
		return int(n)
	}
	return 0
}

// within sets l.err if a field of n bytes at off does not fit size.
func (l *layout) within(name string, size, off, n int) {
	if l.err == nil && off+n > size {
		l.err = fmt.Errorf("VMCOREINFO puts a field at %d, beyond the end of %s with %d bytes", off, name, size)
	}
}

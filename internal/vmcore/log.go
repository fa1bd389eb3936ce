package vmcore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// Record is one record of a kernel log.
type Record struct {
	Time  uint64 // nanoseconds since the kernel's start
	Level int    // severity, see syslog(3); -1 if not known
	Text  []byte // one or several lines, valid until the function returns
}

// WriteLog decodes the kernel log of the crashed kernel and writes it to w,
// oldest record first, in the format of dmesg(1): "[%5d.%06d] text", where a
// record of several lines has the time in front of each. Bytes that are neither
// printable ASCII nor a tab become \xNN, as vmcore-dmesg(8) writes them.
//
// Of a damaged log it writes all records that it can decode, and returns an error with the
// place where it stopped or the records that it skipped.
func (f *File) WriteLog(w io.Writer) error {
	b := bufio.NewWriterSize(w, 16<<10)
	err := f.decodeLog(func(ts uint64, text, _ []byte) { writeRecord(b, ts, text) })
	if ferr := b.Flush(); ferr != nil { // errors of w stick in it
		return fmt.Errorf("write kernel log: %w", ferr)
	}
	return err
}

// Records decodes the kernel log of the crashed kernel and calls each for every record,
// oldest first. It knows the lockless ring of Linux 5.10 and later (prb) and the records of
// 3.5 to 5.9 (log_buf). The error is that of WriteLog.
func (f *File) Records(each func(Record)) error {
	level := f.levelOffset()
	return f.decodeLog(func(ts uint64, text, head []byte) {
		r := Record{Time: ts, Level: -1, Text: text}
		if level < uint64(len(head)) {
			r.Level = int(head[level] >> 5)
		}
		each(r)
	})
}

// levelOffset returns the offset of the byte with the severity in its upper three bits in
// the structure of a record. No kernel names it in VMCOREINFO, so it goes by its neighbour.
// PID 1 needs no severity and does not link this.
func (f *File) levelOffset() uint64 {
	if n, ok := f.Info.Offset("printk_info.caller_id"); ok {
		return n - 1 // u8 facility; u8 flags:5, level:3; u32 caller_id
	}
	for _, name := range []string{"printk_log", "log"} {
		if n, ok := f.Info.Offset(name + ".dict_len"); ok {
			return n + 3 // u16 dict_len; u8 facility; u8 flags:5, level:3
		}
	}
	return math.MaxUint64
}

// decodeLog calls each with the time, the text and the structure of every record.
func (f *File) decodeLog(each func(ts uint64, text, head []byte)) error {
	out := &logReader{each: each}
	var err error
	if prb, ok := f.Info.Symbol("prb"); ok {
		err = f.readRing(out, prb)
	} else if _, ok := f.Info.Symbol("log_first_idx"); ok {
		err = f.readRecords(out)
	} else {
		err = errors.New("VMCOREINFO has no known log buffer (prb or log_first_idx)")
	}
	if err == nil && out.skipped > 0 {
		err = fmt.Errorf("%d damaged records, the first: %w", out.skipped, out.first)
	}
	if err != nil {
		return fmt.Errorf("decode kernel log: %w", err)
	}
	return nil
}

// writeRecord writes the lines of a record.
func writeRecord(w *bufio.Writer, ts uint64, text []byte) {
	for more := true; more; {
		var line []byte
		line, text, more = bytes.Cut(text, []byte("\n"))
		fmt.Fprintf(w, "[%5d.%06d] ", ts/1e9, ts%1e9/1e3)
		for _, c := range line {
			if c >= ' ' && c <= '~' || c == '\t' {
				w.WriteByte(c)
			} else {
				fmt.Fprintf(w, `\x%02x`, c)
			}
		}
		w.WriteByte('\n')
	}
}

// logReader passes records on, and counts the damaged ones.
type logReader struct {
	each    func(ts uint64, text, head []byte)
	skipped int
	first   error // of the first of them
}

// skip counts a damaged record.
func (l *logReader) skip(err error) {
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

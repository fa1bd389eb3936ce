// Package kmsg reads the kernel log of a dump: from its memory, with the severity of each
// record, or from the text that was saved beside it.
package kmsg

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ukdump/internal/dump"
	"ukdump/internal/vmcore"
)

// Read decodes the log in the memory of a dump and calls each for every record, oldest
// first. Of a damaged log it passes on the records before the damage, and returns an error.
func Read(d *dump.Dump, each func(vmcore.Record)) error {
	f, err := vmcore.Open(newView(d, d.Machine()))
	if err != nil {
		return err
	}
	f.Info = d.Info()
	return f.Records(each)
}

// reader is the memory of a kernel, a *dump.Dump.
type reader interface {
	ReadVirt(p []byte, addr uint64) error
}

// view shows the upper part of the virtual address space, which is the kernel's, as an ELF
// core with one segment. So vmcore decodes the log of any dump, by the page tables in it.
type view struct {
	d    reader
	head []byte
}

// The layout of a view. The segment begins below the lowest address of a kernel: those of
// arm64 with 52 bits begin at 0xfff0000000000000, and of x86-64 with 57 at 0xff00000000000000.
const (
	viewFirst  = 0xff00000000000000 // virtual address
	viewOffset = 1 << 20
	viewSize   = 1<<56 - viewPage // not the last page, whose end overflows
	viewPage   = 4096
)

func newView(d reader, machine string) *view {
	const ehdrSize, phdrSize, etCore, emX86, emAarch64, ptLoad = 64, 56, 4, 62, 183, 1
	le := binary.LittleEndian
	b := make([]byte, ehdrSize+phdrSize)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], etCore)
	le.PutUint16(b[18:], emX86)
	if machine == "arm64" {
		le.PutUint16(b[18:], emAarch64)
	}
	le.PutUint64(b[32:], ehdrSize)
	le.PutUint16(b[54:], phdrSize)
	le.PutUint16(b[56:], 1)
	p := b[ehdrSize:]
	le.PutUint32(p, ptLoad)
	le.PutUint64(p[8:], viewOffset)
	le.PutUint64(p[16:], viewFirst)
	le.PutUint64(p[32:], viewSize)
	le.PutUint64(p[40:], viewSize)
	return &view{d, b}
}

// ReadAt implements io.ReaderAt. It ends at the first page that the dump lacks.
func (v *view) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(v.head)) {
		n = copy(p, v.head[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	if off < viewOffset || off-viewOffset > viewSize-int64(len(p)) {
		return 0, errors.New("outside of the kernel's addresses")
	}
	addr := viewFirst + uint64(off-viewOffset)
	for n < len(p) {
		m := min(len(p)-n, int(viewPage-(addr+uint64(n))%viewPage))
		if err := v.d.ReadVirt(p[n:n+m], addr+uint64(n)); err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// Escape returns a line of the log with control characters and the like as \xNN, as saved logs
// have them.
func Escape(line []byte) string {
	var b strings.Builder
	for _, c := range line {
		if c >= ' ' && c <= '~' || c == '\t' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// maxLine bounds a line of a saved log, in bytes. A record has at most 64 KiB of text.
const maxLine = 64 << 10

// ReadText reads a log that was saved as text, in the format of dmesg(1), and calls each for
// every line. A line without a time has that of the line before. The severities are not
// known. A longer line than a kernel writes comes in pieces.
func ReadText(r io.Reader, each func(vmcore.Record)) error {
	b := bufio.NewReaderSize(r, maxLine)
	rec := vmcore.Record{Level: -1}
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			text := strings.TrimSuffix(string(line), "\n")
			if t, rest, ok := cutTime(text); ok {
				rec.Time, text = t, rest
			}
			rec.Text = []byte(text)
			each(rec)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// cutTime takes the time off a line, "[    1.234567] text", in nanoseconds.
func cutTime(line string) (ns uint64, text string, ok bool) {
	inside, ok := strings.CutPrefix(line, "[")
	if !ok {
		return 0, line, false
	}
	stamp, text, ok := strings.Cut(inside, "] ")
	if !ok {
		if stamp, ok = strings.CutSuffix(inside, "]"); !ok {
			return 0, line, false
		}
		text = ""
	}
	sec, micro, ok := strings.Cut(strings.TrimLeft(stamp, " "), ".")
	s, serr := strconv.ParseUint(sec, 10, 34) // 2^64 ns are 2^34 s
	us, uerr := strconv.ParseUint(micro, 10, 64)
	if !ok || serr != nil || uerr != nil || len(micro) != 6 {
		return 0, line, false
	}
	return s*1e9 + us*1e3, text, true
}

package capture

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"

	"ukdump/internal/dumpfile"
)

const (
	copyBuffer = 256 << 10
	// copyPage is the unit that is omitted if it is all zeros or unreadable.
	copyPage = 4096
)

// leftOut is the end of the copy's message about lost pages, for a warning in the
// report.
const leftOut = "could not be read and were omitted"

// runCopy is the collector of the last resort: it copies /proc/vmcore except for pages
// of zeros, and needs no knowledge of the crashed kernel.
// Its arguments are the most bytes to write and, for an ELF file, the output;
// without an output it writes the flattened format to its standard output.
// It reports to standard error as makedumpfile does.
func runCopy(_ mode, args []string) int {
	if len(args) < 1 || len(args) > 2 {
		return 2
	}
	limit, err := strconv.ParseInt(args[0], 10, 64)
	if err == nil {
		err = copyVmcore(vmcorePath, args[1:], limit)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "copy: %v\n", err)
		return 1
	}
	return 0
}

func copyVmcore(path string, output []string, limit int64) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	c := &copier{in: in, size: fi.Size(), left: limit, say: os.Stderr}
	if len(output) == 0 {
		return c.stream(os.Stdout)
	}
	return c.file(output[0])
}

// copier copies a vmcore, page by page.
type copier struct {
	in      io.ReaderAt
	size    int64 // bytes of the vmcore
	out     io.WriterAt
	left    int64 // bytes that may still be written
	skipped int64 // pages that could not be read
	shown   int64 // tenths of a per cent
	say     io.Writer
}

// file copies to a file with holes. It continues the output of an earlier run.
func (c *copier) file(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	from := min(fi.Size(), c.size) / copyPage * copyPage
	if from > 0 && !c.same(f) {
		from = 0
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	if from > 0 {
		fmt.Fprintf(c.say, "copy: continuing at byte %d\n", from)
	}
	c.out = f
	if err := c.copy(from); err != nil {
		return err
	}
	if err := f.Truncate(c.size); err != nil { // the hole at the end, if any
		return err
	}
	return f.Close()
}

// same reports whether f begins with the headers of the vmcore.
func (c *copier) same(f io.ReaderAt) bool {
	var a, b [copyPage]byte
	n, _ := c.in.ReadAt(a[:], 0)
	m, _ := f.ReadAt(b[:], 0)
	return n == m && a == b
}

// stream copies to a stream in the flattened format.
func (c *copier) stream(w io.Writer) error {
	// One write for a record's header and its data.
	b := bufio.NewWriterSize(w, copyBuffer+64)
	f, err := dumpfile.NewFlatWriter(b)
	if err != nil {
		return err
	}
	c.out = f
	if err := c.copy(0); err != nil {
		return err
	}
	// The size of the dump, should it end with zeros.
	var last [1]byte
	if n, err := c.in.ReadAt(last[:], c.size-1); n == 1 && err == nil || err == io.EOF {
		if _, err := f.WriteAt(last[:n], c.size-1); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return b.Flush()
}

// copy copies the vmcore from offset at to the end.
func (c *copier) copy(at int64) error {
	buf := make([]byte, copyBuffer)
	for at < c.size {
		b := buf[:min(int64(len(buf)), c.size-at)]
		c.read(b, at)
		if err := c.write(b, at); err != nil {
			return err
		}
		at += int64(len(b))
		if p := 1000 * (at >> 10) / max(c.size>>10, 1); p != c.shown {
			c.shown = p
			fmt.Fprintf(c.say, "\rCopying data : [%d.%d %%]", p/10, p%10)
		}
	}
	fmt.Fprintln(c.say)
	if c.skipped > 0 {
		fmt.Fprintf(c.say, "copy: %d pages %s\n", c.skipped, leftOut)
	}
	return nil
}

// read fills b. Broken memory costs one page, not the dump.
func (c *copier) read(b []byte, at int64) {
	if n, _ := c.in.ReadAt(b, at); n == len(b) {
		return
	}
	for i := 0; i < len(b); i += copyPage {
		page := b[i:min(i+copyPage, len(b))]
		if n, _ := c.in.ReadAt(page, at+int64(i)); n < len(page) {
			clear(page)
			c.skipped++
		}
	}
}

// write writes the runs of pages in b that are not zero.
func (c *copier) write(b []byte, at int64) error {
	for start := 0; start < len(b); {
		end := start
		for end < len(b) && !isZero(b[end:min(end+copyPage, len(b))]) {
			end = min(end+copyPage, len(b))
		}
		if end > start {
			run := b[start:end]
			if c.left -= int64(len(run)); c.left < 0 {
				return fmt.Errorf("no room at byte %d of %d", at+int64(start), c.size)
			}
			if _, err := c.out.WriteAt(run, at+int64(start)); err != nil {
				return err
			}
		}
		start = end + copyPage
	}
	return nil
}

var zeros [copyPage]byte

func isZero(page []byte) bool { return bytes.Equal(page, zeros[:len(page)]) }

package vmcore

import "fmt"

// readRecords reads the log of Linux 3.5 to 5.9: log_buf is an array of bytes
// that holds records of varying length, each a struct printk_log (struct log
// until 3.10), its text and its dictionary. A record never crosses the end of
// the array; a length of 0 sends the reader back to its beginning. The oldest is
// at log_first_idx, the next one would be written to log_next_idx
// (kernel/printk/printk.c of those releases).
func (f *File) readRecords(out *logReader) error {
	name := "printk_log"
	if _, ok := f.Info.Size(name); !ok {
		name = "log"
	}
	l := layout{info: f.Info}
	size := l.size(name)
	ts := l.offset(name + ".ts_nsec")
	length := l.offset(name + ".len")
	textLen := l.offset(name + ".text_len")
	l.within(name, size, ts, 8)
	l.within(name, size, max(length, textLen), 2)
	if l.err != nil {
		return l.err
	}

	b, err := f.openRecords()
	if err != nil {
		return err
	}
	buf, bufLen, first, next := b.at, b.size, b.first, b.next

	// len and text_len have 16 bits, so a header and its text always fit.
	w := window{f: f, buf: make([]byte, 64<<10+maxStruct)}
	wrapped := false
	for idx := first; idx != next; {
		if uint64(idx)+uint64(size) > uint64(bufLen) {
			return fmt.Errorf("stopped at index %d: a record there crosses the end at %d", idx, bufLen)
		}
		h, err := w.at(buf+uint64(idx), size)
		if err != nil {
			return fmt.Errorf("stopped at index %d: %w", idx, err)
		}
		n, text := uint32(le.Uint16(h[length:])), uint32(le.Uint16(h[textLen:]))
		time := le.Uint64(h[ts:])
		if n == 0 {
			if wrapped {
				return fmt.Errorf("stopped at index %d: the end of the buffer again", idx)
			}
			wrapped, idx = true, 0
			continue
		}
		end := idx + n
		if n < uint32(size)+text || end > bufLen || wrapped && end > next || !wrapped && idx < next && end > next {
			return fmt.Errorf("stopped at index %d: impossible record of %d bytes with %d of text", idx, n, text)
		}
		b, err := w.at(buf+uint64(idx), size+int(text))
		if err != nil {
			return fmt.Errorf("stopped at index %d: %w", idx, err)
		}
		out.each(time, b[size:], b[:size])
		idx = end
	}
	return nil
}

// recordBuffer is the array of the records.
type recordBuffer struct {
	at                uint64 // virtual address
	size, first, next uint32 // in bytes
}

// openRecords finds the array of the records.
func (f *File) openRecords() (recordBuffer, error) {
	var b recordBuffer
	for _, x := range []struct {
		symbol string
		half   *uint32
		word   *uint64
	}{
		{"log_buf", nil, &b.at},
		{"log_buf_len", &b.size, nil},
		{"log_first_idx", &b.first, nil},
		{"log_next_idx", &b.next, nil},
	} {
		at, ok := f.Info.Symbol(x.symbol)
		if !ok {
			return b, fmt.Errorf("VMCOREINFO has no SYMBOL(%s)", x.symbol)
		}
		var err error
		if x.half != nil {
			*x.half, err = f.half(at)
		} else {
			*x.word, err = f.word(at)
		}
		if err != nil {
			return b, fmt.Errorf("%s: %w", x.symbol, err)
		}
	}
	if b.size > 1<<maxTextBits || b.first >= b.size || b.next > b.size {
		return b, fmt.Errorf("log buffer is damaged: %d bytes, oldest record at %d, next at %d", b.size, b.first, b.next)
	}
	return b, nil
}

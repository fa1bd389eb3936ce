package rawdump

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Writer writes a dump to a device. All of its state is on the device, so another
// process can continue where one was killed. No error damages data that was reported
// as written before.
type Writer struct {
	dev   Device
	head  Header
	state state
}

// Create begins a dump on a device of size bytes. The header's Held is the content of
// the device when it was chosen; Size and Created are set here. Create calls Check
// before it writes anything and returns its error.
//
// The header is written last. Until then the device has its own head.
func Create(dev Device, size int64, h Header) (*Writer, error) {
	if !validID(h.ID) {
		return nil, fmt.Errorf("%q cannot be the ID of a raw dump", h.ID)
	}
	var err error
	if h.Held, err = Check(dev, size, h.Held); err != nil {
		return nil, err
	}
	own := make([]byte, headSize)
	if err := readFull(dev, own, 0); err != nil {
		return nil, fmt.Errorf("read the head of the device: %w", err)
	}
	h.Size, h.Created, h.savedCRC = size, time.Now(), checksum(own)
	sum := h.encode()
	if h, err = decodeHeader(sum); err != nil { // as readers will see it
		return nil, err
	}
	w := &Writer{dev: dev, head: h}
	if _, err := dev.WriteAt(own, savedAt); err != nil {
		return nil, fmt.Errorf("save the head of the device: %w", err)
	}
	if err := w.writeState(state{stream: Stream{Limit: size}}); err != nil { // and syncs
		return nil, err
	}
	if _, err := dev.WriteAt(sum, 0); err != nil {
		return nil, fmt.Errorf("write the header: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return nil, fmt.Errorf("write the header: %w", err)
	}
	if err := w.clearHead(); err != nil {
		return nil, err
	}
	return w, nil
}

// Resume continues the dump of this ID on a device of size bytes. The error is ErrNone
// if the device has no dump, a *NotCollectedError if it has another one, ErrFinished
// if the dump is finished.
func Resume(dev Device, size int64, id string) (*Writer, error) {
	h, err := readHeader(dev, size)
	if err != nil {
		return nil, err
	}
	if h.ID != id {
		return nil, &NotCollectedError{h.ID}
	}
	w := &Writer{dev: dev, head: h}
	if w.state, err = readState(dev, &h); err != nil {
		return nil, err
	}
	if w.state.finished {
		return nil, ErrFinished
	}
	if err := w.clearHead(); err != nil {
		return nil, err
	}
	return w, nil
}

// clearHead clears the device's own head behind the sector of the header, such as the
// signature of a swap area. The copy has it.
func (w *Writer) clearHead() error {
	if err := writeSync(w.dev, make([]byte, headSize-sector), sector); err != nil {
		return fmt.Errorf("clear the head of the device: %w", err)
	}
	return nil
}

// writeSync makes b durable at an offset.
func writeSync(dev Device, b []byte, at int64) error {
	if _, err := dev.WriteAt(b, at); err != nil {
		return err
	}
	return dev.Sync()
}

// writeState makes s the state of the dump. Everything that was written to the
// device is durable before it.
func (w *Writer) writeState(s state) error {
	s.seq = w.state.seq + 1
	if err := w.dev.Sync(); err != nil {
		return fmt.Errorf("write the raw dump: %w", err)
	}
	if err := writeSync(w.dev, s.encode(w.head.ID), stateAt+int64(s.seq%2)*stateSize); err != nil {
		return fmt.Errorf("write the state of the raw dump: %w", err)
	}
	w.state = s
	return nil
}

// Header returns the header on the device.
func (w *Writer) Header() Header { return w.head }

// Has reports whether the whole of a file is on the device.
func (w *Writer) Has(name string) bool {
	i, err := fileIndex(name)
	return err == nil && w.state.files[i].at != 0 && !w.state.files[i].partial
}

// WriteFile writes one of the files of crashdir: Dmesg, ReportFile or CaptureLog. It
// is durable when WriteFile returns, and replaces an earlier one only then. write
// produces the content. If write fails, or the room is too small, WriteFile returns an
// error and keeps the beginning of a log, as part of a log is better than no log; but
// a part does not replace a whole one.
//
// Dmesg is limited only by the device. It is written before BeginStream, or behind the
// stream if that has ended and left room. While a stream is being written it is an
// error.
func (w *Writer) WriteFile(name string, write func(io.Writer) error) error {
	i, err := fileIndex(name)
	if err != nil {
		return err
	}
	at, limit, err := w.place(i)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	out := &fileWriter{dev: w.dev, at: at, limit: limit}
	err = write(out)
	if ferr := out.flush(); err == nil || out.err != nil {
		err = ferr
	}
	old := w.state.files[i]
	if err != nil && (i == report || out.written == 0 || old.at != 0 && !old.partial) {
		return fmt.Errorf("%s: %w", name, err)
	}
	s := w.state
	s.files[i] = file{at, out.written, out.crc, err != nil}
	if serr := w.writeState(s); err == nil {
		err = serr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// place returns the place for a file. It never overwrites the present file.
func (w *Writer) place(i int) (at, limit int64, err error) {
	if s := slots[i]; s != 0 {
		if w.state.files[i].at == s {
			s += FileLimit
		}
		return s, s + FileLimit, nil
	}
	at = w.filesEnd()
	if s := w.state.stream; s.Start != 0 {
		if !s.Ended {
			return 0, 0, errors.New("a stream is being written")
		}
		at = max(at, s.Start+s.Length)
	}
	return alignUp(at, fileAlign), w.head.Size, nil
}

// filesEnd is the offset behind the files.
func (w *Writer) filesEnd() int64 {
	f := w.state.files[dmesg]
	return max(areaAt, f.at+f.size)
}

// Stream returns the state of the stream; its Start is 0 before BeginStream.
func (w *Writer) Stream() Stream { return w.state.stream }

// StreamReader reads the durable part of the stream.
func (w *Writer) StreamReader() *io.SectionReader { return w.state.stream.reader(w.dev) }

// BeginStream returns where the flattened dump begins. Another process may write
// it through a descriptor that shares its offset; at Limit the device ends. An
// earlier stream is given up: Length is 0 again.
func (w *Writer) BeginStream() (Stream, error) {
	s := w.state
	s.stream = Stream{Start: alignUp(w.filesEnd(), streamAlign), Limit: w.head.Size}
	if s.stream.Start >= s.stream.Limit {
		return Stream{}, fmt.Errorf("no room for a dump behind its log: %w", syscall.ENOSPC)
	}
	if err := w.writeState(s); err != nil {
		return Stream{}, err
	}
	return s.stream, nil
}

// SaveLength makes the first n bytes of the stream durable: if nothing follows they
// are collected as an incomplete dump. n is cut at the end of the device. SaveLength
// waits until the page cache is written.
func (w *Writer) SaveLength(n int64) error {
	s := w.state
	if s.stream.Start == 0 || s.stream.Ended {
		return errors.New("no stream is being written")
	}
	s.stream.Length = s.stream.cut(n)
	return w.writeState(s)
}

// EndStream makes the n bytes of the stream durable, reads them back from the device,
// and records their length and checksum, and whether they are a whole dump. The caller
// knows that from the status of the process that wrote them; a stream longer than its
// limit is never complete. progress is called after each 256 KiB. Another call with
// other arguments corrects the first call; bytes that were read back are not read
// again.
func (w *Writer) EndStream(n int64, complete bool, progress func()) error {
	s := w.state
	if s.stream.Start == 0 {
		return errors.New("no stream is being written")
	}
	if length := s.stream.cut(n); !s.stream.Ended || s.stream.Length != length {
		// The length first: reading takes long, and may be the end of this process.
		s.stream.Length, s.stream.Ended, s.stream.Complete = length, false, false
		if err := w.writeState(s); err != nil { // and syncs
			return err
		}
		progress()
		// Reads from here on come from the disk, not from the cache.
		if f, ok := w.dev.(interface{ Fd() uintptr }); ok {
			if err := unix.Fadvise(int(f.Fd()), s.stream.Start, s.stream.Length, unix.FADV_DONTNEED); err != nil {
				return fmt.Errorf("fadvise: %w", err)
			}
		}
		var err error
		if s.stream.crc, err = Checksum(s.stream.reader(w.dev), progress); err != nil {
			return fmt.Errorf("read the stream back: %w", err)
		}
	}
	s.stream.Ended, s.stream.Complete = true, complete && s.stream.Length == n
	return w.writeState(s)
}

// Finish ends the dump: nothing can be added.
func (w *Writer) Finish() error {
	s := w.state
	s.finished = true
	return w.writeState(s)
}

// Checksum returns the CRC-32C of a stream that has ended, as it was read back.
func (s Stream) Checksum() uint32 { return s.crc }

func (s *Stream) cut(n int64) int64 { return max(0, min(n, s.Limit-s.Start)) }

func (s *Stream) reader(dev io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(dev, s.Start, s.Length)
}

// Checksum returns the CRC-32C of all of r. It calls progress after each 256 KiB.
func Checksum(r *io.SectionReader, progress func()) (crc uint32, err error) {
	b := make([]byte, bufferSize)
	for off := int64(0); off < r.Size(); {
		part := b[:min(int64(len(b)), r.Size()-off)]
		if err := readFull(r, part, off); err != nil {
			return 0, err
		}
		crc = crc32.Update(crc, castagnoli, part)
		off += int64(len(part))
		progress()
	}
	return crc, nil
}

// fileWriter writes a file to its place in large pieces.
type fileWriter struct {
	dev       Device
	at, limit int64
	written   int64
	crc       uint32
	buf       []byte
	err       error
}

// Write implements io.Writer. The error is ENOSPC where the place ends.
func (f *fileWriter) Write(p []byte) (n int, err error) {
	if f.buf == nil {
		f.buf = make([]byte, 0, bufferSize)
	}
	for f.err == nil && n < len(p) {
		part := p[n:min(len(p), n+cap(f.buf)-len(f.buf))]
		f.buf = append(f.buf, part...)
		n += len(part)
		if len(f.buf) == cap(f.buf) {
			f.flush()
		}
	}
	return n, f.err
}

func (f *fileWriter) flush() error {
	b := f.buf
	f.buf = f.buf[:0]
	full := false
	if room := f.limit - f.at - f.written; int64(len(b)) > room {
		b, full = b[:max(room, 0)], true
	}
	if f.err != nil {
		return f.err
	}
	if len(b) > 0 {
		n, err := f.dev.WriteAt(b, f.at+f.written)
		f.crc = crc32.Update(f.crc, castagnoli, b[:n])
		f.written += int64(n)
		if err != nil {
			f.err = err
			return err
		}
	}
	if full {
		f.err = fmt.Errorf("larger than %d bytes, the room for it: %w", f.limit-f.at, syscall.ENOSPC)
	}
	return f.err
}

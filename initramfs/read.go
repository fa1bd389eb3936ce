package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// DefaultMaxUnpacked is the default limit of a Reader in unpacked bytes.
	DefaultMaxUnpacked = 2 << 30
	// maxEntries bounds what List keeps in memory. Distributions' largest
	// images hold some ten thousand files.
	maxEntries = 1 << 20
)

// ErrNotFound is the error of ReadFile for a file that the image does not hold.
var ErrNotFound = errors.New("no such file in the image")

// FormatError reports a file that is not an initramfs, or an initramfs in a format
// that this package cannot read.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "not an initramfs: " + e.Reason }

// CorruptError reports damage in a file that looks like an initramfs.
type CorruptError struct {
	Offset int64       // bytes from the beginning of the file, or of the unpacked data
	Within Compression // compression of the damaged data; None for the file itself
	Err    error
}

func (e *CorruptError) Error() string {
	where := fmt.Sprintf("offset %d", e.Offset)
	if e.Within != None {
		where += " of the unpacked " + string(e.Within) + " data"
	}
	return fmt.Sprintf("corrupt initramfs: %s: %v", where, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Reader reads the entries of an initramfs image one after the other, as the kernel
// would unpack them: any number of cpio archives, each of them plain or compressed,
// with zero bytes in between. The memory that it needs is bounded for any image. Every
// hard link is an entry of its own; only the last of them holds the content.
type Reader struct {
	// MaxUnpacked is the limit in bytes for all unpacked data together, against
	// small files that unpack to huge ones. It can be changed before the first
	// call of Next.
	MaxUnpacked int64

	file   io.Closer     // opened by OpenFile
	packed *bufio.Reader // the image
	raw    *offsetReader // counts the bytes that packed has read; offset() subtracts its buffer

	cur         *bufio.Reader // the segment being read: packed, or unpacked data
	curPos      *offsetReader // position in unpacked data; nil when cur is packed
	compression Compression
	body, pad   int64 // bytes of the current entry that were not read yet
	segments    int
	inArchive   bool // after the first header of a cpio archive, before its trailer
	unpacked    int64
	err         error
}

// offsetReader counts the bytes read through it and keeps the first error.
type offsetReader struct {
	r   io.Reader
	n   int64
	err error
}

func (o *offsetReader) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	o.n += int64(n)
	if err != nil && err != io.EOF {
		o.err = err
	}
	return n, err
}

// Open returns a Reader for the image that r delivers. Errors come from Next.
func Open(r io.Reader) *Reader {
	raw := &offsetReader{r: r}
	packed := bufio.NewReaderSize(raw, 64<<10)
	return &Reader{
		MaxUnpacked: DefaultMaxUnpacked,
		packed:      packed, raw: raw, cur: packed, compression: None,
	}
}

// OpenFile returns a Reader for a regular file, to be closed after use.
func OpenFile(name string) (*Reader, error) {
	f, _, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	r := Open(f)
	r.file = f
	return r, nil
}

// Close closes the file that OpenFile opened.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// List reads the rest of the image and returns its entries in their order. A path that
// occurs twice is listed twice; the kernel keeps the later entry.
func (r *Reader) List() ([]Entry, error) {
	var list []Entry
	for {
		e, err := r.Next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if len(list) == maxEntries {
			return nil, fmt.Errorf("the image holds more than %d files", maxEntries)
		}
		list = append(list, e)
	}
}

// ReadFile reads the rest of the image and returns the content of the regular file
// with that path, of the last if there are several. The error is ErrNotFound if the
// image has no such file. A file of more than limit bytes is an error, too.
func (r *Reader) ReadFile(name string, limit int64) ([]byte, error) {
	name = cleanPath(name)
	var data []byte
	found := false
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if e.Path != name {
			continue
		}
		if !e.Mode.IsRegular() {
			found = false // it replaces an earlier file of that path
			continue
		}
		if e.Size > limit {
			return nil, fmt.Errorf("%s has %d bytes, the limit is %d", name, e.Size, limit)
		}
		if data, err = io.ReadAll(r); err != nil {
			return nil, err
		}
		found = true
	}
	if !found {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return data, nil
}

// Next skips to the next entry and returns it, io.EOF after the last one, a
// *FormatError if this is no initramfs, a *CorruptError if it is damaged, or
// the error of the underlying reader.
func (r *Reader) Next() (Entry, error) {
	if r.err != nil {
		return Entry{}, r.err
	}
	e, err := r.next()
	if err != nil {
		r.err = err
	}
	return e, err
}

// Read reads the content of the regular file that Next returned last.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.body == 0 {
		return 0, io.EOF
	}
	n, err := r.cur.Read(p[:min(int64(len(p)), r.body)])
	r.body -= int64(n)
	r.unpacked += int64(n)
	if err != nil {
		r.err = r.damage(err)
	} else {
		r.err = r.checkLimit()
	}
	return n, r.err
}

func (r *Reader) next() (Entry, error) {
	if err := r.skip(r.body + r.pad); err != nil {
		return Entry{}, err
	}
	r.body, r.pad = 0, 0
	for {
		if !r.inArchive {
			if err := r.startArchive(); err != nil {
				return Entry{}, err
			}
		}
		e, last, err := r.header()
		if err != nil {
			return Entry{}, err
		}
		if !last {
			return e, nil
		}
		r.inArchive = false
	}
}

// startArchive goes to the first header of the next cpio archive, over zero
// padding and into or out of compressed data. It returns io.EOF at the end.
func (r *Reader) startArchive() error {
	for {
		magic, err := r.skipZeros()
		inside := r.compression != None
		switch {
		case err == io.EOF && inside:
			r.cur, r.curPos, r.compression = r.packed, nil, None
			continue
		case err == io.EOF && r.segments > 0:
			return io.EOF
		case err == io.EOF && r.offset() == 0:
			return &FormatError{"the file is empty"}
		case err == io.EOF:
			return &FormatError{"nothing but zero bytes"}
		case err != nil:
			return r.damage(err)
		}
		if isNewc(magic) {
			if r.offset()%4 != 0 {
				return r.corrupt(errors.New("the cpio archive does not begin at a multiple of 4 bytes"))
			}
			r.inArchive = true
			r.segments++
			return nil
		}
		if inside {
			if r.segments == 0 {
				return &FormatError{fmt.Sprintf("%s data that holds no newc cpio archive", r.compression)}
			}
			return r.corrupt(errors.New("neither a cpio archive nor padding"))
		}
		c, err := detect(magic)
		if err != nil {
			if r.segments > 0 {
				return r.corrupt(err)
			}
			return &FormatError{err.Error()}
		}
		d, err := newDecompressor(r.packed, c)
		if err != nil {
			return r.damage(err)
		}
		r.curPos = &offsetReader{r: d}
		r.cur = bufio.NewReaderSize(r.curPos, 64<<10)
		r.compression = c
	}
}

// skipZeros goes over zero bytes and returns up to six bytes after them.
func (r *Reader) skipZeros() ([]byte, error) {
	for {
		b, err := r.cur.Peek(6)
		if len(b) == 0 || len(b) < 6 && err != io.EOF {
			return nil, err
		}
		if b[0] != 0 {
			return b, nil
		}
		b, _ = r.cur.Peek(r.cur.Buffered())
		zeros := len(b) - len(bytes.TrimLeft(b, "\x00"))
		if err := r.skip(int64(zeros)); err != nil {
			return nil, err
		}
	}
}

func (r *Reader) full(p []byte) error {
	n, err := io.ReadFull(r.cur, p)
	r.unpacked += int64(n)
	if err != nil {
		return r.damage(err)
	}
	return r.checkLimit()
}

func (r *Reader) skip(n int64) error {
	for n > 0 {
		k, err := r.cur.Discard(int(min(n, 64<<10)))
		n -= int64(k)
		r.unpacked += int64(k)
		if err != nil {
			return r.damage(err)
		}
		if err := r.checkLimit(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) checkLimit() error {
	if r.unpacked > r.MaxUnpacked {
		return fmt.Errorf("the image unpacks to more than %d bytes", r.MaxUnpacked)
	}
	return nil
}

// offset returns the position of the next byte to be parsed.
func (r *Reader) offset() int64 {
	if r.curPos != nil {
		return r.curPos.n - int64(r.cur.Buffered())
	}
	return r.raw.n - int64(r.packed.Buffered())
}

func (r *Reader) corrupt(err error) error {
	return &CorruptError{r.offset(), r.compression, err}
}

// damage turns a read error into an error about the image, unless the underlying
// reader failed.
func (r *Reader) damage(err error) error {
	if r.raw.err != nil {
		return r.raw.err
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the image ends too early")
		return &CorruptError{r.raw.n - int64(r.packed.Buffered()), None, err}
	}
	return r.corrupt(err)
}

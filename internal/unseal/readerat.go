package unseal

import (
	"fmt"
	"io"
	"sync"

	"filippo.io/age"
)

// Reader reads any part of the content of an age file. It may be used concurrently.
type Reader struct {
	size int64
	r    io.ReaderAt
	src  *sourceAt

	mu    sync.Mutex // for the fields below
	cache [cacheSize]chunk
	at    map[int64]int // number of a chunk to its place in cache
	clock uint64
}

// cacheSize is the number of chunks that are kept: 8 MiB. Readers of dumps go back and forth
// between bitmaps, page descriptors and pages.
const cacheSize = 128

// chunkSize is the size of the content of a chunk in bytes.
const chunkSize = 64 << 10

// chunk is the content of one chunk.
type chunk struct {
	number int64
	used   uint64 // time of the last use; 0 if the place is free
	data   []byte
}

// Open opens the age file in the size bytes of r. It decrypts the last chunk, so a truncated
// file is an error. The errors are those of Decrypt.
func Open(r io.ReaderAt, size int64, ids *Identities) (*Reader, error) {
	if info, err := Inspect(r, size); err != nil && info.Header == 0 {
		return nil, err
	}
	s := &sourceAt{r: r}
	plain, n, err := age.DecryptReaderAt(s, size, ids.list...)
	if failed := s.failed(); failed != nil {
		return nil, failed
	}
	if err == nil {
		return &Reader{size: n, r: plain, src: s, at: map[int64]int{}}, nil
	}
	// The library has one kind of error for the header and for the last chunk.
	if _, err := NewReader(io.NewSectionReader(r, 0, size), ids); err != nil {
		return nil, err
	}
	return nil, &DamagedError{Part: Last, Err: err}
}

// Size returns the size of the content in bytes.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at offset %d", off)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < len(p) {
		if off >= r.size {
			return n, io.EOF
		}
		data, err := r.chunk(off / chunkSize)
		if err != nil {
			return n, err
		}
		m := copy(p[n:], data[off%chunkSize:])
		n, off = n+m, off+int64(m)
	}
	return n, nil
}

// chunk returns the content of a chunk.
func (r *Reader) chunk(number int64) ([]byte, error) {
	r.clock++
	if i, ok := r.at[number]; ok {
		r.cache[i].used = r.clock
		return r.cache[i].data, nil
	}
	oldest := 0
	for i := range r.cache {
		if r.cache[i].used < r.cache[oldest].used {
			oldest = i
		}
	}
	c := &r.cache[oldest]
	if c.used != 0 {
		delete(r.at, c.number)
		c.used = 0
	}
	if c.data == nil {
		c.data = make([]byte, chunkSize)
	}
	off := number * chunkSize
	c.data = c.data[:min(chunkSize, r.size-off)]
	if n, err := r.r.ReadAt(c.data, off); n < len(c.data) {
		if failed := r.src.failed(); failed != nil {
			return nil, failed
		}
		return nil, &DamagedError{Part: Content, Good: off, Err: err}
	}
	c.number, c.used = number, r.clock
	r.at[number] = oldest
	return c.data, nil
}

// sourceAt keeps the last error of reading a file, which is not damage.
type sourceAt struct {
	r   io.ReaderAt
	err error
}

// ReadAt implements io.ReaderAt.
func (s *sourceAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(p, off)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// failed returns the last error once.
func (s *sourceAt) failed() error {
	err := s.err
	s.err = nil
	return err
}

// Package unseal reads dumps that are encrypted in the format of age, see package seal. It
// is for the healthy system and uses the age library.
package unseal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"filippo.io/age"

	"ukdump/internal/seal"
)

// ErrNotSealed is the error for a file that is not an age file.
var ErrNotSealed = errors.New("not an age file")

// KeyError reports a file that none of the given identities decrypts.
type KeyError struct {
	Recipients int    // number of keys that the file is encrypted to
	Passphrase bool   // it is encrypted with a passphrase
	Source     string // name of the file of identities
}

func (e *KeyError) Error() string {
	if e.Passphrase {
		return "encrypted with a passphrase, which no capture does"
	}
	return fmt.Sprintf("encrypted to %s, none of which is in %s", Keys(e.Recipients), e.Source)
}

// Part is the part of an age file that is damaged.
type Part int

// The parts.
const (
	Header  Part = iota // it was changed, or the file ends in it
	End                 // the last chunk is missing
	Last                // the last chunk is there, but truncated or changed
	Content             // a chunk is truncated or changed
)

// DamagedError reports an age file that was truncated or changed.
type DamagedError struct {
	Part Part
	Good int64 // bytes of content before the damage, for End and Content
	Err  error // what the library found
}

func (e *DamagedError) Error() string {
	switch e.Part {
	case Header:
		return fmt.Sprintf("the header of the age file is damaged: %v", e.Err)
	case End:
		return fmt.Sprintf("truncated: the age file ends behind %d bytes of content", e.Good)
	case Last:
		return "truncated or damaged: the last chunk of the age file is not authentic"
	}
	return fmt.Sprintf("truncated or damaged behind %d bytes of content", e.Good)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// Keys returns a number of keys for people.
func Keys(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}

// Is reports whether r begins like an age file.
func Is(r io.ReaderAt) bool {
	b := make([]byte, len(seal.Magic))
	n, _ := r.ReadAt(b, 0)
	return n == len(b) && string(b) == seal.Magic
}

// Info describes an age file. It is known without a key.
type Info struct {
	Recipients int   // number of keys that it is encrypted to
	Header     int64 // size of the header in bytes
	Plain      int64 // size of the content in bytes
}

// maxHeader bounds a header, in bytes: one for seal.MaxRecipients is a tenth of it.
const maxHeader = 64 << 10

// Inspect reads the header of an age file of size bytes and checks that a whole file can
// have this size. The error is ErrNotSealed, a *DamagedError or that of r. Only a key shows whether the
// header and the chunks are intact, and whether the last chunk is there: a file that was cut
// elsewhere than near the end of a chunk passes.
func Inspect(r io.ReaderAt, size int64) (Info, error) {
	s := &sourceAt{r: r}
	is := Is(s)
	if err := s.failed(); err != nil {
		return Info{}, err
	}
	if !is {
		return Info{}, ErrNotSealed
	}
	head, err := age.ExtractHeader(io.NewSectionReader(s, 0, min(size, maxHeader)))
	if failed := s.failed(); failed != nil {
		return Info{}, failed
	}
	if err != nil {
		return Info{}, &DamagedError{Part: Header, Err: oneLine(err)}
	}
	info := Info{Header: int64(len(head))}
	for line := range strings.SplitSeq(string(head), "\n") {
		kind, ok := strings.CutPrefix(line, "-> ")
		kind, _, _ = strings.Cut(kind, " ")
		if ok && !strings.HasSuffix(kind, "-grease") { // of no meaning, by the specification
			info.Recipients++
		}
	}
	const nonce, tag, chunk = 16, 16, 64<<10 + 16
	payload := size - info.Header - nonce
	if payload < tag {
		return info, &DamagedError{Part: End, Err: io.ErrUnexpectedEOF}
	}
	chunks := (payload + chunk - 1) / chunk
	last := payload - (chunks-1)*chunk
	info.Plain = payload - chunks*tag
	if last < tag || last == tag && chunks > 1 {
		return info, &DamagedError{Part: End, Good: (chunks - 1) * (chunk - tag), Err: io.ErrUnexpectedEOF}
	}
	return info, nil
}

// InspectFile is Inspect for a file. The error names it.
func InspectFile(path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Info{}, err
	}
	info, err := Inspect(f, size)
	if err != nil {
		return info, fmt.Errorf("%s: %w", path, err)
	}
	return info, nil
}

// Decrypt writes the content of the age file src to dst and returns the number of bytes. All
// of them are authentic, also before an error: that is a *KeyError, a *DamagedError, or the
// error of src or dst.
func Decrypt(dst io.Writer, src io.Reader, ids *Identities) (int64, error) {
	r, err := NewReader(src, ids)
	if err != nil {
		return 0, err
	}
	return io.Copy(dst, r)
}

// reader reads an age file from its beginning to its end.
type reader struct {
	src  *source
	r    io.Reader
	good int64
	err  error
}

// NewReader returns a reader of the content of src. The errors, of the reader as well, are
// those of Decrypt. A file is whole only if the reader has come to io.EOF.
func NewReader(src io.Reader, ids *Identities) (io.Reader, error) {
	s := &source{r: src}
	r, err := age.Decrypt(s, ids.list...)
	if err != nil {
		return nil, s.explain(err, ids)
	}
	return &reader{src: s, r: r}, nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.r.Read(p)
	r.good += int64(n)
	switch {
	case err == nil || err == io.EOF:
	case r.src.err != nil:
		err = r.src.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = &DamagedError{Part: End, Good: r.good, Err: err}
	default:
		err = &DamagedError{Part: Content, Good: r.good, Err: err}
	}
	r.err = err
	return n, err
}

// source keeps the error of reading a file, which is not damage.
type source struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// explain returns the error for one of opening an age file.
func (s *source) explain(err error, ids *Identities) error {
	if s.err != nil {
		return s.err
	}
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		kinds := slices.DeleteFunc(none.StanzaTypes, func(kind string) bool { return strings.HasSuffix(kind, "-grease") })
		passphrase := slices.Contains(kinds, "scrypt")
		if passphrase && len(kinds) > 1 { // by the specification
			return &DamagedError{Part: Header, Err: errors.New("both keys and a passphrase")}
		}
		return &KeyError{Recipients: len(kinds), Passphrase: passphrase, Source: ids.source}
	}
	return &DamagedError{Part: Header, Err: oneLine(err)}
}

// oneLine returns an error of the library, which may quote the file, on one line.
func oneLine(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	const most = 200
	return errors.New(text[:min(len(text), most)])
}

package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
)

// identity returns a new key pair.
func identity(t testing.TB) (*age.X25519Identity, Recipient) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRecipient(id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	return id, r
}

// random returns a source that is the same each time.
func random(t testing.TB, seed string) io.Reader {
	t.Helper()
	r, err := newStream([]byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The sizes around the ends of chunks, each written in pieces of several sizes.
func TestReadByAge(t *testing.T) {
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 3*chunkSize + 17} {
		for _, piece := range []int{1000, chunkSize, 3*chunkSize + 17} {
			for _, recipients := range []int{1, 3, MaxRecipients} {
				t.Run(fmt.Sprintf("%d bytes in pieces of %d to %d", size, piece, recipients), func(t *testing.T) {
					plain := make([]byte, size)
					io.ReadFull(random(t, "plain"), plain)
					ids, to := make([]*age.X25519Identity, recipients), make([]Recipient, recipients)
					for i := range ids {
						ids[i], to[i] = identity(t)
					}
					var b bytes.Buffer
					w, err := NewWriter(&b, random(t, "key"), to...)
					if err != nil {
						t.Fatal(err)
					}
					for p := plain; len(p) > 0; {
						n, err := w.Write(p[:min(piece, len(p))])
						if err != nil {
							t.Fatal(err)
						}
						p = p[n:]
					}
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
					if got, want := int64(b.Len()), Size(int64(size), recipients); got != want {
						t.Errorf("%d bytes, Size returns %d", got, want)
					}
					for _, i := range []int{0, recipients - 1} {
						r, err := age.Decrypt(bytes.NewReader(b.Bytes()), ids[i])
						if err != nil {
							t.Fatal(err)
						}
						got, err := io.ReadAll(r)
						if err != nil || !bytes.Equal(got, plain) {
							t.Errorf("%d bytes, %v", len(got), err)
						}
					}
				})
			}
		}
	}
}

func TestOnlyForRecipients(t *testing.T) {
	_, to := identity(t)
	other, _ := identity(t)
	var b bytes.Buffer
	w, err := NewWriter(&b, random(t, "key"), to)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, strings.Repeat("secret", 100))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b.Bytes(), []byte("secret")) {
		t.Error("the plaintext is in the file")
	}
	var none *age.NoIdentityMatchError
	if _, err := age.Decrypt(&b, other); !errors.As(err, &none) {
		t.Errorf("another key: %v", err)
	}
}

// broken is a writer that fails after some bytes.
type broken struct{ left int }

func (b *broken) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return b.left, io.ErrClosedPipe
	}
	b.left -= len(p)
	return len(p), nil
}

// short is a writer that drops bytes without an error.
type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) / 2, nil }

func TestWriteErrors(t *testing.T) {
	_, to := identity(t)
	head := int(Size(0, 1)) - chunkTag
	data := make([]byte, 4*chunkSize)
	if _, err := NewWriter(&broken{head - 1}, random(t, ""), to); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("header: %v", err)
	}
	if _, err := NewWriter(short{}, random(t, ""), to); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("short write: %v", err)
	}
	if _, err := NewWriter(io.Discard, strings.NewReader("few"), to); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("no random numbers: %v", err)
	}
	if _, err := NewWriter(io.Discard, random(t, "")); err == nil {
		t.Error("no recipient was accepted")
	}
	if _, err := NewWriter(io.Discard, random(t, ""), make([]Recipient, MaxRecipients+1)...); err == nil {
		t.Error("too many recipients were accepted")
	}
	if _, err := NewWriter(io.Discard, random(t, ""), Recipient{}); err == nil {
		t.Error("a recipient of zeros was accepted")
	}
	w, err := NewWriter(&broken{head + chunkSize + chunkTag}, random(t, ""), to)
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.Write(data)
	if !errors.Is(err, io.ErrClosedPipe) || n == len(data) {
		t.Errorf("full disk: %d bytes, %v", n, err)
	}
	if _, err := w.Write(data); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after an error: %v", err)
	}
	if err := w.Close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("end after an error: %v", err)
	}
	if w, err = NewWriter(io.Discard, random(t, ""), to); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err == nil {
		t.Error("written after the end")
	}
}

// A dump is larger than memory: nothing may grow with it.
func TestConstantMemory(t *testing.T) {
	_, to := identity(t)
	w, err := NewWriter(io.Discard, random(t, ""), to)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 3*chunkSize+5)
	if n := testing.AllocsPerRun(20, func() { w.Write(data) }); n > 0 {
		t.Errorf("%v allocations for each write", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	_, to := identity(b)
	w, err := NewWriter(io.Discard, random(b, ""), to)
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 1<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		w.Write(data)
	}
}

package seal

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeKernel is a kernel that has random numbers after some time.
type fakeKernel struct {
	ready    time.Duration // until then; negative is never
	insecure bool          // it knows GRND_INSECURE
	slept    time.Duration
}

func (k *fakeKernel) getrandom(p []byte, flags int) error {
	switch {
	case k.ready >= 0 && k.slept >= k.ready:
	case flags == unix.GRND_INSECURE && k.insecure:
	case flags == unix.GRND_INSECURE:
		return unix.EINVAL
	default:
		return unix.EAGAIN
	}
	for i := range p {
		p[i] = 7
	}
	return nil
}

func (k *fakeKernel) sleep(d time.Duration) { k.slept += d }

func TestNewRand(t *testing.T) {
	seed := bytes.Repeat([]byte{1}, SeedSize)
	for _, tt := range []struct {
		name   string
		seed   []byte
		kernel fakeKernel
		limit  time.Duration
		slept  time.Duration
		want   string // part of the error
	}{
		{"initialised kernel and seed", seed, fakeKernel{}, time.Minute, 0, ""},
		{"initialised kernel, no seed", nil, fakeKernel{}, 0, 0, ""},
		{"seed alone", seed, fakeKernel{ready: -1}, time.Minute, 0, ""},
		{"seed and a kernel of 5.6 or later", seed, fakeKernel{ready: -1, insecure: true}, time.Minute, 0, ""},
		{"no seed, kernel ready after a second", nil, fakeKernel{ready: time.Second, insecure: true}, time.Minute, time.Second, ""},
		{"no seed, kernel never ready", nil, fakeKernel{ready: -1, insecure: true}, 3 * time.Second, 3 * time.Second, "the image has no seed"},
		{"short seed", seed[1:], fakeKernel{}, time.Minute, 0, "63 bytes, not 64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := newRand(tt.seed, tt.limit, &tt.kernel)
			if tt.kernel.slept != tt.slept {
				t.Errorf("it waited %v, want %v", tt.kernel.slept, tt.slept)
			}
			if tt.want != "" {
				if r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, %v, want %s", r, err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var a, b [32]byte
			io.ReadFull(r, a[:])
			io.ReadFull(r, b[:])
			if a == b || a == [32]byte{} {
				t.Errorf("got %x, then %x", a, b)
			}
		})
	}
}

// Two files of one capture, or of two workers, have the same seed.
func TestRandDiffersEachTime(t *testing.T) {
	seed := make([]byte, SeedSize)
	seen := map[string]bool{}
	for range 1000 {
		r, err := newRand(seed, 0, &fakeKernel{ready: -1, insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		var b [16]byte
		io.ReadFull(r, b[:])
		seen[string(b[:])] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d of 1000 differ", len(seen))
	}
}

func TestRandOfThisKernel(t *testing.T) {
	r, err := NewRand(nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var b [100]byte
	if n, err := r.Read(b[:]); n != len(b) || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestSeedKernel(t *testing.T) {
	switch err := SeedKernel(random(t, "")); {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		t.Skip(err)
	case err != nil:
		t.Error(err)
	}
	if err := SeedKernel(strings.NewReader("few")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short source: %v", err)
	}
}

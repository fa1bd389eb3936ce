package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/sys/unix"
)

// SeedSize is the size of a seed in bytes.
const SeedSize = 64

// labelRand is the label of HKDF for random numbers.
const labelRand = "ukdump random numbers of a capture kernel"

// errWeak reports that there are no random numbers.
var errWeak = errors.New("random numbers: the kernel has none yet, and the image has no seed")

// NewRand returns a source of random numbers for a capture kernel, which has booted a moment
// ago and may have seen no event to gather entropy from. The source is ChaCha20 with a key
// made by HKDF of
//
//   - seed, SeedSize bytes of the healthy system's getrandom(2) in the image. That image is
//     loaded from memory and never written to a disk; each load has another seed. It is nil
//     if there is none.
//   - getrandom(2) of this kernel, whatever it has. It alone is good enough once the kernel
//     has initialised it.
//   - clocks and the process. They are no secret, but differ each time: several files, and
//     several workers, have one seed.
//
// Without a seed NewRand waits for getrandom until limit has passed, and then returns an
// error: a file that others could decrypt is worse than none.
func NewRand(seed []byte, limit time.Duration) (io.Reader, error) {
	return newRand(seed, limit, kernelSource{})
}

// source is the kernel's part of the random numbers.
type source interface {
	// getrandom is getrandom(2) for a whole buffer.
	getrandom(p []byte, flags int) error
	sleep(d time.Duration)
}

const poll = 100 * time.Millisecond

func newRand(seed []byte, limit time.Duration, kernel source) (io.Reader, error) {
	if len(seed) != 0 && len(seed) != SeedSize {
		return nil, fmt.Errorf("random numbers: the seed has %d bytes, not %d", len(seed), SeedSize)
	}
	secret := make([]byte, SeedSize)
	err := kernel.getrandom(secret, unix.GRND_NONBLOCK)
	if err != nil && len(seed) != 0 {
		err = nil
		kernel.getrandom(secret, unix.GRND_INSECURE) // since Linux 5.6; before, the seed alone
	}
	for ; err != nil; err = kernel.getrandom(secret, unix.GRND_NONBLOCK) {
		if limit <= 0 {
			return nil, fmt.Errorf("%w: %w", errWeak, err)
		}
		kernel.sleep(poll)
		limit -= poll
	}
	secret = append(secret, seed...)
	return newStream(appendMoment(secret))
}

// moments counts the calls of appendMoment in this process.
var moments uint64

// appendMoment appends values that no other call has, in this boot or another one.
func appendMoment(b []byte) []byte {
	moments++
	for _, clock := range []int32{unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_BOOTTIME} {
		var t unix.Timespec
		unix.ClockGettime(clock, &t) // a clock that fails leaves the others
		b = binary.LittleEndian.AppendUint64(b, uint64(t.Nano()))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(os.Getpid()))
	return binary.LittleEndian.AppendUint64(b, moments)
}

// stream is the key stream of ChaCha20.
type stream struct{ c cipher.Stream }

func newStream(secret []byte) (io.Reader, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, labelRand, chacha20.KeySize)
	if err != nil {
		return nil, err
	}
	c, err := chacha20.NewUnauthenticatedCipher(key, make([]byte, chacha20.NonceSize))
	if err != nil {
		return nil, err
	}
	return &stream{c}, nil
}

// Read implements io.Reader. It fills p.
func (s *stream) Read(p []byte) (int, error) {
	clear(p)
	s.c.XORKeyStream(p, p)
	return len(p), nil
}

// kernelSource is the running kernel.
type kernelSource struct{}

func (kernelSource) getrandom(p []byte, flags int) error {
	for len(p) > 0 {
		n, err := unix.Getrandom(p, flags)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("getrandom", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		p = p[max(n, 0):]
	}
	return nil
}

func (kernelSource) sleep(d time.Duration) { time.Sleep(d) }

// poolInfo is struct rand_pool_info of linux/random.h.
type poolInfo struct {
	bits int32
	size int32 // of buf, in bytes
	buf  [SeedSize]byte
}

// SeedKernel gives the kernel 512 bits of rand, see random(4). TLS and SSH take their random
// numbers from getrandom(2) alone, and would wait for it. Only root may do that.
func SeedKernel(rand io.Reader) error {
	info := poolInfo{bits: 8 * SeedSize, size: SeedSize}
	if _, err := io.ReadFull(rand, info.buf[:]); err != nil {
		return err
	}
	f, err := os.OpenFile("/dev/random", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info)))
	if errno != 0 {
		return fmt.Errorf("add entropy to /dev/random: %w", errno)
	}
	return nil
}

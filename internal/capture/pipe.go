package capture

import (
	"bytes"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipe returns a pipe whose read end does not block. The read end is used with
// readSome and waitReadable, never through the runtime's poller.
func pipe() (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	// NewFile before the flag, so that the file stays out of the poller.
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	if err := unix.SetNonblock(fds[0], true); err != nil {
		r.Close()
		w.Close()
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return r, w, nil
}

// readSome appends the content of the pipe, up to 64 KiB, and returns its
// length; 0 means nothing or the end.
func readSome(r *os.File, b *bytes.Buffer) int {
	var buf [4096]byte
	total := 0
	for total < 64<<10 {
		n, err := unix.Read(int(r.Fd()), buf[:])
		if n <= 0 || err != nil {
			break
		}
		b.Write(buf[:n])
		total += n
	}
	return total
}

// waitReadable waits up to d for data in the pipe.
func waitReadable(r *os.File, d time.Duration) {
	fds := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, int(d/time.Millisecond)); err != nil || fds[0].Revents&unix.POLLIN == 0 {
		if fds[0].Revents != 0 {
			time.Sleep(10 * time.Millisecond) // hung up: poll would return at once
		}
	}
}

// cutLine removes the first whole line from b and returns it without its newline.
func cutLine(b *bytes.Buffer) (string, bool) {
	i := bytes.IndexByte(b.Bytes(), '\n')
	if i < 0 {
		return "", false
	}
	line := string(b.Next(i + 1)[:i])
	return line, true
}

// tail keeps the last max bytes written to it.
type tail struct {
	max int
	buf []byte
}

// Write implements io.Writer and never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.max {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
	return len(p), nil
}

// bytes returns the bytes that were kept.
func (t *tail) bytes() []byte {
	return t.buf[max(0, len(t.buf)-t.max):]
}

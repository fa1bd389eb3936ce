package rescue

import (
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// warnBefore is how long before the end of the shell it warns.
const warnBefore = time.Minute

// input is the terminal. It ends if no line comes in time; the terminal itself does the
// editing of a line, which works on every console.
type input struct {
	file    *os.File
	timeout time.Duration // 0 for ever
	warn    func(left time.Duration)
	over    bool // at the end
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if !in.wait() {
		in.over = true
		return 0, io.EOF
	}
	n, err := in.file.Read(p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	in.over = err != nil
	return n, err
}

// wait waits for input and reports whether there is some.
func (in *input) wait() bool {
	if in.timeout == 0 {
		return true
	}
	early := max(in.timeout-warnBefore, in.timeout/2)
	if readable(in.file, early) {
		return true
	}
	in.warn(in.timeout - early)
	return readable(in.file, in.timeout-early)
}

// readable waits up to d until file can be read without waiting.
func readable(file *os.File, d time.Duration) bool {
	end := time.Now().Add(d)
	for {
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		fds := []unix.PollFd{{Fd: int32(file.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(min(left, time.Hour)/time.Millisecond)+1)
		if n > 0 || err != nil && err != unix.EINTR {
			return true // Read returns the error
		}
	}
}

// eof is an empty input.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

func stringReader(s string) io.Reader { return strings.NewReader(s) }

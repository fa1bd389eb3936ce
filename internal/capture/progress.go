package capture

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// progressFD is the worker's end of the pipe to the supervisor.
const progressFD = 3

// reporter tells the supervisor what the worker is doing. A message is one
// line: "step NAME SECONDS" begins a step that must make progress at least
// every SECONDS, "progress" is progress, "done OUTCOME" is the end.
type reporter struct{ pipe *os.File }

func (r reporter) step(name string, limit time.Duration) {
	fmt.Fprintf(r.pipe, "step %s %d\n", name, int(limit/time.Second))
}

func (r reporter) progress() { fmt.Fprintln(r.pipe, "progress") }

func (r reporter) done(outcome string) { fmt.Fprintf(r.pipe, "done %s\n", outcome) }

// monitor is the supervisor's view of the worker.
type monitor struct {
	fd      int
	partial string

	step  string
	limit time.Duration // longest time without a message in this step
	last  time.Duration // uptime of the last message
	done  string        // outcome, once the worker has come to its end
}

// wait returns when there is a message, when the worker has closed its end, or
// after d.
func (m *monitor) wait(d time.Duration) {
	if m.fd < 0 {
		time.Sleep(d)
		return
	}
	fds := []unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d/time.Millisecond))
	if err != nil || n == 0 {
		return
	}
	var buf [512]byte
	n, err = unix.Read(m.fd, buf[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if n <= 0 {
		m.fd = -1 // the worker is gone; from now on only sleep
		return
	}
	m.feed(string(buf[:n]), uptime())
}

// feed takes the bytes of messages that arrived at time now.
func (m *monitor) feed(s string, now time.Duration) {
	m.last = now
	s = m.partial + s
	for {
		line, rest, ok := strings.Cut(s, "\n")
		if !ok {
			break
		}
		s = rest
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && f[0] == "step":
			if sec, err := strconv.Atoi(f[2]); err == nil && sec > 0 {
				m.step, m.limit = f[1], time.Duration(sec)*time.Second
			}
		case len(f) == 2 && f[0] == "done":
			m.done = f[1]
		}
	}
	if len(s) > 4096 {
		s = "" // not one of our messages
	}
	m.partial = s
}

// overdue reports whether the worker has been silent for longer than its step
// allows.
func (m *monitor) overdue(now time.Duration) bool {
	return m.limit > 0 && now-m.last > m.limit
}

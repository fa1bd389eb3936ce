package capture

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// progressFD is the worker's end of the pipe to the supervisor.
const progressFD = 3

// reporter reports the step of the worker to the supervisor. A message is one line: "step NAME SECONDS" begins a step that must make progress at least
// every SECONDS, "progress" is progress, "done OUTCOME" is the end.
type reporter struct{ fd int }

// send never waits for the supervisor: the dump is more important than messages.
func (r reporter) send(line string) { unix.Write(r.fd, []byte(line+"\n")) }

func (r reporter) step(s step, limit time.Duration) {
	r.send(fmt.Sprintf("step %s %d", s, int(limit/time.Second)))
}

func (r reporter) progress() { r.send("progress") }

func (r reporter) done(outcome string) { r.send("done " + outcome) }

// monitor is the supervisor's view of the worker.
type monitor struct {
	fd      int
	partial string

	step  string
	limit time.Duration // longest time without a message in this step
	last  time.Duration // uptime of the last message
	done  string        // outcome, "" before the worker ends well
}

// wait returns when there is a message, when the worker has closed its end, or
// after d.
func (m *monitor) wait(d time.Duration) {
	if m.fd < 0 { // the worker is about to end
		time.Sleep(min(d, 10*time.Millisecond))
		return
	}
	fds := []unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d/time.Millisecond))
	if err != nil || n == 0 {
		return
	}
	m.drain()
}

// drain reads all messages that are there.
func (m *monitor) drain() {
	var buf [4096]byte
	for m.fd >= 0 {
		n, err := unix.Read(m.fd, buf[:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return
		case n <= 0: // the worker is gone; from now on wait only sleeps
			m.close()
		default:
			m.feed(string(buf[:n]), uptime())
		}
	}
}

func (m *monitor) close() {
	if m.fd >= 0 {
		unix.Close(m.fd)
		m.fd = -1
	}
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

// overdue reports whether the worker was silent for longer than its step allows.
func (m *monitor) overdue(now time.Duration) bool {
	return m.limit > 0 && now-m.last > m.limit
}

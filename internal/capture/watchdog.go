package capture

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/plan"
)

// watchdogs keeps the watchdogs that the crashed kernel had armed from resetting
// the machine in the middle of the capture, as long as the supervisor wants
// that. If the supervisor hangs, if there is no progress or if feeding itself
// hangs, the hardware ends it.
//
// The devices are opened and fed by a child, the feeder: either can block in a
// driver, and the supervisor may not. A byte down a pipe that never blocks is the
// permission to feed once.
type watchdogs struct {
	args  []string // of the feeder
	child *process
	pipe  int // our end, -1 if there is none

	started time.Duration // uptime when the feeder was
	last    time.Duration // uptime of the last permission
	until   time.Duration // uptime after which there is none
}

// feedTick is the shortest time between two permissions, and so the longest that
// the feeder takes to notice a driver that has come up.
const feedTick = 100 * time.Millisecond

// newWatchdogs returns nil, of which every method does nothing, if the plan
// names no watchdog.
func newWatchdogs(list []plan.Watchdog, until time.Duration) *watchdogs {
	if len(list) == 0 {
		return nil
	}
	w := &watchdogs{pipe: -1, until: until}
	for _, d := range list {
		w.args = append(w.args, d.Identity, strconv.Itoa(d.Timeout))
	}
	return w
}

// feed gives permission to feed, if it is time for it, and starts the feeder if
// there is none. It never blocks.
func (w *watchdogs) feed(now time.Duration) {
	if w == nil || now > w.until || now-w.last < feedTick {
		return
	}
	w.last = now
	if w.child == nil || w.child.poll() {
		w.start(now)
	}
	// If the feeder is stuck the pipe may be full; that is its affair.
	unix.Write(w.pipe, []byte{0})
}

// start starts a feeder, at most one a second. That the one before it has died
// does no harm: a watchdog whose file is closed without the magic 'V' goes on
// counting, or is stopped if its driver knows no magic close, and opening it
// feeds or starts it (Documentation/watchdog/watchdog-api.rst).
func (w *watchdogs) start(now time.Duration) {
	if w.child != nil && now-w.started < time.Second {
		return
	}
	w.started = now
	if w.pipe >= 0 {
		unix.Close(w.pipe)
		w.pipe = -1
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return
	}
	null := openNull()
	defer null.Close()
	r := os.NewFile(uintptr(fds[0]), "permissions")
	defer r.Close()
	child, err := start(append([]string{self, roleFeeder}, w.args...), childEnv, []*os.File{null, null, null, r})
	if err != nil {
		unix.Close(fds[1])
		return
	}
	w.child, w.pipe = child, fds[1]
}

// pid returns the process that is not to be killed with the others, 0 if there
// is none.
func (w *watchdogs) pid() int {
	if w == nil || w.child == nil {
		return 0
	}
	return w.child.pid
}

// extend allows feeding until the given uptime, where that was not so already.
func (w *watchdogs) extend(until time.Duration) {
	if w != nil {
		w.until = max(w.until, until)
	}
}

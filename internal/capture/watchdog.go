package capture

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/plan"
)

// watchdogs keeps the watchdogs that the crashed kernel had armed from resetting the
// machine during the capture. If the supervisor or the feeding hangs, or progress
// stops, the hardware resets the machine.
//
// A child, the feeder, opens and feeds the devices: both can block in a driver, and the
// supervisor must not. A byte in a pipe that never blocks permits one feeding.
type watchdogs struct {
	args  []string // of the feeder
	child *process
	pipe  int // our end, -1 if there is none

	started time.Duration // uptime when the feeder was
	last    time.Duration // uptime of the last permission
	until   time.Duration // uptime of the last possible permission
}

// feedTick is the shortest time between two permissions, and so the longest time until
// the feeder detects a new device.
const feedTick = 100 * time.Millisecond

// newWatchdogs returns nil if the plan names no watchdog. The methods of nil do nothing.
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

// feed gives permission to feed once every feedTick, and starts the feeder if it does
// not run. It never blocks.
func (w *watchdogs) feed(now time.Duration) {
	if w == nil || now > w.until || now-w.last < feedTick {
		return
	}
	w.last = now
	if w.child == nil || w.child.poll() {
		w.start(now)
	}
	// If the feeder is stuck the pipe may be full: the write is then skipped.
	unix.Write(w.pipe, []byte{0})
}

// start starts a feeder, at most one a second. The death of a feeder does no harm: a
// watchdog whose file is closed without the magic 'V' counts on, or stops if its driver
// has no magic close. Opening it again feeds or starts it
// (Documentation/watchdog/watchdog-api.rst).
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

// pid returns the process of the feeder, which is not killed with the others, or 0.
func (w *watchdogs) pid() int {
	if w == nil || w.child == nil {
		return 0
	}
	return w.child.pid
}

// extend permits feeding at least until the given uptime.
func (w *watchdogs) extend(until time.Duration) {
	if w != nil {
		w.until = max(w.until, until)
	}
}

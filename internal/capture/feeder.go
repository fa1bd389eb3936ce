package capture

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// permissionFD is the feeder's end of the pipe from the supervisor.
const permissionFD = 3

// feeder opens and feeds the watchdogs of the plan. It never opens others: opening a
// watchdog starts it.
type feeder struct {
	log     *logger
	sys     string // /sys/class/watchdog
	dev     string // /dev
	timeout map[string]int
	count   int // of the watchdogs that are to be fed
	open    map[string]*openWatchdog
}

type openWatchdog struct {
	fd       int
	interval time.Duration
	last     time.Duration // uptime when it was fed
}

// runFeeder is the main of the feeder. args are pairs of an identity, as in
// /sys/class/watchdog/*/identity, and a timeout in seconds. It feeds only when
// the supervisor lets it, and ends with the supervisor.
func runFeeder(_ mode, args []string) int {
	f := newFeeder(args)
	f.log = openLog()
	for permitted(permissionFD) {
		f.feed(uptime())
	}
	return 0
}

func newFeeder(args []string) *feeder {
	f := &feeder{
		log: &logger{kmsg: -1, console: -1},
		sys: "/sys/class/watchdog", dev: "/dev",
		timeout: map[string]int{}, open: map[string]*openWatchdog{},
	}
	for ; len(args) >= 2; args = args[2:] {
		f.timeout[args[0]], _ = strconv.Atoi(args[1])
		f.count++
	}
	return f
}

// permitted waits for permission to feed. Several permissions count as one. It returns
// false if the supervisor is gone.
func permitted(fd int) bool {
	var buf [512]byte
	for got := false; ; {
		n, err := unix.Read(fd, buf[:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && got:
			return true
		case err == unix.EAGAIN:
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		case n <= 0:
			return false
		default:
			got = true
		}
	}
}

// feed opens the watchdogs whose drivers have come up since the last call and
// feeds those that are due. Any write but the magic 'V' feeds one, see
// Documentation/watchdog/watchdog-api.rst.
func (f *feeder) feed(now time.Duration) {
	if len(f.open) < f.count {
		f.find(now)
	}
	for _, d := range f.open {
		if now-d.last >= d.interval {
			unix.Write(d.fd, []byte{0})
			d.last = now
		}
	}
}

// find opens watchdogs that have come up. Opening a watchdog feeds it.
func (f *feeder) find(now time.Duration) {
	for _, dir := range beginning(f.sys + "/watchdog") {
		name := filepath.Base(dir)
		b, err := os.ReadFile(dir + "/identity")
		identity := strings.TrimSpace(string(b))
		timeout, wanted := f.timeout[identity]
		if err != nil || !wanted || f.open[name] != nil {
			continue
		}
		fd, err := unix.Open(f.dev+"/"+name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // its node may come later than its directory
		}
		timeout = setTimeout(fd, timeout)
		f.open[name] = &openWatchdog{fd: fd, interval: feedInterval(timeout), last: now}
		f.log.printf("feeding %s (%s), timeout %d s", name, identity, timeout)
	}
}

// setTimeout sets the timeout that a watchdog had on the healthy system, in seconds.
// It returns the timeout in force, 0 if the driver does not report it.
func setTimeout(fd, want int) int {
	have, err := unix.IoctlGetUint32(fd, unix.WDIOC_GETTIMEOUT)
	if want <= 0 || err == nil && int(have) == want {
		return int(have)
	}
	if unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, want) == nil {
		have, _ = unix.IoctlGetUint32(fd, unix.WDIOC_GETTIMEOUT)
	}
	return int(have)
}

// feedInterval returns the time between two feedings for a timeout in seconds: a third,
// about as watchdogd and systemd do, or a second if the timeout is unknown.
func feedInterval(timeout int) time.Duration {
	if timeout <= 0 {
		return time.Second
	}
	return min(max(time.Duration(timeout)*time.Second/3, 250*time.Millisecond), 10*time.Second)
}

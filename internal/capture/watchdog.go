package capture

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/plan"
)

// watchdogs feeds the watchdogs that the crashed kernel had armed. The
// supervisor feeds them only while the worker makes progress, so a hang that
// even the supervisor cannot end is ended by the hardware.
type watchdogs struct {
	want map[string]time.Duration // identity → interval between two feedings
	open map[string]*openWatchdog // by device path
}

type openWatchdog struct {
	fd       int
	interval time.Duration
	last     time.Duration
}

func newWatchdogs(list []plan.Watchdog) *watchdogs {
	if len(list) == 0 {
		return nil
	}
	w := &watchdogs{want: map[string]time.Duration{}, open: map[string]*openWatchdog{}}
	for _, d := range list {
		// A third of the timeout, as watchdogd and systemd do about.
		w.want[d.Identity] = min(max(seconds(d.Timeout)/3, time.Second), 10*time.Second)
	}
	return w
}

// feed opens the watchdogs whose drivers have come up since the last call and
// feeds those that are due. Any write but the magic 'V' feeds one, see
// Documentation/watchdog/watchdog-api.rst. They stay open for good: closing
// could disarm them before the machine is back.
func (w *watchdogs) feed(now time.Duration) {
	if w == nil {
		return
	}
	if len(w.open) < len(w.want) {
		w.find()
	}
	for _, d := range w.open {
		if now-d.last >= d.interval {
			unix.Write(d.fd, []byte{0})
			d.last = now
		}
	}
}

func (w *watchdogs) find() {
	dirs, _ := filepath.Glob("/sys/class/watchdog/watchdog*")
	for _, dir := range dirs {
		dev := "/dev/" + filepath.Base(dir)
		id, err := os.ReadFile(dir + "/identity")
		if err != nil || w.open[dev] != nil {
			continue
		}
		interval, ok := w.want[strings.TrimSpace(string(id))]
		if !ok {
			continue
		}
		if fd, err := unix.Open(dev, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			w.open[dev] = &openWatchdog{fd: fd, interval: interval}
		}
	}
}

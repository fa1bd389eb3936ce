package capture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/plan"
)

// assembleBcache registers a disk and its cache (Documentation/admin-guide/bcache.rst).
// Without the cache the kernel does not run it, and must not be made to while data
// is in the cache alone.
func (w *worker) assembleBcache(l *plan.Layer) ([]string, error) {
	s := w.newScan()
	limit := w.plan.Deadlines.Device
	registered := make(map[string]bool)
	dir := "" // of the disk
	w.log.printf("waiting up to %d s for %s and its cache", limit, l.Name)
	alone := false // it was told to run without its cache
	for end := uptime() + seconds(limit); ; time.Sleep(50 * time.Millisecond) {
		for _, m := range s.belonging(l, false) {
			sys := filepath.Join(s.sys, m.name, "bcache")
			if m.id.UUID == l.UUID {
				dir = sys
			}
			if !registered[m.name] && !fileExists(sys) { // by the worker before this one
				registered[m.name] = true
				if err := os.WriteFile("/sys/fs/bcache/register", []byte("/dev/"+m.name), 0); err != nil {
					w.warn("register %s: %v", m.name, err)
				}
			}
		}
		if dev, err := os.Readlink(dir + "/dev"); err == nil {
			// Writing back what is in the cache is for the next boot.
			os.WriteFile(dir+"/writeback_running", []byte("0"), 0)
			return []string{filepath.Base(dev)}, nil
		}
		if uptime() <= end {
			continue
		}
		state, _ := os.ReadFile(dir + "/state")
		switch {
		case dir == "":
			return nil, errors.New("the disk did not appear; block devices: " + s.String())
		case alone && uptime() > end+time.Second:
			return nil, errors.New("its cache did not appear, and it does not run without")
		case alone:
			continue
		case strings.TrimSpace(string(state)) != "clean":
			return nil, errors.New("its cache did not appear, and may have data that was not written back")
		}
		w.warn("the cache of %s did not appear: it has nothing that is not on the disk", l.Name)
		os.WriteFile(dir+"/running", []byte("1"), 0)
		alone = true
	}
}

package capture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/plan"
)

// assembleBcache registers a disk and its cache
// (Documentation/admin-guide/bcache.rst):
//
//	/var/crash  ext4 on bcache0  backing device sda2, cache nvme0n1p1
//
// The kernel does not run the disk without the cache. It is forced to only if the
// disk is clean, because a dirty cache alone has some of the data.
func (w *worker) assembleBcache(l *plan.Layer) ([]string, error) {
	s := w.newScan()
	limit := w.plan.Deadlines.Device
	registered := make(map[string]bool)
	backing := "" // sysfs directory of the disk, "" if it has not appeared
	w.log.printf("waiting up to %d s for %s and its cache", limit, l.Name)
	detached := false // the disk was started without its cache
	for end := uptime() + seconds(limit); ; time.Sleep(50 * time.Millisecond) {
		for _, m := range s.belonging(l, false) {
			dir := filepath.Join(s.sys, m.name, "bcache")
			if m.id.UUID == l.UUID {
				backing = dir
			}
			if !registered[m.name] && !fileExists(dir) { // by the worker before this one
				registered[m.name] = true
				if err := s.registerBcache(m.name); err != nil {
					w.warn("register %s: %v", m.name, err)
				}
			}
		}
		if dev, err := os.Readlink(backing + "/dev"); err == nil {
			// The next boot writes back the data in the cache.
			os.WriteFile(backing+"/writeback_running", []byte("0"), 0)
			return []string{filepath.Base(dev)}, nil
		}
		if uptime() <= end {
			continue
		}
		state, _ := os.ReadFile(backing + "/state")
		switch {
		case backing == "":
			return nil, errors.New("the disk did not appear; block devices: " + s.String())
		case detached && uptime() > end+time.Second:
			return nil, errors.New("the cache did not appear, and the disk does not run without it")
		case detached:
			continue
		case strings.TrimSpace(string(state)) != "clean":
			return nil, errors.New("the cache did not appear, and may have data that was not written back")
		}
		w.warn("the cache of %s did not appear: continuing without it, as all its data is on the disk", l.Name)
		os.WriteFile(backing+"/running", []byte("1"), 0)
		detached = true
	}
}

// registerBcache hands a device to the driver. s.sys is two levels below the root of
// sysfs.
func (s *scan) registerBcache(name string) error {
	return os.WriteFile(filepath.Join(s.sys, "../../fs/bcache/register"), []byte(filepath.Join(s.dev, name)), 0)
}

package rescue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ukdump/internal/evidence"
	"ukdump/internal/fsid"
)

// blockNames returns the kernel names of the block devices that have a medium.
func (s *Session) blockNames() []string {
	entries, _ := os.ReadDir(s.path("sys/class/block"))
	var names []string
	for _, e := range entries {
		if s.blockSize(e.Name()) > 0 {
			names = append(names, e.Name())
		}
	}
	return names
}

// blockSize returns the size of a block device in bytes, 0 if it is none; "size" counts
// sectors of 512 bytes (Documentation/ABI/stable/sysfs-block).
func (s *Session) blockSize(name string) int64 {
	b, err := os.ReadFile(s.path(filepath.Join("sys/class/block", name, "size")))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n * 512
}

// device returns the path of a device that is named as vda1 or by a path.
func (s *Session) device(path, name string) string {
	if !strings.Contains(name, "/") && s.blockSize(name) > 0 {
		return s.path("dev/" + name)
	}
	return path
}

// probe identifies the content of a device.
func (s *Session) probe(path string) (fsid.ID, error) {
	f, err := os.Open(path)
	if err != nil {
		return fsid.ID{}, err
	}
	defer f.Close()
	size := s.blockSize(filepath.Base(path))
	if size == 0 { // an image of one
		fi, err := f.Stat()
		if err != nil {
			return fsid.ID{}, err
		}
		size = fi.Size()
	}
	return fsid.Probe(f, size)
}

func lsblk(c *call) error {
	mounts, _ := os.ReadFile(c.s.path("proc/self/mounts"))
	fmt.Fprintf(c.out, "%-12s %12s  %-12s %s\n", "NAME", "SIZE", "TYPE", "MOUNTED ON")
	for _, name := range c.s.blockNames() {
		id, _ := c.s.probe(c.s.path("dev/" + name))
		mounted := ""
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "/dev/"+name {
				mounted = f[1]
			}
		}
		fmt.Fprintf(c.out, "%-12s %8.1f MiB  %-12s %s\n", name, float64(c.s.blockSize(name))/(1<<20), id.Type, mounted)
	}
	return nil
}

func blkid(c *call) error {
	names := c.args
	if len(names) == 0 {
		names = c.s.blockNames()
	}
	var errs error
	for _, name := range names {
		path := c.s.device(c.path(name), name)
		id, err := c.s.probe(path)
		switch {
		case err == nil:
			fmt.Fprintf(c.out, "%s: TYPE=%s UUID=%s LABEL=%s\n", path, id.Type, evidence.Printable(id.UUID), evidence.Printable(id.Label))
		case len(c.args) > 0 || !errors.Is(err, fsid.ErrUnknown):
			errs = errors.Join(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	return errs
}

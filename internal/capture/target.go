package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// mountFlags keep the mount from doing anything that a dump does not need.
const mountFlags = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOSUID

// waitDevice waits for the block device that holds the target's file system and
// returns its kernel name. The file system is known by its type and UUID: names
// change from boot to boot. After the deadline the error names what was there
// instead.
func (w *worker) waitDevice(t *plan.Target) (string, error) {
	limit := seconds(w.plan.Deadlines.Device)
	w.log.printf("waiting up to %d s for %s %s (%s when the image was built)", w.plan.Deadlines.Device, t.Filesystem.Type, t.Filesystem.UUID, t.Device.Name)
	seen := map[string]string{}
	for end := uptime() + limit; ; time.Sleep(50 * time.Millisecond) {
		name := findDevice("/sys/class/block", "/dev", t, seen)
		if name != "" {
			w.log.printf("found on %s", name)
			return name, nil
		}
		if uptime() > end {
			return "", fmt.Errorf("%s file system %s did not appear within %d s; block devices: %s",
				t.Filesystem.Type, t.Filesystem.UUID, w.plan.Deadlines.Device, describe(seen))
		}
	}
}

// findDevice looks once at every block device and returns the name of the one
// that holds the target's file system, or "". Where several do, as the paths of
// one disk or the halves of a mirror may, it prefers the one from build time.
// seen gets what was found on each.
func findDevice(sysDir, devDir string, t *plan.Target, seen map[string]string) string {
	ents, _ := os.ReadDir(sysDir)
	found := ""
	for _, e := range ents {
		name := e.Name()
		size := blockSize(filepath.Join(sysDir, name))
		if size == 0 { // a loop device or a drive without medium
			continue
		}
		id, err := probe(filepath.Join(devDir, name), size)
		switch {
		case err == nil:
			seen[name] = id.Type + " " + id.UUID
		case errors.Is(err, fsid.ErrUnknown):
			seen[name] = "no known content"
			continue
		default:
			seen[name] = err.Error()
			continue
		}
		if strings.EqualFold(id.UUID, t.Filesystem.UUID) && sameType(id.Type, t.Filesystem.Type) {
			if found == "" || name == t.Device.Name {
				found = name
			}
		}
	}
	return found
}

// blockSize returns the size of a block device in bytes from its sysfs
// directory; "size" counts sectors of 512 bytes whatever the device's own are
// (Documentation/ABI/stable/sysfs-block).
func blockSize(dir string) int64 {
	b, err := os.ReadFile(dir + "/size")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n * 512
}

// probe identifies the content of a block device.
func probe(path string, size int64) (fsid.ID, error) {
	f, err := os.Open(path)
	if err != nil {
		return fsid.ID{}, err
	}
	defer f.Close()
	return fsid.Probe(f, size)
}

// sameType compares a type from the superblock with the one that mounts it: the
// ext4 driver mounts all of ext2, ext3 and ext4.
func sameType(onDisk, mounted string) bool {
	return onDisk == mounted || strings.HasPrefix(onDisk, "ext") && strings.HasPrefix(mounted, "ext") && len(onDisk) == len(mounted)
}

// describe lists the devices that were seen, for a person who wonders what is
// missing.
func describe(seen map[string]string) string {
	if len(seen) == 0 {
		return "none"
	}
	var names []string
	for n := range seen {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(n + " (" + seen[n] + ")")
	}
	return b.String()
}

// mount mounts the target's file system read-write. Journals are replayed by
// the kernel.
func (w *worker) mount(t *plan.Target, dev string) error {
	fs := t.Filesystem
	if err := unix.Mount("/dev/"+dev, mountDir, fs.Type, mountFlags, fs.Options); err != nil {
		return fmt.Errorf("%s as %s: %w", dev, fs.Type, err)
	}
	w.state.Mounted = true
	var st unix.Statfs_t
	if err := unix.Statfs(mountDir, &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		w.umount()
		return fmt.Errorf("%s: the kernel mounted it read-only: it is damaged or write-protected", dev)
	}
	w.report.Target = crashdir.Target{
		Dir: t.Dir, Device: dev, FSType: fs.Type, UUID: fs.UUID,
		Free: int64(st.Bavail) * st.Bsize,
	}
	w.log.printf("mounted %s, %d MiB free", dev, w.report.Target.Free>>20)
	return nil
}

// makeDir makes the dump's directory. The path comes from the plan, but the
// file system may have changed since: no component may lead out of it.
func (w *worker) makeDir(t *plan.Target) error {
	parent := filepath.Join(mountDir, t.Path)
	for p := parent; p != mountDir && p != "/"; p = filepath.Dir(p) {
		if fi, err := os.Lstat(p); err == nil && !fi.IsDir() {
			return fmt.Errorf("%s is not a directory any more", strings.TrimPrefix(p, mountDir))
		}
	}
	dir, err := crashdir.Create(parent, time.Now())
	if err != nil {
		return err
	}
	w.state.Dir = dir
	w.log.printf("writing to %s", filepath.Join(t.Dir, filepath.Base(dir)))
	return nil
}

// umount takes the file system off, which also writes back what is left.
func (w *worker) umount() error {
	if !w.state.Mounted {
		return nil
	}
	if err := unix.Unmount(mountDir, 0); err != nil {
		return err
	}
	w.state.Mounted = false
	w.state.Dir = ""
	return nil
}

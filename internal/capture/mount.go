package capture

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// mountFlags disable all that a dump does not need.
const mountFlags = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOSUID

// mount mounts the target's file system read-write. The kernel replays its journal.
// After an error the file system may still be mounted.
func (w *worker) mount(t *plan.Target, dev string) error {
	fs := t.Filesystem
	if w.degraded {
		fs.Options = joinOptions(fs.Options, "degraded")
	}
	if err := unix.Mount("/dev/"+dev, mountDir, fs.Type, mountFlags, fs.Options); err != nil {
		return fmt.Errorf("%s as %s: %w (%s)", dev, fs.Type, err, diagnose(fs, dev))
	}
	var st unix.Statfs_t
	if err := unix.Statfs(mountDir, &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("%s: mounted read-only by the kernel: damaged or write-protected", dev)
	}
	w.report.Target = crashdir.Target{
		Dir: t.Dir, Device: dev, FSType: fs.Type, UUID: fs.UUID,
		Free: int64(st.Bavail) * st.Bsize,
	}
	w.log.printf("mounted %s, %d MiB free", dev, w.report.Target.Free>>20)
	return nil
}

// withoutReplay are the options that mount each file system read-only without
// replaying its journal: ext4(5), xfs(5), btrfs(5),
// Documentation/filesystems/f2fs.rst.
var withoutReplay = map[string]string{
	"ext3": "noload", "ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay", "f2fs": "disable_roll_forward",
}

// diagnose finds the reason of a failed mount for the report. It writes nothing to the
// file system.
func diagnose(fs plan.Filesystem, dev string) string {
	options := withoutReplay[fs.Type]
	if options == "" {
		return "check the file system"
	}
	err := unix.Mount("/dev/"+dev, mountDir, fs.Type, mountFlags|unix.MS_RDONLY, joinOptions(options, fs.Options))
	switch {
	case err == unix.ENODEV:
		return "the kernel does not know this file system"
	case err == unix.ENOMEM:
		return "not enough memory"
	case err != nil:
		return fmt.Sprintf("read-only without its journal: %v: its structures are damaged", err)
	}
	if err := unix.Unmount(mountDir, 0); err != nil {
		return fmt.Sprintf("umount: %v", err)
	}
	return "can be mounted read-only without its journal: the journal is damaged"
}

// joinOptions joins two lists of mount options.
func joinOptions(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "," + b
}

// makeDir makes the dump's directory. The file system may have changed since the plan
// was made: no component of the path may lead out of it.
func (w *worker) makeDir(t *plan.Target) error {
	base := mountDir
	if t.Kind == plan.Mounted {
		base = "/"
	}
	parent := filepath.Join(base, t.Path)
	for p := parent; p != base && p != "/"; p = filepath.Dir(p) {
		if fi, err := os.Lstat(p); err == nil && !fi.IsDir() {
			return fmt.Errorf("%s is not a directory any more", strings.TrimPrefix(p, base))
		}
	}
	if fileExists(parent) { // a full disk has no room even for a directory
		w.makeRoom(parent, "", leastRoom)
	}
	dir, err := crashdir.Create(parent, time.Now())
	if err != nil {
		return err
	}
	w.state.Dir = dir
	w.place = &directory{dir: dir, w: w}
	w.log.printf("writing to %s", filepath.Join(t.Dir, filepath.Base(dir)))
	return nil
}

// mounted reports whether there is a file system on mountDir.
func (w *worker) mounted() bool {
	var root, dir unix.Stat_t
	return w.mode != emergency && unix.Stat("/", &root) == nil && unix.Stat(mountDir, &dir) == nil && root.Dev != dir.Dev
}

// umount writes back all data and unmounts the file system. It waits while the file
// system is busy, such as with a collector that was killed during a write.
func (w *worker) umount() error {
	if !w.mounted() {
		return nil
	}
	if err := syncFilesystem(mountDir); err != nil {
		w.fail("write back %s: %v", mountDir, err)
	}
	for end := uptime() + seconds(w.finishLimit()); ; time.Sleep(100 * time.Millisecond) {
		err := unix.Unmount(mountDir, 0)
		if err != unix.EBUSY || uptime() > end {
			return os.NewSyscallError("umount", err)
		}
	}
}

// syncFilesystem writes back the file system that dir is on, see syncfs(2).
func syncFilesystem(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return os.NewSyscallError("syncfs", unix.Syncfs(fd))
}

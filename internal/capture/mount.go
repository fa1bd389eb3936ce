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
	fs.Options = joinOptions(fs.Options, errorPolicies[fs.Type])
	kernel := listen()
	defer kernel.close()
	if err := unix.Mount("/dev/"+dev, mountDir, fs.Type, mountFlags, fs.Options); err != nil {
		cause := kernel.about(dev)
		if cause != "" {
			cause = "; kernel: " + cause
		}
		return fmt.Errorf("%s as %s: %w (%s%s)", dev, fs.Type, err, mountCause(err, withoutJournal(fs, dev)), cause)
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

// errorPolicies are the mount options that override the superblock's reaction to an error
// in the file system. tune2fs(8) stores it with -e and, as a mount option, with -E
// mount_opts; options of mount(2) override both. With "panic" a damaged first target
// would end the capture kernel inside mount(2), and "remount-ro" would end a dump that
// the other blocks have room for. No other supported type stores such a policy: those of
// f2fs and FAT are mount options alone, and those of xfs are in sysfs.
var errorPolicies = map[string]string{
	"ext2": "errors=continue", "ext3": "errors=continue", "ext4": "errors=continue",
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
		fi, err := os.Lstat(p)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		if !fi.IsDir() {
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

package capture

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// mode is the system that kdumpinit runs in.
type mode int

const (
	// initramfs is the image of mkkdumpinitrd, in which kdumpinit is PID 1.
	initramfs mode = iota
	// emergency is the distribution's own system, in which kdumpinit is a service.
	// It mounts nothing itself, kills nothing but its own children, and asks systemd
	// for the final action.
	emergency
)

// detectMode reads the mode from the command line. In emergency mode children run
// the programs of the system.
func detectMode() mode {
	line, _ := os.ReadFile("/proc/cmdline")
	if !slices.Contains(strings.Fields(string(line)), plan.EmergencyWord) {
		return initramfs
	}
	self = selfLink
	childEnv = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TMPDIR=/tmp", "LC_ALL=C", "GOTRACEBACK=single"}
	return emergency
}

// selfLink is this program, even when its file was removed, see proc_pid_exe(5).
const selfLink = "/proc/self/exe"

// setupEmergency makes the directories that the system lacks.
func setupEmergency() []error {
	disarm("/proc/sys") // sysctl.d(5) of the healthy system may have armed them
	errs := []error{
		os.MkdirAll("/run/ukdump", 0o700),
		// Orphans of the worker stay among our descendants, prctl(2).
		os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)),
	}
	// makedumpfile writes to /tmp even if TMPDIR is set (copy_vmcoreinfo), and the
	// root may be read-only.
	if unix.Access("/tmp", unix.W_OK) != nil {
		errs = append(errs, os.NewSyscallError("mount", unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")))
	}
	return errs
}

// descendants returns those of list that this process or one of its children has
// started.
func descendants(list []userProcess) []userProcess {
	parents := make(map[int]int)
	for _, p := range list {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
		parents[p.pid] = parseParent(b)
	}
	return slices.DeleteFunc(list, func(p userProcess) bool {
		pid := p.pid
		for range list { // bounded: processes may come and go meanwhile
			if pid = parents[pid]; pid == os.Getpid() {
				return false
			}
		}
		return true
	})
}

// parseParent returns the parent of a process, 0 if that cannot be known, from the
// content of proc_pid_stat(5).
func parseParent(b []byte) int {
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	pid, _ := strconv.Atoi(fields[1])
	return pid
}

// openMounted prepares a directory of the running system for a dump.
func (w *worker) openMounted(t *plan.Target) bool {
	d := w.plan.Deadlines
	err := w.step(stepMount, d.Device+d.Mount, func() error { return w.waitMounted(t) })
	if err == nil {
		err = w.step(stepDirectory, d.Mount, func() error { return w.makeDir(t) })
	}
	return err == nil
}

// waitMounted has systemd mount the file system of the directory. Without the mount the
// dump would be hidden below the mount point.
func (w *worker) waitMounted(t *plan.Target) error {
	end := uptime() + seconds(w.plan.Deadlines.Device+w.plan.Deadlines.Mount)
	err := checkMounted(t.Mount.Point)
	for _, unit := range t.Mount.Units {
		if err == nil {
			break
		}
		w.log.printf("%v: starting %s", err, unit)
		if e := systemctl(end, func() {}, "start", unit); e != nil {
			w.warn("%v", e)
		}
		err = checkMounted(t.Mount.Point)
	}
	if err == errReadOnly {
		if e := unix.Mount("", t.Mount.Point, "", unix.MS_REMOUNT, ""); e == nil {
			err = checkMounted(t.Mount.Point)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.Mount.Point, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(t.Mount.Point, &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	w.report.Target = crashdir.Target{
		Dir: t.Dir, Device: t.Device.Name, FSType: t.Filesystem.Type, Free: int64(st.Bavail) * st.Bsize,
	}
	return nil
}

var (
	errNotMounted = errors.New("not mounted")
	errReadOnly   = errors.New("mounted read-only")
)

// checkMounted returns errNotMounted if point is no mount point, see statx(2), and
// errReadOnly if it cannot be written to.
func checkMounted(point string) error {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, point, 0, 0, &st); err != nil {
		return os.NewSyscallError("statx", err)
	}
	const root = unix.STATX_ATTR_MOUNT_ROOT // Linux 5.8
	isRoot := st.Attributes&root != 0
	if st.Attributes_mask&root == 0 {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return err
		}
		isRoot = inMountinfo(string(mounts), point)
	}
	if !isRoot {
		return errNotMounted
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(point, &fs); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return errReadOnly
	}
	return nil
}

// inMountinfo reports whether something is mounted on point, from the content of
// proc_pid_mountinfo(5).
func inMountinfo(mounts, point string) bool {
	var escaped []byte
	for _, c := range []byte(point) {
		if strings.IndexByte(" \t\n\\", c) >= 0 { // \040; strings.Replacer would link 5 KB
			escaped = append(escaped, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
			continue
		}
		escaped = append(escaped, c)
	}
	point = string(escaped)
	var line string
	for mounts != "" {
		line, mounts, _ = strings.Cut(mounts, "\n")
		if f := strings.Fields(line); len(f) > 4 && f[4] == point {
			return true
		}
	}
	return false
}

// systemctl runs systemctl(1) until uptime is end.
func systemctl(end time.Duration, wait func(), args ...string) error {
	path := "/usr/bin/systemctl"
	if !fileExists(path) {
		path = "/bin/systemctl"
	}
	null := openNull()
	defer null.Close()
	p, err := start(append([]string{path}, args...), childEnv, []*os.File{null, null, null})
	if err != nil {
		return err
	}
	for ; uptime() < end && !p.poll(); time.Sleep(50 * time.Millisecond) {
		wait()
	}
	if !p.ok() {
		err = fmt.Errorf("systemctl %s: %s", strings.Join(args, " "), p.how())
		p.kill(time.Second)
	}
	return err
}

// Limits of the final action in emergency mode.
const (
	systemdLimit = time.Minute     // for systemd to begin the action and to kill this process
	guardLimit   = 3 * time.Minute // then, for the whole action
)

// askSystemd has systemd take the final action, because systemd unmounts file systems
// cleanly. It returns only on failure.
func (s *supervisor) askSystemd(a plan.Action) {
	signalGuard(unix.SIGUSR2)
	signal.Reset(syscall.SIGTERM) // the signal now ends this process
	end := uptime() + systemdLimit
	s.watchdogs.extend(end + rebootLimit)
	feed := func() { s.watchdogs.feed(uptime()) }
	if err := systemctl(end, feed, "--force", string(a)); err != nil {
		s.log.errorf("%v", err)
		return
	}
	s.pause(end - uptime())
}

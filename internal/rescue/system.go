package rescue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ukdump/internal/evidence"
)

func syncCommand(*call) error {
	unix.Sync()
	return nil
}

// syncFile makes a file durable. A device such as /dev/null cannot sync, see fsync(2).
func (c *call) syncFile(f *os.File) error {
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// kernelLog returns the log of the running kernel, at most 1 MiB of it, as syslog(2)
// formats it.
func kernelLog() ([]byte, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, os.NewSyscallError("syslog", err)
	}
	b := make([]byte, min(size, 1<<20))
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, b)
	if err != nil {
		return nil, os.NewSyscallError("syslog", err)
	}
	return b[:n], nil
}

func dmesg(c *call) error {
	b, err := kernelLog()
	if err != nil {
		return err
	}
	_, err = c.out.Write(b)
	return err
}

func mount(c *call) error {
	const text = "mount [-r] [-t TYPE] [-o OPTIONS] DEVICE DIRECTORY"
	if len(c.args) == 0 {
		b, err := os.ReadFile(c.s.path("proc/self/mounts"))
		fmt.Fprintf(c.out, "%s", b)
		return err
	}
	var fsType, options string
	var flags uintptr
	args := c.args
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-r":
			flags |= unix.MS_RDONLY
			args = args[1:]
		case args[0] == "-t" && len(args) > 1:
			fsType, args = args[1], args[2:]
		case args[0] == "-o" && len(args) > 1:
			flags, options = mountOptions(flags, args[1])
			args = args[2:]
		default:
			return usage(text)
		}
	}
	if len(args) != 2 {
		return usage(text)
	}
	device, dir := c.s.device(c.path(args[0]), args[0]), c.path(args[1])
	if fsType == "" {
		id, err := c.s.probe(device)
		if err != nil {
			return fmt.Errorf("%s: %w", device, err)
		}
		fsType = id.Type
	}
	if err := unix.Mount(device, dir, fsType, flags, options); err != nil {
		return fmt.Errorf("%s as %s on %s: %w", device, fsType, dir, err)
	}
	return nil
}

// mountOptions splits the options of mount(8) into flags and data of mount(2).
func mountOptions(flags uintptr, options string) (uintptr, string) {
	known := map[string]uintptr{"ro": unix.MS_RDONLY, "rw": 0, "noatime": unix.MS_NOATIME, "bind": unix.MS_BIND, "remount": unix.MS_REMOUNT}
	var data []string
	for _, o := range strings.Split(options, ",") {
		if f, ok := known[o]; ok {
			flags |= f
		} else if o != "" {
			data = append(data, o)
		}
	}
	return flags, strings.Join(data, ",")
}

func umount(c *call) error {
	if len(c.args) == 0 {
		return usage("umount DIRECTORY...")
	}
	var errs error
	for _, dir := range c.args {
		if err := unix.Unmount(c.path(dir), 0); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", dir, err))
		}
	}
	return errs
}

func lsmod(c *call) error {
	b, err := os.ReadFile(c.s.path("proc/modules"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 4 {
			fmt.Fprintf(c.out, "%-20s %8s  %s\n", f[0], f[1], strings.Trim(f[3], ",-"))
		}
	}
	return nil
}

func insmod(c *call) error {
	if len(c.args) == 0 {
		return usage("insmod FILE [PARAMETER=VALUE]...")
	}
	f, err := os.Open(c.path(c.args[0]))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), strings.Join(c.args[1:], " "), 0); err != nil {
		return fmt.Errorf("%s: %w", c.args[0], err)
	}
	return nil
}

func rmmod(c *call) error {
	if len(c.args) == 0 {
		return usage("rmmod MODULE...")
	}
	var errs error
	for _, name := range c.args {
		if err := unix.DeleteModule(name, unix.O_NONBLOCK); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errs
}

func free(c *call) error {
	b, err := os.ReadFile(c.s.path("proc/meminfo"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || !slices.Contains([]string{"MemTotal:", "MemFree:", "MemAvailable:", "Cached:", "Dirty:"}, f[0]) {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		fmt.Fprintf(c.out, "%-13s %6.1f MiB\n", f[0], float64(kib)/1024)
	}
	return nil
}

// ps lists the processes by proc_pid_stat(5).
func ps(c *call) error {
	dirs, err := filepath.Glob(c.s.path("proc/[0-9]*"))
	if err != nil {
		return err
	}
	slices.SortFunc(dirs, func(a, b string) int {
		m, _ := strconv.Atoi(filepath.Base(a))
		n, _ := strconv.Atoi(filepath.Base(b))
		return m - n
	})
	fmt.Fprintln(c.out, "    PID S NAME")
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has just gone
		}
		name, state := parseStat(string(b))
		fmt.Fprintf(c.out, "%7s %s %s\n", filepath.Base(dir), state, name)
	}
	return nil
}

// parseStat returns the name and the state of a process. The name may hold anything, so
// it ends at the last parenthesis.
func parseStat(stat string) (name, state string) {
	i, j := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if i < 0 || j < i {
		return "?", "?"
	}
	f := strings.Fields(stat[j+1:])
	if len(f) == 0 {
		return evidence.Printable(stat[i+1 : j]), "?"
	}
	return evidence.Printable(stat[i+1 : j]), evidence.Printable(f[0])
}

package rescue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
	"ukdump/internal/vmcore"
)

// saveDir is the mount point of save, below the root.
const saveDir = "run/ukdump/save"

// leastRoom is the room without which no collector is tried, in bytes.
const leastRoom = 1 << 20

func saveCommand(c *call) error {
	if len(c.args) != 1 {
		return usage("save DEVICE|DIRECTORY")
	}
	path := c.s.device(c.path(c.args[0]), c.args[0])
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		if c.s.memory(path) {
			return advice.With(fmt.Errorf("%s is in memory, which the reboot clears", path), "Name a device, such as one of lsblk, or mount one first.")
		}
		return c.saveTo(path, crashdir.Target{Dir: path})
	}
	return c.saveOn(path)
}

// saveOn mounts a device for a dump.
func (c *call) saveOn(device string) (err error) {
	id, err := c.s.probe(device)
	if err != nil {
		return advice.With(fmt.Errorf("%s: %w", device, err), "Name a device with a file system: blkid lists them.")
	}
	dir := c.s.path(saveDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	options := ""
	if strings.HasPrefix(id.Type, "ext") {
		options = "errors=continue" // the superblock may ask for a panic
	}
	if err := unix.Mount(device, dir, id.Type, unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, options); err != nil {
		return advice.With(fmt.Errorf("mount %s as %s: %w", device, id.Type, err), "The image has modules for the targets of the plan only; dmesg has the kernel's reason.")
	}
	err = c.saveTo(dir, crashdir.Target{Dir: device, Device: filepath.Base(device), FSType: id.Type, UUID: id.UUID})
	unix.Sync()
	if uerr := unix.Unmount(dir, 0); uerr != nil {
		return errors.Join(err, fmt.Errorf("unmount %s: %w", device, uerr))
	}
	return err
}

// inMemory reports whether dir is on a file system in memory, as the root is.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	const ramfs = 0x858458f6 // RAMFS_MAGIC of linux/magic.h
	return unix.Statfs(dir, &st) == nil && (int64(st.Type) == ramfs || int64(st.Type) == unix.TMPFS_MAGIC)
}

// saveTo writes a dump into a new directory, the most certain first.
func (c *call) saveTo(parent string, target crashdir.Target) error {
	dir, err := crashdir.Create(parent, time.Now())
	if err != nil {
		return err
	}
	r := crashdir.Report{Version: crashdir.ReportVersion, Software: plan.Software}
	if c.s.report != nil {
		r = *c.s.report
	}
	r.Target, r.Outcome, r.Vmcore, r.Collector = target, crashdir.Failed, 0, ""
	if room, err := crashdir.RoomIn(dir); err == nil {
		r.Target.Free = room.Free
	}
	errLog := c.writeLog(dir)
	if errLog == nil {
		r.Outcome = crashdir.DmesgOnly
		fmt.Fprintln(c.out, "saved", filepath.Join(dir, crashdir.Dmesg))
	}
	if b, err := kernelLog(); err == nil {
		errLog = errors.Join(errLog, crashdir.WriteFile(dir, crashdir.CaptureLog, bytesTo(b)))
	}
	errReport := c.writeReport(dir, &r)
	if r.LogOnly = false; c.s.Plan != nil && c.s.Plan.LogOnly {
		r.LogOnly = errLog == nil
		return errors.Join(errLog, c.writeReport(dir, &r))
	}
	errCore := c.writeVmcore(dir, &r)
	if errCore == nil {
		r.Outcome = crashdir.Complete
		fmt.Fprintln(c.out, "saved", filepath.Join(dir, crashdir.Vmcore))
	} else {
		r.Errors = append(r.Errors, errCore.Error())
		if _, err := os.Stat(filepath.Join(dir, crashdir.Vmcore+crashdir.Suffix)); err == nil {
			r.Outcome = crashdir.Incomplete
		}
	}
	if errReport == nil {
		errReport = c.writeReport(dir, &r)
	}
	return errors.Join(errLog, errCore, errReport)
}

func bytesTo(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

func (c *call) writeReport(dir string, r *crashdir.Report) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	return crashdir.WriteFile(dir, crashdir.ReportFile, bytesTo(b))
}

// writeLog writes the log of the crashed kernel.
func (c *call) writeLog(dir string) error {
	f, core, err := c.s.openCore()
	if err != nil {
		return err
	}
	defer f.Close()
	return crashdir.WriteFile(dir, crashdir.Dmesg, core.WriteLog)
}

// openCore opens the memory of the crashed kernel.
func (s *Session) openCore() (*os.File, *vmcore.File, error) {
	f, err := os.Open(s.path("proc/vmcore"))
	if err != nil {
		return nil, nil, err
	}
	core, err := vmcore.Open(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("/proc/vmcore: %w", err)
	}
	return f, core, nil
}

// writeVmcore runs the collectors of the plan until one leaves a verified vmcore.
func (c *call) writeVmcore(dir string, r *crashdir.Report) error {
	if c.s.Plan == nil {
		return errors.New("vmcore: the plan with the collectors cannot be read")
	}
	output := filepath.Join(dir, crashdir.Vmcore+crashdir.Suffix)
	var errs error
	collectors := slices.DeleteFunc(slices.Clone(c.s.Plan.Collectors), func(c plan.Collector) bool { return !c.Pays(runtime.NumCPU()) })
	for i, collector := range collectors {
		room, err := crashdir.RoomIn(dir)
		if err != nil {
			return err
		}
		limit := min(room.Free, room.Largest)
		if limit < leastRoom {
			return errors.Join(errs, fmt.Errorf("no room for a vmcore: %d KiB", limit>>10))
		}
		fmt.Fprintf(c.out, "%s: %d MiB free\n", collector.Name, limit>>20)
		err = c.collect(collector.Argv, output, limit)
		if err == nil {
			err = c.s.verify(output)
		}
		if err == nil {
			r.Collector = collector.Name
			if fi, err := os.Stat(output); err == nil {
				r.Vmcore = fi.Size()
			}
			return crashdir.Commit(dir, crashdir.Vmcore)
		}
		errs = errors.Join(errs, fmt.Errorf("%s: %w", collector.Name, err))
		if c.ctx.Err() != nil || i+1 == len(collectors) {
			break // what there is of the vmcore is kept
		}
		if err := os.Remove(output); err != nil && !os.IsNotExist(err) {
			return errors.Join(errs, err)
		}
	}
	return errs
}

// collect runs a collector, which may write up to limit bytes.
func (c *call) collect(argv []string, output string, limit int64) error {
	var args []string
	for _, a := range argv {
		switch a {
		case plan.VmcoreArg:
			a = c.s.path("proc/vmcore")
		case plan.OutputArg:
			a = output
		case plan.LimitArg:
			a = strconv.FormatInt(limit, 10)
		case plan.InfoArg:
			args = append(args, c.infoArgs()...)
			continue
		}
		args = append(args, a)
	}
	cmd := exec.CommandContext(c.ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = c.out, c.errors
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH=/"+plan.LibraryDir)
	if err := cmd.Start(); err != nil {
		return err
	}
	// The OOM killer takes the collector before the shell.
	os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte("1000"), 0)
	return cmd.Wait()
}

// infoArgs returns the arguments of makedumpfile for this memory.
func (c *call) infoArgs() []string {
	f, core, err := c.s.openCore()
	if err != nil {
		return nil // the collector says why
	}
	defer f.Close()
	args, err := makedumpfile.InfoArgs(core.Info, c.s.path("run/ukdump/vmcoreinfo"))
	if err != nil {
		fmt.Fprintf(c.errors, "write VMCOREINFO for makedumpfile: %v\n", err)
	}
	return args
}

// verify reads a vmcore back from the disk and compares it with the memory.
func (s *Session) verify(name string) error {
	memory, core, err := s.openCore()
	if err != nil {
		return err
	}
	defer memory.Close()
	marks, _ := core.Marks() // some are better than none
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return os.NewSyscallError("fadvise", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	h, err := dumpfile.ReadHeader(f)
	if err != nil {
		return err
	}
	if err := h.VerifyMemory(f, fi.Size(), dumpfile.Memory{Core: core, Marks: marks}); err != nil {
		return err
	}
	if !h.Complete {
		return errors.New("the vmcore is marked as incomplete")
	}
	return nil
}

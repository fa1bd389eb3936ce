// Package collect makes directories of the dumps that a capture kernel wrote to raw
// devices.
package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/rawdump"
	"ukdump/internal/state"
)

// systemctlLimit is the limit of swapon(8) and systemctl(1).
const systemctlLimit = 30 * time.Second

// Run is one run of kdumpctl collect.
type Run struct {
	Out     *cli.Program // for messages
	Root    string       // of the machine; "/" but for tests
	Store   state.Store
	Dir     string // where to save the dumps; "" is the first configured directory
	Foreign bool   // collect the dumps of other machines, too
	Discard bool   // give the devices back without saving anything

	Sleep     func(time.Duration)
	Swapon    func() error             // turns on the swap that the machine is configured to have
	MountJobs func() ([]string, error) // returns where systemd is about to mount something

	// For tests: Step is called before each step of a dump, which ends there with its
	// error, and Disk takes the place of a device that is read.
	Step func() error
	Disk func(device io.ReaderAt) io.ReaderAt

	machine  string        // this one's ID, "" if it has none
	patience time.Duration // for the directory to be mounted
	found    bool          // a dump, wherever it belongs
	unread   bool          // a device, so nobody knows
	swap     bool          // an area of swap was given back
}

// Collect makes directories of the raw dumps and gives their devices back. One dump
// that cannot be collected does not hold up the others; the error is that of the
// last one.
func (r *Run) Collect() error {
	r.patience = MountLimit
	if h, err := host.Open(r.Root); err == nil {
		r.machine, _ = h.MachineID()
	}
	r.awaitVolumes()
	devices, err := host.BlockDevices(r.Root)
	if err != nil {
		return err
	}
	// One dump that cannot be collected must not hold up the others.
	var failed []error
	for _, dev := range devices {
		if err := r.device(dev); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", dev.Path, err))
		}
	}
	if r.swap {
		if err := r.Swapon(); err != nil {
			r.Out.Warn(fmt.Sprintf("turn swap on again: %v", err))
		}
	}
	if len(failed) > 0 {
		last := len(failed) - 1
		for _, err := range failed[:last] {
			r.Out.Warn(err.Error())
		}
		return failed[last]
	}
	if !r.found && !r.unread {
		fmt.Fprintln(r.Out.Stdout, "Nothing to collect.")
	}
	return nil
}

// awaitVolumes waits for the logical volumes that the capture kernel could write
// to. LVM turns volumes on after udev is done with what they lie on, so udevadm
// settle does not wait for them.
func (r *Run) awaitVolumes() {
	volumes := r.Store.LoadedVolumes()
	for left := host.AppearLimit; ; left -= host.AppearInterval {
		missing := host.MissingVolumes(r.Root, volumes)
		if len(missing) == 0 {
			return
		}
		if left <= 0 {
			r.Out.Warn("logical volumes that may hold a dump did not appear: " + strings.Join(missing, ", "))
			return
		}
		r.Sleep(host.AppearInterval)
	}
}

// device collects or discards the dump on one device.
func (r *Run) device(dev host.RawDevice) error {
	ours, err := r.look(dev)
	if !ours || err != nil {
		return err
	}
	// The kernel gives no device exclusively that is mounted, swapped to or part
	// of another, see O_EXCL in open(2), and none of that begins meanwhile.
	f, err := os.OpenFile(dev.Path, os.O_RDWR|os.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return errors.New("the device has a raw dump, but is in use")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if r.Discard {
		return r.discardFrom(f, dev)
	}
	var disk io.ReaderAt = f
	if r.Disk != nil {
		disk = r.Disk(f)
	}
	dump, err := rawdump.Open(disk, dev.Size)
	if err != nil {
		return left(err)
	}
	parent, err := r.parent()
	if err != nil {
		return err
	}
	return (&dumpRun{run: r, dev: dev, f: f, dump: dump, parent: parent}).collect()
}

// look reports whether the device has a dump that this run is for. It only
// reads: closing a device that was open for writing has udev look at it again.
func (r *Run) look(dev host.RawDevice) (bool, error) {
	f, err := os.Open(dev.Path)
	if err != nil {
		// Paths of multipath NVMe have no node, drives no medium.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENOMEDIUM) {
			r.unread = true
			r.Out.Warn(fmt.Sprintf("look for a raw dump: %v", err))
		}
		return false, nil
	}
	defer f.Close()
	dump, err := rawdump.Open(f, dev.Size)
	var damaged *rawdump.DamagedError
	var version *rawdump.VersionError
	switch {
	case errors.Is(err, rawdump.ErrNone):
		return false, nil
	case errors.As(err, &damaged):
		r.found = true
		if r.Discard {
			return true, nil
		}
		return false, left(err)
	case errors.As(err, &version):
		r.found = true
		return false, err
	case err != nil:
		r.unread = true
		r.Out.Warn(fmt.Sprintf("look for a raw dump on %s: %v", dev.Path, err))
		return false, nil
	}
	r.found = true
	if dump.Header.Foreign(r.machine) && !r.Foreign {
		r.Out.Warn(fmt.Sprintf("%s has %s which stays there. Run kdumpctl collect --foreign to save it", dev.Path, r.whose(&dump.Header)))
		return false, nil
	}
	return true, nil
}

func (r *Run) discardFrom(f *os.File, dev host.RawDevice) error {
	if err := r.restore(f, dev); err != nil {
		return err
	}
	fmt.Fprintf(r.Out.Stdout, "discarded the dump on %s\n", dev.Path)
	return nil
}

// restore gives the device back.
func (r *Run) restore(f *os.File, dev host.RawDevice) error {
	original, err := rawdump.Restore(f, dev.Size)
	if err != nil {
		return err
	}
	r.swap = r.swap || original
	return nil
}

// parent returns the directory for dumps. It must be the one that is meant, not
// what a file system will be mounted over later in the boot.
func (r *Run) parent() (string, error) {
	if r.Dir != "" {
		return r.Dir, nil
	}
	conf, err := config.Load(r.Root)
	if err != nil {
		return "", err
	}
	dir := conf.DumpDirs(r.Root)[0]
	if m := r.awaitMount(dir); m != nil {
		return "", advice.With(
			stays(fmt.Errorf("%s is not mounted, and dumps go to %s", m.Point, dir)),
			"Mount "+m.Point+" and run kdumpctl collect again, or name another directory with --dir.")
	}
	return dir, nil
}

// left is why a dump cannot be collected and is left on its device. That can be
// given back all the same.
func left(err error) error {
	return advice.With(stays(err), "Run kdumpctl collect --discard to give the device back without saving the dump.")
}

// stays is an error after which the raw dump is where it was.
func stays(err error) error { return fmt.Errorf("the raw dump stays there: %w", err) }

// Swapon turns on the configured swap of this machine. Where systemd
// does that it is only told to: it waits until udev has seen the swap again, and
// what it has begun itself at boot must not be done twice.
func Swapon() error {
	argv := []string{"swapon", "-a"}
	if host.SystemdRuns("/") {
		argv = []string{"systemctl", "--no-block", "start", "swap.target"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), systemctlLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

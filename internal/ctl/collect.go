package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/host"
	"ukdump/internal/rawdump"
)

const collectUsage = `Usage: kdumpctl collect [--dir DIRECTORY] [--foreign] [--discard]

Looks on all block devices for dumps that a capture kernel wrote there without a
file system, makes directories of them, and gives the devices back: what was
swap is swap again. A dump that cannot be saved stays where it is.

  --dir DIRECTORY  where to save them (default: the first configured directory)
  --foreign        also those of other machines
  --discard        give the devices back without saving what is on them
`

// systemctlLimit bounds how long swapon(8) or systemctl(1) may take.
const systemctlLimit = 30 * time.Second

// collector is one run of kdumpctl collect.
type collector struct {
	*ctl
	dir     string // of --dir
	foreign bool
	discard bool

	machine  string        // this one's ID, "" if it has none
	patience time.Duration // for the directory to be mounted
	found    bool          // a dump, wherever it belongs
	unread   bool          // a device, so nobody knows
	swap     bool          // an area of swap was given back
}

// rawDevice is a block device that is looked at.
type rawDevice struct {
	name string // the kernel's
	path string // below /dev
	size int64  // bytes
}

func (c *ctl) collect(args []string) error {
	run := collector{ctl: c, patience: mountLimit}
	flags := c.Flags("collect", collectUsage)
	flags.StringVar(&run.dir, "dir", "", "")
	flags.BoolVar(&run.foreign, "foreign", false, "")
	flags.BoolVar(&run.discard, "discard", false, "")
	if _, err := cli.Parse(flags, args, 0, 0); err != nil {
		return err
	}
	if err := c.needRoot("collect"); err != nil {
		return err
	}
	if h, err := host.Open(c.root); err == nil {
		run.machine, _ = h.MachineID()
	}
	c.awaitVolumes()
	devices, err := c.blockDevices()
	if err != nil {
		return err
	}
	// One dump that cannot be collected must not hold up the others.
	var failed []error
	for _, dev := range devices {
		if err := run.device(dev); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", dev.path, err))
		}
	}
	if run.swap {
		if err := c.swapon(); err != nil {
			c.Warn(fmt.Sprintf("swap is not turned on again: %v", err))
		}
	}
	if len(failed) > 0 {
		last := len(failed) - 1
		for _, err := range failed[:last] {
			c.Warn(err.Error())
		}
		return failed[last]
	}
	if !run.found && !run.unread {
		fmt.Fprintln(c.Stdout, "Nothing to collect.")
	}
	return nil
}

// appearLimit is how long raw devices are awaited that appear in the course of a
// boot, each appearInterval.
const (
	appearLimit    = 20 * time.Second
	appearInterval = 200 * time.Millisecond
)

// awaitVolumes waits for the logical volumes that the capture kernel could write
// to. LVM turns volumes on after udev is done with what they lie on, so udevadm
// settle does not wait for them.
func (c *ctl) awaitVolumes() {
	volumes := c.rawVolumes()
	for left := appearLimit; ; left -= appearInterval {
		missing := c.missingVolumes(volumes)
		if len(missing) == 0 {
			return
		}
		if left <= 0 {
			c.Warn("no logical volume has appeared that may hold a dump: " + strings.Join(missing, ", "))
			return
		}
		c.sleep(appearInterval)
	}
}

// rawVolumes returns the logical volumes that the last loads had as raw targets. A
// load that goes on at the same time takes loaded.json away for a moment, but
// never the last good set.
func (c *ctl) rawVolumes() []string {
	var volumes []string
	if l := c.lastLoaded(); l != nil {
		volumes = l.Volumes
	}
	good := new(set)
	if readState(filepath.Join(c.lastGoodDir(), setFile), maxSetFile, good) == nil {
		volumes = append(volumes, good.Volumes...)
	}
	slices.Sort(volumes)
	return slices.Compact(volumes)
}

// missingVolumes returns those of the volumes that are not there, by dm/uuid.
func (c *ctl) missingVolumes(uuids []string) (missing []string) {
	there := make(map[string]bool)
	files, _ := filepath.Glob(filepath.Join(c.root, "sys/class/block/dm-*/dm/uuid")) // our own pattern cannot be bad
	for _, name := range files {
		b, _ := os.ReadFile(name)
		there[strings.TrimSpace(string(b))] = true
	}
	for _, id := range uuids {
		if !there[id] {
			missing = append(missing, id)
		}
	}
	return missing
}

// blockDevices returns the block devices that can hold a dump: not those that
// another one is built on, because the dump is on that, and no drives that take
// seconds to find out that they are empty.
func (c *ctl) blockDevices() ([]rawDevice, error) {
	class := filepath.Join(c.root, "sys/class/block")
	ents, err := os.ReadDir(class)
	if err != nil {
		return nil, err
	}
	var list []rawDevice
	for _, e := range ents {
		name := e.Name()
		if strings.HasPrefix(name, "sr") || strings.HasPrefix(name, "fd") || strings.HasPrefix(name, "ram") {
			continue
		}
		if holders, _ := os.ReadDir(filepath.Join(class, name, "holders")); len(holders) > 0 {
			continue
		}
		// In units of 512 bytes whatever the disk's sectors are (Documentation/ABI/stable/sysfs-block).
		b, _ := os.ReadFile(filepath.Join(class, name, "size"))
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 54)
		if err != nil || n*512 < rawdump.MinSize {
			continue
		}
		// sysfs has '!' for '/' in names.
		list = append(list, rawDevice{name, filepath.Join(c.root, "dev", strings.ReplaceAll(name, "!", "/")), n * 512})
	}
	return list, nil
}

// device collects or discards what there is on one device.
func (r *collector) device(dev rawDevice) error {
	ours, err := r.look(dev)
	if !ours || err != nil {
		return err
	}
	// The kernel gives no device exclusively that is mounted, swapped to or part
	// of another, see O_EXCL in open(2), and none of that begins meanwhile.
	f, err := os.OpenFile(dev.path, os.O_RDWR|os.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return errors.New("it has a raw dump, but it is in use")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if r.discard {
		return r.discardFrom(f, dev)
	}
	dump, err := rawdump.Open(f, dev.size)
	if err != nil {
		return left(err)
	}
	parent, err := r.parent()
	if err != nil {
		return err
	}
	return (&collection{run: r, dev: dev, f: f, dump: dump, parent: parent}).collect()
}

// look reports whether the device has a dump that this run is for. It only
// reads: closing a device that was open for writing has udev look at it again.
func (r *collector) look(dev rawDevice) (bool, error) {
	f, err := os.Open(dev.path)
	if err != nil {
		// Paths of multipath NVMe have no node, drives no medium.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENOMEDIUM) {
			r.unread = true
			r.Warn(fmt.Sprintf("whether there is a raw dump is not known: %v", err))
		}
		return false, nil
	}
	defer f.Close()
	dump, err := rawdump.Open(f, dev.size)
	var damaged *rawdump.DamagedError
	var version *rawdump.VersionError
	switch {
	case errors.Is(err, rawdump.ErrNone):
		return false, nil
	case errors.As(err, &damaged):
		r.found = true
		if r.discard {
			return true, nil
		}
		return false, left(err)
	case errors.As(err, &version):
		r.found = true
		return false, err
	case err != nil:
		r.unread = true
		r.Warn(fmt.Sprintf("whether there is a raw dump on %s is not known: %v", dev.path, err))
		return false, nil
	}
	r.found = true
	if fromAnother(&dump.Header, r.machine) && !r.foreign {
		name := dump.Header.Host
		if name == "" { // it has no /etc/hostname
			name = dump.Header.MachineID
		}
		r.Warn(fmt.Sprintf("%s has a dump of another machine, %s, which stays there: kdumpctl collect --foreign would save it", dev.path, name))
		return false, nil
	}
	return true, nil
}

// fromAnother reports whether a dump is of another machine than the one with that ID.
func fromAnother(h *rawdump.Header, machine string) bool {
	return h.MachineID != "" && machine != "" && h.MachineID != machine
}

func (r *collector) discardFrom(f *os.File, dev rawDevice) error {
	if err := r.restore(f, dev); err != nil {
		return err
	}
	fmt.Fprintf(r.Stdout, "discarded the dump on %s\n", dev.path)
	return nil
}

// restore gives the device back.
func (r *collector) restore(f *os.File, dev rawDevice) error {
	original, err := rawdump.Restore(f, dev.size)
	if err != nil {
		return err
	}
	r.swap = r.swap || original
	return nil
}

// parent returns the directory for dumps. It must be the one that is meant, not
// what a file system will be mounted over later in the boot.
func (r *collector) parent() (string, error) {
	if r.dir != "" {
		return r.dir, nil
	}
	conf, err := r.config()
	if err != nil {
		return "", err
	}
	dir := conf.DumpDirs(r.root)[0]
	r.awaitMounts(dir)
	if m := r.notMounted(dir); m != nil {
		return "", advice.With(
			stays(fmt.Errorf("%s is not mounted, and dumps go to %s", m.point, dir)),
			"Mount "+m.point+" and run kdumpctl collect again, or name another directory with --dir.")
	}
	return dir, nil
}

// left is why a dump cannot be collected and is left on its device. That can be
// given back all the same.
func left(err error) error {
	return advice.With(stays(err), "kdumpctl collect --discard gives the device back without saving what is left on it.")
}

// stays is an error after which the raw dump is where it was.
func stays(err error) error { return fmt.Errorf("the raw dump stays there: %w", err) }

// swapon turns on what swap this machine is configured to have. Where systemd
// does that it is only told to: it waits until udev has seen the swap again, and
// what it has begun itself at boot must not be done twice.
func swapon() error {
	argv := []string{"swapon", "-a"}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // sd_booted(3)
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

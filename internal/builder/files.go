package builder

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/initramfs"
	"ukdump/internal/advice"
	"ukdump/internal/config"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

// add puts one file into the image and remembers why. Of two with one name the first
// is taken.
func (b *Build) add(name string, data []byte, perm fs.FileMode, why string) error {
	sum := sha256.Sum256(data)
	for _, f := range b.Files {
		if f.Path != name {
			continue
		}
		if f.sum != sum { // not one library that two programs share
			b.warn("%s is packed once: the file for %q differs from that for %q", name, why, f.Why)
		}
		return nil
	}
	if err := b.image.AddFile(name, data, perm); err != nil {
		return err
	}
	b.Files = append(b.Files, File{Path: name, Size: int64(len(data)), Why: why, sum: sum})
	return nil
}

func (b *Build) warn(format string, a ...any) {
	b.Warnings = append(b.Warnings, fmt.Sprintf(format, a...))
}

// AllWarnings returns Warnings, and one for each omitted and each read-only target.
func (b *Build) AllWarnings() []string {
	list := slices.Clone(b.Warnings)
	for _, o := range b.Omitted {
		list = append(list, o.Error(), o.Advice())
	}
	for _, ro := range b.ReadOnly {
		list = append(list, ro.Error())
	}
	return list
}

// addPid1 packs kdumpinit and the files that it needs to start.
func (b *Build) addPid1(o Options) error {
	data, err := readPid1(pid1Path(o), b.Kernel.Arch)
	if err != nil {
		return err
	}
	if err := b.add("init", data, 0o755, "PID 1"); err != nil {
		return err
	}
	// Where the kernel has no console, a Go program finds its descriptors 0 to
	// 2 closed, opens /dev/null for them, and dies if it cannot.
	if err := b.add("dev/null", nil, 0o666, "lets PID 1 start without a console"); err != nil {
		return err
	}
	for _, d := range []string{"mnt", "proc", "run", "sys", "tmp"} {
		if err := b.image.AddDir(d, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// addMakedumpfile packs makedumpfile and plans the ladder of collectors. A dump without a
// vmcore needs neither.
func (b *Build) addMakedumpfile(o Options) error {
	if b.Plan.LogOnly {
		return nil
	}
	m, err := b.planCollectors(o)
	if err != nil {
		return err
	}
	return b.addProgram(m.Path, makedumpfilePath, "version "+m.Version+", saves the vmcore")
}

// planCollectors plans the ladder of collectors.
func (b *Build) planCollectors(o Options) (*makedumpfile.Program, error) {
	m, err := findMakedumpfile(b.host)
	if err != nil {
		return nil, err
	}
	compress, err := b.compression(m, o.Config.Compress)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Config.Where("COMPRESS"), err)
	}
	b.Makedumpfile, b.DumpLevel = m.Path, b.dumpLevel(o.Config.DumpLevel, m.Version)
	if b.Plan.Collectors, err = collectors(m, b.DumpLevel, b.possibleLevel(allPages, m.Version), compress); err != nil {
		return nil, err
	}
	if err := b.addCompressor(o, m, compress); err != nil {
		return nil, err
	}
	if b.Kernel.Arch == "arm64" {
		for i := range b.Plan.Collectors {
			c := &b.Plan.Collectors[i]
			c.Argv, c.Stream = withInfo(c.Argv), withInfo(c.Stream)
		}
	}
	return m, nil
}

// withInfo returns an argument vector with InfoArg behind makedumpfile, if that is in it.
func withInfo(argv []string) []string {
	i := slices.Index(argv, "/"+makedumpfilePath)
	if i < 0 {
		return argv
	}
	return slices.Insert(slices.Clone(argv), i+1, plan.InfoArg)
}

// shellTimeout returns the seconds without input that end the shell, 0 if there is no
// shell or no limit.
func shellTimeout(c *config.Config) int {
	if c.FailureAction != plan.Shell {
		return 0
	}
	return int(c.ShellTimeout.Seconds())
}

// addShell packs ukdump-rescue if the configuration asks for a shell, and busybox if
// that is not installed.
func (b *Build) addShell(o Options) error {
	if b.Plan.FailureAction != plan.Shell {
		return nil
	}
	rescue := filepath.Join(filepath.Dir(o.Pid1), "ukdump-rescue")
	_, err := os.Stat(rescue)
	if err == nil {
		return b.addRescue(rescue)
	}
	for _, p := range []string{"/bin/busybox", "/usr/bin/busybox", "/usr/lib/initcpio/busybox", "/sbin/busybox", "/usr/sbin/busybox", "/run/current-system/sw/bin/busybox"} {
		if isFile(b.host, p) {
			return b.addProgram(p, plan.ShellPath, "FAILURE_ACTION=shell")
		}
	}
	return advice.With(fmt.Errorf("%s: FAILURE_ACTION=shell: neither %s nor busybox is installed", o.Config.Where("FAILURE_ACTION"), rescue),
		"Install the ukdump-rescue of ukdump, or choose reboot, poweroff or halt.")
}

// addRescue packs ukdump-rescue, which must be of this version as it reads the plan.
func (b *Build) addRescue(path string) error {
	data, err := readPid1(path, b.Kernel.Arch)
	var wrong *Pid1Error
	if errors.As(err, &wrong) {
		wrong.program = "ukdump-rescue"
	}
	if err != nil {
		return err
	}
	return b.add(plan.RescuePath, data, 0o755, "FAILURE_ACTION=shell")
}

// addProgram packs a program with everything that the dynamic linker needs to
// start it.
func (b *Build) addProgram(program, name, why string) error {
	interp, libs, err := newLinker(b.host).closure(program, b.Kernel.Arch)
	if err != nil {
		return err
	}
	if err := b.addHostFile(program, name, 0o755, why); err != nil {
		return err
	}
	if interp != "" {
		if err := b.addHostFile(interp, strings.TrimPrefix(interp, "/"), 0o755, "dynamic linker"); err != nil {
			return err
		}
	}
	for _, l := range libs {
		if err := b.addHostFile(l.path, plan.LibraryDir+"/"+l.name, 0o644, l.why); err != nil {
			return err
		}
	}
	return nil
}

// addHostFile packs a file of the machine.
func (b *Build) addHostFile(file, name string, perm fs.FileMode, why string) error {
	data, err := b.host.ReadFile(file)
	if err != nil {
		return err
	}
	return b.add(name, data, perm, why)
}

// addPlan writes the plan, which is complete by now.
func (b *Build) addPlan() error {
	data, err := b.Plan.Encode()
	if err != nil {
		return err
	}
	return b.add(plan.Path, data, 0o600, "tells PID 1 what to do")
}

// deadlines returns the limits for a machine with mem bytes of memory. They are
// for machines that hang, not for slow ones: each is several times the need of a
// slow disk.
func deadlines(c *config.Config, mem int64) plan.Deadlines {
	d := plan.Deadlines{Module: 120, Device: 60, Mount: 180, Stall: 180, Finish: 180}
	// Filtering reads a bitmap of all memory, and more memory holds more that
	// is worth saving: 16 GiB a minute is slow even for one processor.
	d.Total = 15*60 + int(mem>>34)*60
	if c.Timeout > 0 {
		d.Total = int(c.Timeout.Seconds())
	}
	// The end must leave time for the steps before it. Waiting for a missing disk must
	// leave time to continue without it.
	d.Finish = min(d.Finish, max(1, d.Total/5))
	d.Device = min(d.Device, max(1, d.Total/5))
	return d
}

// Fingerprint returns the fingerprint of the image, see the function of that
// name. It is computed once: New was the last to change the image.
func (b *Build) Fingerprint() (string, error) {
	if b.fingerprint != "" {
		return b.fingerprint, nil
	}
	archive, err := b.Archive()
	if err != nil {
		return "", err
	}
	ours, err := Fingerprint(initramfs.Open(bytes.NewReader(archive)))
	if err == nil {
		b.fingerprint = b.withStock(ours)
	}
	return b.fingerprint, err
}

// Archive returns the image before compression; in emergency mode the part that
// goes before the distribution's own.
func (b *Build) Archive() ([]byte, error) {
	var buf bytes.Buffer
	_, err := b.image.WriteTo(&buf)
	return buf.Bytes(), err
}

// Fingerprint identifies an image by its unpacked files: names, modes and
// contents. The error is that of reading a damaged image.
func Fingerprint(r *initramfs.Reader) (string, error) {
	c, err := Inspect(r)
	if err != nil {
		return "", err
	}
	return c.Fingerprint, nil
}

// Unpacked returns the size of the unpacked image in bytes.
func (b *Build) Unpacked() int64 {
	var n int64
	for _, f := range b.Files {
		n += f.Size
	}
	return n
}

// PackedSize returns the size of the packed image in bytes. It takes as long as to write
// one.
func (b *Build) PackedSize() (int64, error) {
	var n counter
	err := b.image.Write(&n, b.Compression)
	return int64(n), err
}

// counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// WriteFile writes the image to path, mode 0600, beside it first, and renames
// it. On any error the old file is still at path.
func (b *Build) WriteFile(path string) error {
	return b.image.WriteFile(path, b.Compression)
}

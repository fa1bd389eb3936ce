package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Fake is a machine that is only a tree of files: a kernel of a root disk with its
// modules, makedumpfile of this host, and a sysfs with one disk. Programs with
// --root take it for a machine, and answer in a second.
type Fake struct {
	Dir     string
	Release string // of its kernel
}

// FakeDisk is the disk of a fake machine. It holds the root file system.
type FakeDisk struct {
	// Path leads through sysfs from the first device to the disk's parent. Each
	// device is NAME|MODALIAS|DRIVER|MODULE|SUBSYSTEM; what is missing at the end
	// is empty. A NAME with ! is only a directory.
	Path  []string
	Name  string   // of the device that has the file system: sda1, nvme0n1p1, vda
	Type  string   // of the file system
	Mkfs  []string // the program that makes it, with options; mkfs.TYPE if empty
	Mount string   // options in mountinfo; rw if empty
}

// NewFake makes a machine in the empty directory dir. kernel is a tree that
// Root.Kernel has filled for this release; its files are linked, not copied.
func NewFake(dir, kernel, release string, d FakeDisk) (*Fake, error) {
	f := &Fake{Dir: dir, Release: release}
	for name, content := range map[string]string{
		"etc/machine-id":            "0123456789abcdef0123456789abcdef\n",
		"proc/sys/kernel/osrelease": release + "\n",
		"proc/meminfo":              "MemTotal: 2030000 kB\n",
		"proc/cmdline":              "root=/dev/" + d.Name + " crashkernel=256M\n",
		"proc/swaps":                "Filename Type Size Used Priority\n",
		"var/crash/.keep":           "",
		"run/.keep":                 "",
		"dev/.keep":                 "",
	} {
		if err := f.Write(name, content); err != nil {
			return nil, err
		}
	}
	err := errors.Join(linkTree(kernel, dir), f.programs(), f.disk(d), os.Symlink("usr/lib", filepath.Join(dir, "lib")), os.Symlink("usr/lib64", filepath.Join(dir, "lib64")))
	return f, err
}

// Write writes a file of the machine.
func (f *Fake) Write(name, content string) error {
	name = filepath.Join(f.Dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be a link to a shared file
		return err
	}
	return os.WriteFile(name, []byte(content), 0o644)
}

// Read returns a file of the machine.
func (f *Fake) Read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(f.Dir, name))
	return string(b), err
}

// Modules returns the name of a file of the kernel's module tree.
func (f *Fake) Modules(name string) string {
	return filepath.Join("usr/lib/modules", f.Release, name)
}

// link makes a symbolic link of sysfs.
func (f *Fake) link(target, name string) error {
	name = filepath.Join(f.Dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	to, err := filepath.Rel(filepath.Dir(name), filepath.Join(f.Dir, target))
	if err != nil {
		return err
	}
	if err := os.Symlink(to, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// disk makes the file system and everything that sysfs and proc tell about it.
func (f *Fake) disk(d FakeDisk) error {
	image := filepath.Join(f.Dir, "dev", d.Name)
	if err := zeros(image, 320<<20); err != nil { // mkfs.xfs takes no less
		return err
	}
	mkfs := d.Mkfs
	if len(mkfs) == 0 {
		mkfs = []string{"mkfs." + d.Type, "-q"}
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(mkfs, " "), err, out)
	}
	at := "sys/devices"
	for _, device := range d.Path {
		var err error
		if at, err = f.device(at, device); err != nil {
			return err
		}
	}
	whole := strings.TrimRight(d.Name, "0123456789")
	if strings.HasPrefix(whole, "nvme") || strings.HasPrefix(whole, "mmcblk") {
		whole, _, _ = strings.Cut(d.Name, "p")
	}
	number := func(minor string) string { return "259:" + minor + "\n" }
	blocks := []struct{ name, minor string }{{whole, "0"}}
	if d.Name != whole {
		blocks = append(blocks, struct{ name, minor string }{d.Name, "1"})
	}
	if !strings.HasPrefix(whole, "nvme") {
		at = filepath.Join(at, "block")
	}
	var err error
	for _, b := range blocks {
		at = filepath.Join(at, b.name)
		err = errors.Join(err, f.Write(at+"/uevent", ""), f.Write(at+"/dev", number(b.minor)), f.Write(at+"/size", "655360\n"),
			f.link("sys/class/block", at+"/subsystem"), f.link(at, "sys/class/block/"+b.name), f.link(at, "sys/dev/block/"+strings.TrimSpace(number(b.minor))))
		if b.name != whole {
			err = errors.Join(err, f.Write(at+"/partition", "1\n"))
		}
	}
	options := d.Mount
	if options == "" {
		options = "rw"
	}
	from := strings.TrimSpace(number(blocks[len(blocks)-1].minor))
	if d.Type == "btrfs" {
		from = "0:30" // its devices have no number of their own in mountinfo
	}
	return errors.Join(err, f.Write("proc/self/mountinfo", fmt.Sprintf("24 1 %s / / %s - %s /dev/%s %s\n", from, options, d.Type, d.Name, options)))
}

// device adds a device below at and returns its directory.
func (f *Fake) device(at, device string) (string, error) {
	fields := append(strings.Split(device, "|"), "", "", "", "")
	name, alias, driver, module, subsystem := fields[0], fields[1], fields[2], fields[3], fields[4]
	if plain, ok := strings.CutPrefix(name, "!"); ok {
		return filepath.Join(at, plain), nil
	}
	at = filepath.Join(at, name)
	if subsystem == "" {
		subsystem = "platform"
		if bus, _, ok := strings.Cut(alias, ":"); ok {
			subsystem = bus
		}
	}
	err := errors.Join(f.Write(at+"/uevent", ""), f.Write("sys/bus/"+subsystem+"/.keep", ""), f.link("sys/bus/"+subsystem, at+"/subsystem"))
	if alias != "" {
		err = errors.Join(err, f.Write(at+"/modalias", alias+"\n"))
	}
	if driver == "" {
		return at, err
	}
	drivers := "sys/bus/" + subsystem + "/drivers/" + driver
	err = errors.Join(err, f.Write(drivers+"/.keep", ""), f.link(drivers, at+"/driver"))
	if module != "" {
		err = errors.Join(err, f.Write("sys/module/"+module+"/initstate", "live\n"), f.link("sys/module/"+module, drivers+"/module"))
	}
	return at, err
}

// programs copies makedumpfile of this host with its libraries.
func (f *Fake) programs() error {
	program, err := exec.LookPath("makedumpfile")
	if err != nil {
		return err
	}
	// libgcc_s is opened by glibc when a thread ends.
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", program, err)
	}
	files := map[string]string{"usr/bin/makedumpfile": program}
	for _, word := range strings.Fields(string(out)) {
		switch {
		case strings.HasPrefix(word, "/lib64/"):
			files["usr/lib64/"+filepath.Base(word)] = word
		case strings.HasPrefix(word, "/"):
			files["usr/lib/x86_64-linux-gnu/"+filepath.Base(word)] = word
			files["usr/lib/x86_64-linux-gnu/libgcc_s.so.1"] = filepath.Join(filepath.Dir(word), "libgcc_s.so.1")
		}
	}
	for to, from := range files {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := f.Write(to, string(b)); err != nil {
			return err
		}
	}
	return nil
}

// linkTree makes hard links of all files below from.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(name, from))
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o755)
		case e.Type().IsRegular():
			return os.Link(name, target)
		}
		return nil
	})
}

// AddKernel adds the kernel of another tree that Root.Kernel has filled.
func (f *Fake) AddKernel(kernel string) error { return linkTree(kernel, f.Dir) }

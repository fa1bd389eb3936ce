package builder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ukdump/initramfs"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
	"ukdump/internal/kmod"
	"ukdump/internal/plan"
)

// emergencyUnits are the units that systemd starts in emergency mode, and their directories.
var (
	emergencyUnits = []string{emergencyTarget, "ukdump-emergency.service"}
	generatedUnits = []string{"/run/systemd/generator", "/run/systemd/generator.late"}
)

// EmergencyError reports why this machine does not support emergency mode.
type EmergencyError struct{ Why, Remedy string }

func (e *EmergencyError) Error() string { return "emergency mode: " + e.Why }

// Advice returns the remedy.
func (e *EmergencyError) Advice() string { return e.Remedy }

// emergency prepares emergency mode: only a small archive with the guard and the
// plan is built. It goes before the distribution's own initramfs.
func (b *Build) emergency(o Options, conf *kimage.Config) error {
	for _, unit := range emergencyUnits {
		if !slices.ContainsFunc(host.BootUnitDirs, func(dir string) bool { return isFile(b.host, filepath.Join(dir, unit)) }) {
			return &EmergencyError{unit + " is not installed", "Install ukdump with its units; emergency mode needs systemd."}
		}
	}
	if err := b.checkBootOptions(o.Config); err != nil {
		return err
	}
	if err := b.startPlan(o); err != nil {
		return err
	}
	if err := b.findInitramfs(o.Config); err != nil {
		return err
	}
	if f := kfeature.LoadPinEnforced; f.In(b.Kernel.Release, conf) == kfeature.Yes {
		b.warn("%s loads modules from one file system only (%s in %s): drivers that are missing in %s cannot be loaded", b.Kernel.Release, f.Option, conf.Source, b.Initramfs)
	}
	guard, err := readPid1(o.Pid1, b.Kernel.Arch)
	if err != nil {
		return err
	}
	if err := b.add(plan.GuardPath, guard, 0o755, "makes sure that the machine comes back"); err != nil {
		return err
	}
	// As in addPid1; a device node of that name in the other initramfs replaces it.
	if err := b.add("dev/null", nil, 0o666, "lets the guard start without a console"); err != nil {
		return err
	}
	if err := b.emergencyTargets(o); err != nil {
		return err
	}
	if _, err := b.addWatchdogs(); err != nil {
		return err
	}
	if err := b.systemCollectors(o); err != nil {
		return err
	}
	if err := b.addPlan(); err != nil {
		return err
	}
	running, err := b.host.CommandLine()
	if err != nil {
		return err
	}
	b.Cmdline = EmergencyCommandLine(b.Kernel.Arch, conf, running, o.Config.BootOptions)
	b.CmdlineForeign = b.Cmdline
	if err := b.checkKernelWords(o.Config); err != nil {
		return err
	}
	return b.checkLength(o.Config)
}

// emergencyTargets plans the directories of the running system.
func (b *Build) emergencyTargets(o Options) error {
	dirs := o.Config.Directories()
	if len(o.Targets) > 0 {
		dirs = nil
		for _, t := range o.Targets {
			dirs = append(dirs, t.String())
		}
	}
	for _, dir := range dirs {
		t, err := b.mounted(dir)
		if err != nil {
			return err
		}
		b.Plan.Targets = append(b.Plan.Targets, t)
	}
	_, err := b.evidence(o, func(dir string) (plan.Target, []kmod.Request, error) {
		t, err := b.mounted(dir)
		return t, nil, err
	})
	return err
}

// mounted plans a directory that the distribution mounts.
func (b *Build) mounted(dir string) (plan.Target, error) {
	m, resolved, doubt, err := b.host.MountOf(dir)
	if err != nil {
		return plan.Target{}, err
	}
	if err := b.checkMounted(dir); err != nil {
		return plan.Target{}, err
	}
	if doubt != "" {
		b.warn("a dump in %s may be lost at the reboot: %s", dir, doubt)
	}
	if m.ReadOnly() {
		b.warn("a dump in %s may be lost: %s is mounted read-only, and so perhaps after a crash", dir, m.Point)
	}
	units := mountUnits(m)
	ok, err := b.mountsAtBoot(m, units)
	if err != nil {
		return plan.Target{}, err
	}
	if !ok {
		b.warn("a dump in %s will be lost: no unit mounts %s after a crash: put it into /etc/fstab", dir, m.Point)
	}
	return plan.Target{
		Kind: plan.Mounted, Dir: dir, Path: resolved,
		Filesystem: plan.Filesystem{Type: m.FSType},
		Device:     plan.Device{Name: m.Source},
		Mount:      &plan.SystemMount{Point: m.Point, Units: units},
	}, nil
}

// checkMounted refuses a kernel that cannot mount the file system of dir, which the
// distribution assembles. Storage that ukdump does not know is the distribution's matter.
func (b *Build) checkMounted(dir string) error {
	s, err := b.host.Storage(dir)
	if err != nil {
		return nil
	}
	if err := b.checkFilesystem(s); err != nil {
		return err
	}
	return b.checkTables(s.Stack)
}

// mountsAtBoot reports whether one of the units mounts m at boot. No unit mounts a
// file system that was mounted by hand.
func (b *Build) mountsAtBoot(m host.Mount, units []string) (bool, error) {
	if m.Point == "/" || m.FSType == "zfs" { // zfs-mount.service mounts all
		return true, nil
	}
	for _, dir := range slices.Concat(generatedUnits, host.BootUnitDirs) {
		for _, unit := range units {
			if strings.HasSuffix(unit, ".mount") && isFile(b.host, filepath.Join(dir, unit)) {
				return true, nil
			}
		}
	}
	return b.host.InFstab(m.Point)
}

// mountUnits returns the units that mount m, of which the next is started where one
// did not do. In ukdump-emergency.target nothing else is mounted but the root.
func mountUnits(m host.Mount) []string {
	if m.Point == "/" {
		return []string{"systemd-remount-fs.service"} // it may be read-only
	}
	// udev finds the devices; mounts without a device do not wait for it.
	units := []string{"systemd-udev-trigger.service", escapePath(m.Point) + ".mount"}
	switch {
	case m.FSType == "zfs":
		units = append(units, "zfs-mount.service", "local-fs.target")
	case m.Remote():
		units = append(units, "remote-fs.target")
	default:
		units = append(units, "local-fs.target")
	}
	return units
}

// escapePath returns the name of a unit for a path other than /, as systemd-escape
// --path does (systemd.unit(5), "String Escaping for Inclusion in Unit Names").
func escapePath(p string) string {
	var s strings.Builder
	for i, c := range []byte(strings.Trim(p, "/")) {
		switch {
		case c == '/':
			s.WriteByte('-')
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == ':', c == '_', c == '.' && i > 0:
			s.WriteByte(c)
		default:
			fmt.Fprintf(&s, `\x%02x`, c)
		}
	}
	return s.String()
}

// systemCollectors plans the ladder with the programs of the system.
func (b *Build) systemCollectors(o Options) error {
	if b.Plan.LogOnly {
		return nil
	}
	m, err := b.planCollectors(o)
	if err != nil {
		return err
	}
	for i := range b.Plan.Collectors {
		c := &b.Plan.Collectors[i]
		c.Argv = slices.Clone(c.Argv)
		c.Stream = nil // there are no raw devices
		switch c.Argv[0] {
		case "/" + makedumpfilePath:
			c.Argv[0] = m.Path
		case plan.CopyArgv[0]:
			c.Argv[0] = "/proc/self/exe"
		}
	}
	return nil
}

// findInitramfs finds the distribution's initramfs for the chosen kernel and reads
// it.
func (b *Build) findInitramfs(c *config.Config) error {
	name, where := c.Initramfs, ""
	if name != "" {
		where = c.Where("INITRAMFS") + ": "
	} else {
		names := b.initramfsNames()
		for _, n := range names {
			if name = b.newest(b.host.Glob(n)); name != "" {
				break
			}
		}
		if name == "" {
			return &EmergencyError{"no initramfs of kernel " + b.Kernel.Release + ": looked for " + strings.Join(names, ", "),
				"Set INITRAMFS= to the file that your boot loader gives to this kernel, which may be a unified kernel image."}
		}
	}
	data, err := b.readInitramfs(name)
	if err != nil {
		return fmt.Errorf("%sinitramfs %s: %w", where, name, crashdir.WithoutPath(err))
	}
	if err := b.checkPacking(name, data); err != nil {
		return err
	}
	b.Initramfs, b.stock = name, data
	return nil
}

// checkPacking refuses a kernel that cannot unpack the distribution's initramfs: the
// last of its archives, as microcode comes first and is not packed.
func (b *Build) checkPacking(name string, data []byte) error {
	packed := initramfs.Packed(data)
	for _, u := range kfeature.Unpacks {
		if bytes.HasPrefix(packed, []byte(u.Magic)) && u.In(b.Kernel.Release, b.conf) == kfeature.No {
			return lacking(b.Kernel, b.conf, "it cannot unpack initramfs "+name, u.Feature)
		}
	}
	return nil
}

// newest returns the last of the files that was written, "" if there is none. With
// snapshots of the root, one kernel has several.
func (b *Build) newest(names []string) (newest string) {
	var last time.Time
	for _, n := range names {
		file, err := b.host.File(n)
		if err != nil {
			continue
		}
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && (newest == "" || st.ModTime().After(last)) {
			newest, last = n, st.ModTime()
		}
	}
	return newest
}

// maxInitramfs is more bytes than any reservation has room for.
const maxInitramfs = 2 << 30

func (b *Build) readInitramfs(name string) ([]byte, error) {
	file, err := b.host.File(name)
	if err != nil {
		return nil, err
	}
	switch st, err := os.Stat(file); {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case st.Size() > maxInitramfs:
		return nil, fmt.Errorf("%d bytes", st.Size())
	}
	data, err := crashdir.ReadFile(file, maxInitramfs)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errors.New("the file is empty")
	}
	inner, err := kimage.Initrd(name, data)
	switch {
	case err != nil || len(inner) > 0:
		return inner, err
	case bytes.HasPrefix(data, []byte("MZ")):
		return nil, errors.New("the kernel image has no initramfs")
	}
	return data, nil
}

// initramfsNames returns where distributions put the initramfs of the chosen
// kernel, as patterns of host.Glob.
func (b *Build) initramfsNames() []string {
	release, kernel := b.Kernel.Release, b.host.Inside(b.Kernel.Path)
	names := []string{
		"/boot/initrd.img-" + release,                    // Debian, Ubuntu
		"/boot/initramfs-" + release + ".img",            // Fedora, Gentoo
		"/boot/initrd-" + release,                        // openSUSE
		"/usr/lib/modules/" + release + "/initrd",        // openSUSE
		"/usr/lib/modules/" + release + "/initramfs.img", // Fedora CoreOS
		"/lib/modules/" + release + "/initrd",
	}
	for _, boot := range []string{"/boot", "/efi", "/boot/efi"} { // kernel-install(8), sdbootutil
		// Not initrdkdump, which kdump-utils makes beside it.
		names = append(names, boot+"/*/"+release+"/initrd", boot+"/*/"+release+"/initrd-*")
	}
	dir, file := filepath.Split(kernel)
	if flavour, ok := strings.CutPrefix(file, "vmlinuz-"); ok && flavour != release { // Arch
		names = append(names, dir+"initramfs-"+flavour+".img", dir+"initrd.img-"+flavour)
	}
	if file == "linux" { // kernel-install(8), whatever the directory is called
		names = append(names, dir+"initrd")
	}
	if running, err := b.host.Kernel(); err == nil && running == release {
		names = append(names, "/run/booted-system/initrd") // NixOS
	}
	if b.Kernel.UKI {
		names = append(names, kernel)
	}
	// The names of Arch's kernels in /boot.
	if base, err := b.host.ReadFile("/usr/lib/modules/" + release + "/pkgbase"); err == nil {
		names = append(names, "/boot/initramfs-"+strings.TrimSpace(string(base))+".img")
	}
	return names
}

// EmergencyImage returns the image for emergency mode: our own archive, not
// compressed, and the distribution's initramfs, unchanged. The kernel
// unpacks one after the other (Documentation/driver-api/early-userspace/buffer-format.rst);
// ours comes first, since not all of its decompressors can stop before something else.
// The error is that of reading a damaged image.
func (b *Build) EmergencyImage() ([]byte, *Contents, error) {
	var buf bytes.Buffer
	if _, err := b.image.WriteTo(&buf); err != nil {
		return nil, nil, err
	}
	buf.Write(make([]byte, -buf.Len()&511))
	ours, err := Inspect(initramfs.Open(bytes.NewReader(buf.Bytes())))
	if err != nil {
		return nil, nil, err
	}
	theirs, err := Inspect(initramfs.Open(bytes.NewReader(b.stock)))
	var format *initramfs.FormatError
	switch {
	case errors.As(err, &format):
		// lz4 for example. The kernel can unpack it, we can only guess: modules and
		// programs compress about three to one.
		b.warn("initramfs %s: %s: assuming that it unpacks to three times its size", b.Initramfs, format.Reason)
		ours.Unpacked += 3 * int64(len(b.stock))
	case err != nil:
		return nil, nil, fmt.Errorf("initramfs %s: %w", b.Initramfs, err)
	default:
		ours.Unpacked += theirs.Unpacked
	}
	if ours.Fingerprint, err = b.Fingerprint(); err != nil {
		return nil, nil, err
	}
	return append(buf.Bytes(), b.stock...), ours, nil
}

// withStock returns the fingerprint of our own archive together with the
// distribution's initramfs, if there is one.
func (b *Build) withStock(fingerprint string) string {
	if b.stock == nil {
		return fingerprint
	}
	h := sha256.New()
	h.Write([]byte(fingerprint))
	h.Write(b.stock)
	return hex.EncodeToString(h.Sum(nil))
}

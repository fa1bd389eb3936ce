package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/kexec"
	"ukdump/internal/plan"
)

const loadUsage = `Usage: kdumpctl load|reload [--image FILE] [--if-reserved]
       kdumpctl reload --hotplug

Loads the capture kernel and its image with kexec_file_load(2). The image is built
first if it is missing, damaged, or if anything that goes into it has changed.
Everything is checked before the kernel gives up what was loaded before. If the
load fails and nothing is loaded then, the last set of kernel, image and command
line that could be loaded is loaded again.

  --image FILE   load this image instead, as it is
  --if-reserved  where no memory is reserved for a capture kernel, do nothing and
                 end with status 0. Raw targets that are not there yet are
                 awaited. For ukdump.service
  --hotplug      processors or memory have come or gone: load again what is
                 loaded, if anything is. For ukdump-hotplug.service
`

func (c *ctl) load(verb string, args []string) error {
	f := c.Flags(verb, loadUsage)
	image := f.String("image", "", "")
	ifReserved := f.Bool("if-reserved", false, "")
	hotplug := new(bool)
	if verb == "reload" {
		hotplug = f.Bool("hotplug", false, "")
	}
	if _, err := cli.Parse(f, args, 0, 0); err != nil {
		return err
	}
	if *hotplug && *image != "" {
		return cli.Usage(errors.New("--hotplug loads what is loaded, so there can be no --image"))
	}
	if err := c.needRoot(verb); err != nil {
		return err
	}
	if *hotplug {
		return c.reloadHotplug()
	}
	// A kernel without a crash slot has nothing reserved either.
	reserved, err := c.kexec.Reserved()
	if err == nil && reserved == 0 {
		err = c.kexec.NotReserved()
	}
	var slot *kexec.Error
	if *ifReserved && errors.As(err, &slot) {
		c.Say("nothing loaded: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	unlock, err := c.lock(verb)
	if err != nil {
		return err
	}
	defer unlock()
	c.sweep()
	if *ifReserved {
		c.awaitTargets()
	}
	if err := c.loadConfigured(*image); err != nil {
		return c.afterFailure(err)
	}
	c.pruneAfterLoad()
	return nil
}

// awaitTargets waits for raw devices that are yet to appear: without them the
// image would be another one at each boot.
func (c *ctl) awaitTargets() {
	conf, err := c.config()
	if err != nil {
		return // for loadConfigured to say
	}
	h, err := host.Open(c.root)
	if err != nil {
		return
	}
	absent := func() bool {
		return slices.ContainsFunc(conf.Targets, func(t string) bool { return config.IsRaw(t) && h.RawAbsent(t) })
	}
	if !absent() {
		return
	}
	c.bridge("the raw targets are there")
	for left := appearLimit; left > 0 && absent(); left -= appearInterval {
		c.sleep(appearInterval)
	}
}

// loadConfigured loads what the configuration says, with the image at path
// instead of the one that it builds, if path is not empty.
func (c *ctl) loadConfigured(path string) error {
	b, err := c.prepare()
	if err != nil {
		return err
	}
	var im *packed
	if path != "" && b.Initramfs != "" {
		return errors.New("--image: MODE=emergency loads the distribution's own initramfs, see INITRAMFS= in ukdump.conf(5)")
	}
	if path != "" {
		if im, err = openImage(path); err == nil {
			im.given = true
		}
	} else {
		im, err = c.currentImage(b)
	}
	if err != nil {
		return err
	}
	return c.loadImage(b, im)
}

// currentImage returns the image of b. If it has to be built, the machine is
// protected meanwhile by what could be loaded last.
func (c *ctl) currentImage(b *builder.Build) (*packed, error) {
	if b.Initramfs != "" {
		return c.emergencyImage(b)
	}
	path := c.imagePath(b)
	im, why, err := upToDate(b, path)
	if err != nil || why == "" {
		return im, err
	}
	c.bridge("the image is built")
	return c.buildImage(b, path, why)
}

// emergencyImage returns what is loaded in emergency mode. It lies nowhere as a
// file, but for the last good set.
func (c *ctl) emergencyImage(b *builder.Build) (*packed, error) {
	n := len(b.Warnings)
	data, contents, err := b.EmergencyImage()
	if err != nil {
		return nil, err
	}
	c.Warn(b.Warnings[n:]...)
	return &packed{Contents: contents, path: b.Initramfs, data: data}, nil
}

// prepare finds out everything about the image that this machine needs.
func (c *ctl) prepare() (*builder.Build, error) {
	conf, err := c.config()
	if err != nil {
		return nil, err
	}
	b, err := builder.New(builder.Options{Root: c.root, Config: conf, Pid1: c.pid1})
	if err != nil {
		return nil, err
	}
	c.Warn(b.Warnings...)
	return b, nil
}

// loadImage checks an image against the kernel and hands both to the running
// kernel. What could be loaded becomes the last good set.
func (c *ctl) loadImage(b *builder.Build, im *packed) error {
	p, err := im.check(b.Kernel.Release)
	if err != nil {
		return fmt.Errorf("image %s: %w", im.path, err)
	}
	kernel, err := kernelFile(b)
	if err != nil {
		return err
	}
	defer kernel.Close()
	initrd, err := memfd(im.path, im.data)
	if err != nil {
		return err
	}
	defer initrd.Close()
	begin := time.Now()
	s := &set{
		loaded: loaded{
			Kernel: b.Kernel.Path, Release: b.Kernel.Release, Image: im.path, Fingerprint: im.Fingerprint,
			KernelID: id(b.Kernel.Loadable()), ImageID: id(im.data),
			KernelBytes: int64(b.Kernel.InitSize), ImageBytes: int64(len(im.data)),
		},
		Unpacked: im.Unpacked,
	}
	for _, t := range p.Targets {
		if t.Device.Volume != "" {
			s.Volumes = append(s.Volumes, t.Device.Volume)
		}
	}
	if s.Cmdline, err = cmdlineFor(b, im.Fingerprint); err != nil {
		return err
	}
	if s.Keys, err = c.chooseKeys(p); err != nil {
		return err
	}
	// Counting pages can take a while, and a crash does not wait.
	early := c.canForecast() && c.canSpareLoad()
	if early {
		if err := c.put(s, kernel, initrd); err != nil {
			return err
		}
	}
	s.Forecast = c.forecast(b)
	if cmdline := s.Forecast.addTo(s.Cmdline); early && cmdline == s.Cmdline {
		c.remember(&s.loaded)
	} else {
		s.Cmdline = cmdline
		if err := c.put(s, kernel, initrd); err != nil {
			return err
		}
	}
	c.Say("loaded %s in %.1f s; dumps go to %s", s, time.Since(begin).Seconds(), targetNames(reachable(p, s.Keys)))
	if err := c.saveLastGood(s, b.Kernel.Loadable(), im.data); err != nil {
		c.Warn(fmt.Sprintf("loaded, but not kept for the case that a later load fails: %v", err))
	}
	return nil
}

// put hands a set to the kernel and keeps loaded.json true. While the kernel is
// asked there is none: whoever is killed then leaves no false one.
func (c *ctl) put(s *set, kernel, initrd *os.File) error {
	if err := c.kexec.Check(kernel, initrd, s.Unpacked, s.Cmdline); err != nil {
		return err
	}
	before, taken := c.readLoaded(), c.takenKeys()
	if err := c.forgetLoaded(); err != nil {
		c.Warn(fmt.Sprintf("status will not know what is loaded: %v", err))
	}
	// Processors and memory are those of this moment.
	c.forgetHotplug()
	got := false
	load := func() error {
		err := c.kexec.Load(kernel, initrd, s.Unpacked, s.Cmdline)
		got = got || err == nil
		return err
	}
	err := c.keys.Load(s.Keys, taken, load)
	if err != nil {
		still, e := c.kexec.Loaded()
		still = still && e == nil
		if still && !got && before != nil {
			c.remember(before)
		}
		if !still || !got {
			return err
		}
		s.Keys = nil // it has some that nobody knows
	}
	s.Time, s.BootID = time.Now().UTC().Round(time.Second), c.bootID()
	c.remember(&s.loaded)
	return err
}

// remember writes loaded.json.
func (c *ctl) remember(l *loaded) {
	if err := c.saveLoaded(l); err != nil {
		c.Warn(fmt.Sprintf("loaded, but status will not know what: %v", err))
	}
}

// cmdlineFor returns the command line for the image with that fingerprint. What
// the builder found out about its own modules does not hold for another image.
func cmdlineFor(b *builder.Build, fingerprint string) (string, error) {
	own, err := b.Fingerprint()
	if err != nil || own == fingerprint {
		return b.Cmdline, err
	}
	return b.CmdlineForeign, nil
}

// canSpareLoad reports whether something should be loaded until what is wanted is
// ready: if nothing is loaded and that costs none of the loads that a sysctl
// leaves for this one and the next.
func (c *ctl) canSpareLoad() bool {
	loaded, err := c.kexec.Loaded()
	left := c.kexec.LoadLimit()
	return err == nil && !loaded && (left < 0 || left > 2)
}

// targetNames lists a plan's targets.
func targetNames(p *plan.Plan) string {
	var dirs []string
	for _, t := range p.Targets {
		dirs = append(dirs, t.Dir)
	}
	if len(dirs) == 0 { // and that was a warning of its own
		for _, t := range p.Evidence {
			dirs = append(dirs, t.Dir+" (log and report only)")
		}
	}
	return strings.Join(dirs, ", or else ")
}

// kernelFile returns what kexec_file_load takes: the file itself where possible,
// so that a policy which looks at the file sees it.
func kernelFile(b *builder.Build) (*os.File, error) {
	f, err := os.Open(b.Kernel.Path)
	if err != nil {
		return nil, err
	}
	// The file may have been replaced since it was checked.
	data := b.Kernel.Loadable()
	if now, err := io.ReadAll(io.LimitReader(f, int64(len(data))+1)); err == nil && bytes.Equal(now, data) {
		return f, nil
	}
	f.Close()
	return memfd(b.Kernel.Path, data)
}

// memfd returns a file in memory with the given content, see memfd_create(2).
// Errors will call it name.
func memfd(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("ukdump", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

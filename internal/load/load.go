// Package load puts a capture kernel and its image into the crash slot. When that
// fails, the previous set stays loaded, or the fallback set is loaded.
package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/host"
	"ukdump/internal/kexec"
	"ukdump/internal/kimage"
	"ukdump/internal/mountd"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// Loader is one run of kdumpctl that loads, or looks at the crash slot.
type Loader struct {
	Out   *cli.Program   // for messages
	Root  string         // of the machine; "/" but for tests
	Pid1  string         // kdumpinit to pack
	Route builder.Router // finds the way to a server; nil is host.Route
	Ask   builder.Asker  // asks an NFS server for its security; nil is mountd.Ask
	Omits bool           // the loaded set, as of Load or WantsLoad, omits a target that it should have
	Store state.Store
	Slot  *kexec.Slot
	Keys  *cryptkeys.Handover

	Sleep     func(time.Duration)
	MountJobs func() ([]string, error) // returns where systemd is about to mount something
	// MemUsage runs makedumpfile --mem-usage in tests.
	MemUsage func(program string) ([]byte, error)

	built  *builder.Build // by WantsLoad, for the next load
	warned []string       // warnings that warnOnce has given
}

// Options choose the image that Load loads.
type Options struct {
	Image string // path of the image in place of the one that is built; "" for that
	Await bool   // wait for targets that are yet to appear
	Later bool   // somebody else calls Learn: do not try makedumpfile now

	partial bool // load without the targets that cannot be reached, although another set has them
}

// CheckReserved returns an error if no memory is reserved for a capture kernel. A
// kernel without a crash slot has nothing reserved either: both are a *kexec.Error.
func (ld *Loader) CheckReserved() error {
	reserved, err := ld.Slot.Reserved()
	if err == nil && reserved == 0 {
		err = ld.Slot.NotReserved()
	}
	return err
}

// Load loads the configured set. If it fails, the error names the set that is loaded
// then: the previous set or the fallback set. The caller has the lock.
func (ld *Loader) Load(o Options) error {
	ld.Store.Sweep()
	if o.Await {
		ld.awaitTargets()
	}
	err := ld.loadConfigured(o)
	if err == nil {
		return nil
	}
	err = ld.afterFailure(err)
	if loaded, e := ld.Slot.Loaded(); e != nil || loaded || o.partial || !errors.As(err, new(*builder.OmittedError)) {
		return err
	}
	// The set with all targets could not be loaded.
	ld.Out.Warn(err.Error())
	return ld.Load(Options{Image: o.Image, Later: o.Later, partial: true})
}

// BuildOptions returns the options to build what the configuration describes.
func (ld *Loader) BuildOptions(conf *config.Config) builder.Options {
	return builder.Options{Root: ld.Root, Config: conf, Pid1: ld.Pid1, Route: ld.Route}
}

// loadConfigured loads the configured set, with the image that the options name
// instead of the one that it builds, if they name one.
func (ld *Loader) loadConfigured(o Options) error {
	path := o.Image
	b, err := ld.prepare(o.partial)
	if err != nil {
		return err
	}
	var im *ImageFile
	if path != "" && b.Initramfs != "" {
		return errors.New("--image: MODE=emergency loads the distribution's own initramfs, see INITRAMFS= in ukdump.conf(5)")
	}
	if path != "" {
		if im, err = OpenImage(path); err == nil {
			im.Given = true
		}
	} else {
		im, err = ld.currentImage(b)
	}
	if err != nil {
		return err
	}
	if err := ld.loadImage(b, im); err != nil {
		return err
	}
	ld.Omits = omits(ld.Store.Loaded(), b)
	// Counting pages can take a while, and a crash does not wait.
	switch rec := ld.Store.Loaded(); {
	case !ld.CanForecast() || rec == nil || rec.Forecast == nil:
		return nil
	case !o.Later && ld.packs(b, im.Fingerprint):
		return ld.learn(b)
	case rec.Forecast.Verdict == state.Untried:
		ld.reportVerdict(rec.Forecast)
	}
	return nil
}

// currentImage returns the image of b. If it has to be built, the machine is
// protected meanwhile by the fallback set.
func (ld *Loader) currentImage(b *builder.Build) (*ImageFile, error) {
	if b.Initramfs != "" {
		return ld.EmergencyImage(b)
	}
	path := ld.ImagePath(b)
	im, why, err := upToDate(b, path)
	if err != nil || why == "" {
		return im, err
	}
	ld.bridge("the image is built")
	return ld.buildImage(b, path, why)
}

// EmergencyImage returns the image for emergency mode. It lies nowhere as a
// file, but for the fallback set.
func (ld *Loader) EmergencyImage(b *builder.Build) (*ImageFile, error) {
	n := len(b.Warnings)
	data, contents, err := b.EmergencyImage()
	if err != nil {
		return nil, err
	}
	ld.Out.Warn(b.Warnings[n:]...)
	return &ImageFile{Contents: contents, Path: b.Initramfs, Data: data}, nil
}

// prepare finds out everything about the image that this machine needs. Unless partial is
// set, a target that cannot be reached is an error if another set has it.
func (ld *Loader) prepare(partial bool) (*builder.Build, error) {
	conf, err := config.Load(ld.Root)
	if err != nil {
		return nil, err
	}
	ld.LearnMemory(conf)
	b, err := ld.build(conf)
	if err != nil {
		return nil, err
	}
	if err := ld.omittedHere(b); err != nil && !partial {
		return nil, err
	}
	ld.Out.Warn(b.AllWarnings()...)
	return b, b.CheckNFS(ld.AskNFS())
}

// build returns the build of WantsLoad, once, or a new one.
func (ld *Loader) build(conf *config.Config) (*builder.Build, error) {
	if b := ld.built; b != nil {
		ld.built = nil
		return b, nil
	}
	task := ld.Out.Begin("looking at the kernel and the disks")
	defer task.End()
	return builder.New(ld.BuildOptions(conf))
}

// AskNFS returns the function that asks NFS servers.
func (ld *Loader) AskNFS() builder.Asker {
	if ld.Ask != nil {
		return ld.Ask
	}
	return mountd.Ask
}

// loadImage checks an image against the kernel and hands both to the running
// kernel. The loaded set becomes the fallback set.
func (ld *Loader) loadImage(b *builder.Build, im *ImageFile) error {
	p, err := im.Check(b.Kernel.Release)
	if err != nil {
		return fmt.Errorf("image %s: %w", im.Path, err)
	}
	kernel, err := KernelFile(b)
	if err != nil {
		return err
	}
	defer kernel.File.Close()
	seeded := encrypts(p)
	initrd, err := initrdFile(im.Path, im.Data, seeded)
	if err != nil {
		return err
	}
	defer initrd.Close()
	begin := time.Now()
	s := newSet(b, int64(len(im.Data)), im.Unpacked)
	s.Seeded = seeded
	s.Image, s.Fingerprint, s.ImageID = im.Path, im.Fingerprint, state.ID(im.Data)
	reach := ld.Reach(b)
	s.Unreachable, s.Servers = unreachable(reach), servers(p)
	for _, t := range p.Targets {
		if t.Device.Volume != "" {
			s.Volumes = append(s.Volumes, t.Device.Volume)
		}
	}
	if s.Cmdline, err = cmdlineFor(b, im.Fingerprint); err != nil {
		return err
	}
	if s.Keys, err = ld.chooseKeys(p); err != nil {
		return err
	}
	if s.LogOnly = p.LogOnly; !s.LogOnly {
		s.SetForecast(ld.tried(b, im))
	}
	if err := ld.put(s, kernel, initrd, b.Config()); err != nil {
		return err
	}
	ld.warnMemory(reach, &s.LoadRecord)
	ld.Out.Say("loaded %s in %.1f s; dumps go to %s", s, time.Since(begin).Seconds(), TargetNames(reachable(p, s.Keys)))
	if s.LogOnly {
		ld.Out.Say(builder.LogOnly)
	}
	ld.noteShared(p)
	if units := host.KdumpTools(ld.Root); len(units) > 0 {
		ld.Out.Warn(strings.Join(units, ", ") + " is enabled, too: it may load another capture kernel over this one")
	}
	if err := ld.Store.SaveFallback(s, b.Kernel.Loadable(), im.Data); err != nil {
		ld.Out.Warn(fmt.Sprintf("loaded, but not saved as the fallback set: %v", err))
	}
	return nil
}

// newSet returns the set of b with an image of that many bytes, packed and unpacked.
func newSet(b *builder.Build, packed, unpacked int64) *state.Set {
	return &state.Set{LoadRecord: state.LoadRecord{
		Kernel: b.Kernel.Path, Release: b.Kernel.Release, KernelID: state.ID(b.Kernel.Loadable()),
		KernelBytes: kexec.StartSize(b.Kernel.InitSize, int64(len(b.Kernel.Loadable()))), ImageBytes: packed, Unpacked: unpacked, Emergency: b.Initramfs != "",
		LogOnly: b.Plan.LogOnly, Servers: servers(b.Plan),
	}}
}

// servers returns the targets of a plan at servers, by their Dir.
func servers(p *plan.Plan) []string {
	var list []string
	for _, t := range p.Targets {
		if t.Kind.Remote() {
			list = append(list, t.Dir)
		}
	}
	return list
}

// put hands a set to the kernel and keeps loaded.json true. While the kernel is
// asked there is none: whoever is killed then leaves no false one. conf is the
// configuration of the capture kernel, nil if it is not known.
func (ld *Loader) put(s *state.Set, kernel *kexec.Kernel, initrd *os.File, conf *kimage.Config) error {
	if err := ld.Slot.Check(kernel, initrd, s.Unpacked, s.Cmdline); err != nil {
		return err
	}
	ld.weigh(s, kernel, conf)
	before, taken := ld.Store.Loaded(), ld.takenKeys()
	if err := ld.Store.ForgetLoaded(); err != nil {
		ld.Out.Warn(fmt.Sprintf("status will not know the loaded capture kernel: %v", err))
	}
	// Processors and memory are those of this moment.
	ld.forgetHotplug()
	got := false
	load := func() error {
		task := ld.Out.Begin("loading the capture kernel")
		err := ld.Slot.Load(kernel, initrd, s.Unpacked, s.Cmdline)
		task.End()
		got = got || err == nil
		return err
	}
	err := ld.Keys.Load(s.Keys, taken, load)
	if err != nil {
		still, e := ld.Slot.Loaded()
		still = still && e == nil
		if still && !got && before != nil {
			ld.remember(before)
		}
		if !still || !got {
			return err
		}
		s.Keys = nil // it has some that nobody knows
	}
	s.Time, s.BootID = time.Now().UTC().Round(time.Second), ld.Store.BootID()
	ld.mark(&s.LoadRecord, kernel, initrd)
	ld.remember(&s.LoadRecord)
	return err
}

// remember writes loaded.json.
func (ld *Loader) remember(l *state.LoadRecord) {
	if err := ld.Store.SaveLoaded(l); err != nil {
		ld.Out.Warn(fmt.Sprintf("loaded, but status will not know the loaded capture kernel: %v", err))
	}
}

// cmdlineFor returns the command line for the image with that fingerprint. Facts about
// the builder's own modules do not hold for another image.
func cmdlineFor(b *builder.Build, fingerprint string) (string, error) {
	own, err := b.Fingerprint()
	if err != nil || own == fingerprint {
		return b.Cmdline, err
	}
	return b.CmdlineForeign, nil
}

// canSpareLoad reports whether something should be loaded until the wanted set is
// ready: if nothing is loaded and that costs none of the loads that a sysctl
// leaves for this one and the next.
func (ld *Loader) canSpareLoad() bool {
	loaded, err := ld.Slot.Loaded()
	left := ld.Slot.LoadLimit()
	return err == nil && !loaded && (left < 0 || left > 2)
}

// TargetNames lists a plan's targets.
func TargetNames(p *plan.Plan) string {
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

// KernelFile opens the kernel of b for the crash slot: the file itself where
// possible, so that a policy which looks at the file sees it.
func KernelFile(b *builder.Build) (*kexec.Kernel, error) {
	f, _, err := crashdir.OpenFile(b.Kernel.Path)
	if err != nil {
		return nil, err
	}
	// The file may have been replaced since it was checked.
	data := b.Kernel.Loadable()
	if holds(f, data) {
		return withFacts(f, b.Kernel), nil
	}
	f.Close()
	if f, err = Memfd(b.Kernel.Path, data); err != nil {
		return nil, err
	}
	return withFacts(f, b.Kernel), nil
}

// holds reports whether f has exactly that content. It reads in pieces: an arm64 kernel
// has 60 MB.
func holds(f io.Reader, data []byte) bool {
	buf := make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(f, buf)
		if n > len(data) || !bytes.Equal(buf[:n], data[:n]) {
			return false
		}
		data = data[n:]
		if err != nil {
			return len(data) == 0 && (err == io.EOF || err == io.ErrUnexpectedEOF)
		}
	}
}

// withFacts returns the kernel in f, which holds the loadable bytes of im.
func withFacts(f *os.File, im *kimage.Image) *kexec.Kernel {
	return &kexec.Kernel{File: f, InitSize: im.InitSize, CmdlineSize: im.CmdlineSize, PageSize: im.PageSize, SetupSize: im.SetupSize, Signed: im.Signed}
}

// Memfd returns a file in memory with the given content, see memfd_create(2).
// Errors will call it name.
func Memfd(name string, data []byte) (*os.File, error) {
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

// Differs says which kernel or command line b has in place of the loaded one, nil
// if neither.
func Differs(rec *state.LoadRecord, b *builder.Build) error {
	cmdline, err := cmdlineFor(b, rec.Fingerprint)
	switch {
	case err != nil:
		return err
	case rec.Release != b.Kernel.Release:
		return NeedsReload("kernel %s is loaded, but %s is configured", rec.Release, b.Kernel.Release)
	case rec.KernelID != "" && rec.KernelID != state.ID(b.Kernel.Loadable()):
		return NeedsReload("%s has changed since it was loaded", b.Kernel.Path)
	case rec.Cmdline != rec.WithWords(cmdline):
		return NeedsReload("the command line of the loaded capture kernel is not the configured one")
	}
	return nil
}

// NotOurs is the problem of a capture kernel that has no record of this boot.
func NotOurs() error {
	return NeedsReload("kdumpctl has not loaded this capture kernel since this boot: nothing is known about it")
}

// Unload empties the crash slot. The caller has the lock.
func (ld *Loader) Unload() error {
	was, err := ld.Slot.Loaded()
	if err != nil {
		return err
	}
	if !was {
		ld.Out.Say("nothing was loaded")
		return nil
	}
	if err := ld.Slot.Unload(); err != nil {
		return err
	}
	if err := ld.Store.ForgetLoaded(); err != nil {
		return err
	}
	ld.Out.Say("unloaded")
	return nil
}

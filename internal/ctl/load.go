package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/initramfs"
	"ukdump/internal/build"
	"ukdump/internal/cli"
	"ukdump/internal/kexec"
	"ukdump/internal/plan"
)

const loadUsage = `Usage: kdumpctl load|reload [--image FILE] [--if-reserved]

Loads the capture kernel and its image with kexec_file_load(2). The image is built
first if it is missing, damaged, or if anything that goes into it has changed.
Everything is checked before the kernel gives up what was loaded before.

  --image FILE   load this image instead, as it is
  --if-reserved  where no memory is reserved for a capture kernel, do nothing and
                 end with status 0
`

func (c *ctl) load(verb string, args []string) error {
	f := c.Flags(verb, loadUsage)
	image := f.String("image", "", "")
	ifReserved := f.Bool("if-reserved", false, "")
	if _, err := cli.Parse(f, args, 0, 0); err != nil {
		return err
	}
	if err := c.needRoot(verb); err != nil {
		return err
	}
	// A kernel without a crash slot has nothing reserved either.
	reserved, err := c.kexec.Reserved()
	if err == nil && reserved == 0 {
		err = c.kexec.NotReserved()
	}
	var slot *kexec.Error
	if *ifReserved && errors.As(err, &slot) {
		fmt.Fprintf(c.Stdout, "nothing loaded: %v\n", err)
		return nil
	}
	if err != nil {
		return err
	}
	b, err := c.prepare()
	if err != nil {
		return err
	}
	path := *image
	if path == "" {
		if path, _, err = c.ensureImage(b, false); err != nil {
			return err
		}
	}
	return c.loadImage(b, path)
}

// prepare finds out everything about the image that this machine needs.
func (c *ctl) prepare() (*build.Build, error) {
	conf, err := c.config()
	if err != nil {
		return nil, err
	}
	b, err := build.New(build.Options{Root: c.root, Config: conf, Pid1: c.pid1})
	if err != nil {
		return nil, err
	}
	c.Warn(b.Warnings...)
	return b, nil
}

// ensureImage makes the image of b exist, and returns its path and whether it was
// built. An image that unpacks to the same content is left as it is, unless force
// is set.
func (c *ctl) ensureImage(b *build.Build, force bool) (path string, built bool, err error) {
	path = filepath.Join(c.root, build.ImagePath(b.Kernel.Release))
	why, err := stale(b, path)
	if err != nil {
		return "", false, err
	}
	if why == "" && !force {
		return path, false, nil
	}
	if why == "" {
		why = "--force"
	}
	begin := time.Now()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", false, err
	}
	if err := b.WriteFile(path); err != nil {
		return "", false, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return "", false, err
	}
	fmt.Fprintf(c.Stdout, "built %s, %s, in %.1f s: %s\n", path, cli.Size(fi.Size()), time.Since(begin).Seconds(), why)
	return path, true, nil
}

// stale returns why the image at path is not the one of b, or "".
func stale(b *build.Build, path string) (string, error) {
	want, err := b.Fingerprint()
	if err != nil {
		return "", err
	}
	r, err := initramfs.OpenFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "there was none", nil
	}
	if err != nil {
		return fmt.Sprintf("the one that was there cannot be read: %v", err), nil
	}
	defer r.Close()
	have, err := build.Fingerprint(r)
	switch {
	case err != nil:
		return fmt.Sprintf("the one that was there is damaged: %v", err), nil
	case have != want:
		return "what goes into it has changed", nil
	}
	return "", nil
}

// loadImage checks the image at path against the kernel and hands both to the
// running kernel.
func (c *ctl) loadImage(b *build.Build, path string) error {
	// One read: what is checked is what is loaded.
	data, err := readImage(path)
	if err != nil {
		return fmt.Errorf("image %s: %w", path, err)
	}
	p, err := checkImage(data, b.Kernel.Release)
	if err != nil {
		return fmt.Errorf("image %s: %w", path, err)
	}
	fingerprint, err := build.Fingerprint(initramfs.Open(bytes.NewReader(data)))
	if err != nil {
		return fmt.Errorf("image %s: %w", path, err)
	}
	kernel, err := kernelFile(b)
	if err != nil {
		return err
	}
	defer kernel.Close()
	initrd, err := memfd(path, data)
	if err != nil {
		return err
	}
	defer initrd.Close()
	begin := time.Now()
	cmdline, err := cmdlineFor(b, fingerprint)
	if err != nil {
		return err
	}
	if err := c.kexec.Load(kernel, initrd, cmdline); err != nil {
		return err
	}
	l := &loaded{
		Kernel: b.Kernel.Path, Release: b.Kernel.Release, Image: path, Fingerprint: fingerprint, Cmdline: cmdline,
		KernelBytes: int64(b.Kernel.InitSize), ImageBytes: int64(len(data)),
		Time: time.Now().UTC().Round(time.Second), BootID: c.bootID(),
	}
	if err := c.saveLoaded(l); err != nil {
		c.Warn(fmt.Sprintf("loaded, but status will not know what: %v", err))
	}
	fmt.Fprintf(c.Stdout, "loaded %s with %s in %.1f s; dumps go to %s\n", b.Kernel.Release, filepath.Base(path),
		time.Since(begin).Seconds(), targetNames(p))
	return nil
}

// cmdlineFor returns the command line for the image with that fingerprint. What
// the builder found out about its own modules does not hold for another image.
func cmdlineFor(b *build.Build, fingerprint string) (string, error) {
	own, err := b.Fingerprint()
	if err != nil || own == fingerprint {
		return b.Cmdline, err
	}
	return b.CmdlineForeign, nil
}

// targetNames lists the directories of a plan's targets.
func targetNames(p *plan.Plan) string {
	var dirs []string
	for _, t := range p.Targets {
		dirs = append(dirs, t.Dir)
	}
	return strings.Join(dirs, ", or else ")
}

// maxImage bounds what is read as an image, in bytes.
const maxImage = 1 << 30

// readImage reads a regular file of at most maxImage bytes.
func readImage(path string) ([]byte, error) {
	fi, err := os.Stat(path) // before opening: a FIFO would wait for its writer
	if err == nil && !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err == nil && fi.Size() > maxImage {
		return nil, fmt.Errorf("it has %s, more than any image", cli.Size(fi.Size()))
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err // the caller names the path
	}
	return data, err
}

// checkImage reads a packed image to its end and returns its plan: it must be one
// of ours, whole, and for the kernel release.
func checkImage(data []byte, release string) (*plan.Plan, error) {
	r := initramfs.Open(bytes.NewReader(data))
	var raw []byte
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if e.Path != plan.Path {
			continue
		}
		if raw, err = io.ReadAll(io.LimitReader(r, 1<<20)); err != nil {
			return nil, err
		}
	}
	if raw == nil {
		return nil, errors.New("it is an initramfs, but not one of ukdump: there is no " + plan.Path)
	}
	p, err := plan.Parse(raw)
	if err != nil {
		return nil, err
	}
	if p.Kernel.Release != release {
		return nil, fmt.Errorf("it was built for kernel %s, but the capture kernel is %s", p.Kernel.Release, release)
	}
	return p, nil
}

// kernelFile returns what kexec_file_load takes: the file itself where possible,
// so that a policy which looks at the file sees it.
func kernelFile(b *build.Build) (*os.File, error) {
	f, err := os.Open(b.Kernel.Path)
	if err != nil {
		return nil, err
	}
	data := b.Kernel.Loadable()
	if fi, err := f.Stat(); err == nil && fi.Size() == int64(len(data)) {
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

const unloadUsage = `Usage: kdumpctl unload

Unloads the capture kernel. A crash is then not saved.
`

func (c *ctl) unload(args []string) error {
	if _, err := cli.Parse(c.Flags("unload", unloadUsage), args, 0, 0); err != nil {
		return err
	}
	if err := c.needRoot("unload"); err != nil {
		return err
	}
	was, err := c.kexec.Loaded()
	if err != nil {
		return err
	}
	if !was {
		fmt.Fprintln(c.Stdout, "nothing was loaded")
		return nil
	}
	if err := c.kexec.Unload(); err != nil {
		return err
	}
	if err := c.forgetLoaded(); err != nil {
		return err
	}
	fmt.Fprintln(c.Stdout, "unloaded")
	return nil
}

const buildUsage = `Usage: kdumpctl build [--force]

Builds the image that load would build.

  --force  even if nothing that goes into it has changed
`

func (c *ctl) build(args []string) error {
	f := c.Flags("build", buildUsage)
	force := f.Bool("force", false, "")
	if _, err := cli.Parse(f, args, 0, 0); err != nil {
		return err
	}
	if err := c.needRoot("build"); err != nil {
		return err
	}
	b, err := c.prepare()
	if err != nil {
		return err
	}
	path, built, err := c.ensureImage(b, *force)
	if err == nil && !built {
		fmt.Fprintf(c.Stdout, "%s is up to date\n", path)
	}
	return err
}

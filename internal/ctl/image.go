package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ukdump/initramfs"
	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/plan"
)

// packed is an image in memory. It is read once: what is checked is what is
// loaded.
type packed struct {
	*builder.Contents
	path  string
	data  []byte
	given bool // with --image
}

// openImage reads an image to its end.
func openImage(path string) (*packed, error) {
	data, err := readFile(path, maxImage)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	contents, err := builder.Inspect(initramfs.Open(bytes.NewReader(data)))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	return &packed{Contents: contents, path: path, data: data}, nil
}

// check returns the plan of the image: it must be one of ours and for the kernel
// release.
func (im *packed) check(release string) (*plan.Plan, error) {
	if im.Plan == nil {
		return nil, errors.New("it is an initramfs, but not one of ukdump: there is no " + plan.Path)
	}
	p, err := plan.Parse(im.Plan)
	if err != nil {
		return nil, err
	}
	if p.Kernel.Release != release {
		do := "Name that kernel with KERNEL= in /etc/ukdump.conf."
		if im.given {
			do = "Name that kernel with KERNEL= in /etc/ukdump.conf, or run kdumpctl load without --image."
		}
		return nil, advice.With(fmt.Errorf("it was built for kernel %s, but the capture kernel is %s", p.Kernel.Release, release), do)
	}
	return p, nil
}

// maxImage bounds what is read as an image, in bytes.
const maxImage = 1 << 30

// readFile reads a regular file of at most limit bytes. Its error does not name
// the file.
func readFile(path string, limit int64) ([]byte, error) {
	fi, err := os.Stat(path) // before opening: a FIFO would wait for its writer
	if err == nil && !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err == nil && fi.Size() > limit {
		return nil, fmt.Errorf("it has %s, more than is allowed", cli.Size(fi.Size()))
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	return data, err
}

// upToDate returns the image at path if it is the one of b, else nil and why it
// is not.
func upToDate(b *builder.Build, path string) (im *packed, why string, err error) {
	want, err := b.Fingerprint()
	if err != nil {
		return nil, "", err
	}
	data, err := readFile(path, maxImage)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "there was none", nil
	}
	if err != nil {
		return nil, fmt.Sprintf("the one that was there cannot be read: %v", err), nil
	}
	contents, err := builder.Inspect(initramfs.Open(bytes.NewReader(data)))
	switch {
	case err != nil:
		return nil, fmt.Sprintf("the one that was there is damaged: %v", err), nil
	case contents.Fingerprint != want:
		return nil, "what goes into it has changed", nil
	}
	return &packed{Contents: contents, path: path, data: data}, "", nil
}

// stale returns why the image at path is not the one of b, or "".
func stale(b *builder.Build, path string) (string, error) {
	_, why, err := upToDate(b, path)
	return why, err
}

// imagePath returns where the image of b is kept.
func (c *ctl) imagePath(b *builder.Build) string {
	return filepath.Join(c.root, builder.ImagePath(b.Kernel.Release))
}

// buildImage writes the image of b in place of the one that was at path.
func (c *ctl) buildImage(b *builder.Build, path, why string) (*packed, error) {
	begin := time.Now()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := b.WriteFile(path); err != nil {
		return nil, err
	}
	im, err := openImage(path)
	if err != nil {
		return nil, err
	}
	c.Say("built %s, %s, in %.1f s: %s", path, cli.Size(int64(len(im.data))), time.Since(begin).Seconds(), why)
	return im, nil
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
	unlock, err := c.lock("build")
	if err != nil {
		return err
	}
	defer unlock()
	c.sweep()
	b, err := c.prepare()
	if err != nil {
		return err
	}
	if b.Initramfs != "" {
		c.Say("nothing to build: MODE=emergency loads %s as it is", b.Initramfs)
		return nil
	}
	path := c.imagePath(b)
	why, err := stale(b, path)
	if err != nil {
		return err
	}
	if why == "" && *force {
		why = "--force"
	}
	if why == "" {
		c.Say("%s is up to date", path)
		return nil
	}
	_, err = c.buildImage(b, path, why)
	return err
}

package load

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
	"ukdump/internal/state"
)

// ImageFile is an image in memory. It is read once: the checked bytes are
// loaded.
type ImageFile struct {
	*builder.Contents
	Path  string
	Data  []byte
	Given bool // with --image
}

// OpenImage reads an image to its end.
func OpenImage(path string) (*ImageFile, error) {
	data, err := state.ReadFile(path, state.MaxImage)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	contents, err := builder.Inspect(initramfs.Open(bytes.NewReader(data)))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	return &ImageFile{Contents: contents, Path: path, Data: data}, nil
}

// Check returns the plan of the image: it must be one of ours and for the kernel
// release.
func (im *ImageFile) Check(release string) (*plan.Plan, error) {
	if im.Plan == nil {
		return nil, errors.New("an initramfs, but not an image of ukdump: no file " + plan.Path)
	}
	p, err := plan.Parse(im.Plan)
	if err != nil {
		return nil, err
	}
	if p.Kernel.Release != release {
		do := "Name that kernel with KERNEL= in /etc/ukdump.conf."
		if im.Given {
			do = "Name that kernel with KERNEL= in /etc/ukdump.conf, or run kdumpctl load without --image."
		}
		return nil, advice.With(fmt.Errorf("it was built for kernel %s, but the capture kernel is %s", p.Kernel.Release, release), do)
	}
	return p, nil
}

// upToDate returns the image at path if it is the one of b, else nil and why it
// is not.
func upToDate(b *builder.Build, path string) (im *ImageFile, why string, err error) {
	want, err := b.Fingerprint()
	if err != nil {
		return nil, "", err
	}
	data, err := state.ReadFile(path, state.MaxImage)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "no image yet", nil
	}
	if err != nil {
		return nil, fmt.Sprintf("the old image cannot be read: %v", err), nil
	}
	contents, err := builder.Inspect(initramfs.Open(bytes.NewReader(data)))
	switch {
	case err != nil:
		return nil, fmt.Sprintf("the old image is damaged: %v", err), nil
	case contents.Fingerprint != want:
		return nil, "its inputs have changed", nil
	}
	return &ImageFile{Contents: contents, Path: path, Data: data}, "", nil
}

// Stale returns why the image at path is not the one of b, or "".
func Stale(b *builder.Build, path string) (string, error) {
	_, why, err := upToDate(b, path)
	return why, err
}

// ImagePath returns where the image of b is kept.
func (ld *Loader) ImagePath(b *builder.Build) string {
	return filepath.Join(ld.Root, state.ImagePath(b.Kernel.Release))
}

// buildImage writes the image of b in place of the one that was at path.
func (ld *Loader) buildImage(b *builder.Build, path, why string) (*ImageFile, error) {
	begin := time.Now()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	task := ld.Out.Begin("building the image")
	err := b.WriteFile(path)
	task.End()
	if err != nil {
		return nil, err
	}
	im, err := OpenImage(path)
	if err != nil {
		return nil, err
	}
	ld.Out.Say("built %s, %s, in %.1f s: %s", path, cli.Size(int64(len(im.Data))), time.Since(begin).Seconds(), why)
	return im, nil
}

// Build writes the image that Load would load, if it is not up to date or force is
// set. The caller has the lock.
func (ld *Loader) Build(force bool) error {
	ld.Store.Sweep()
	b, err := ld.prepare(false)
	if err != nil {
		return err
	}
	if b.Initramfs != "" {
		ld.Out.Say("nothing to build: MODE=emergency loads %s as it is", b.Initramfs)
		return nil
	}
	path := ld.ImagePath(b)
	why, err := Stale(b, path)
	if err != nil {
		return err
	}
	if why == "" && force {
		why = "--force"
	}
	if why == "" {
		ld.Out.Say("%s is up to date", path)
		return nil
	}
	_, err = ld.buildImage(b, path, why)
	return err
}

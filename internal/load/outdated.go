package load

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/internal/builder"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/kimage"
	"ukdump/internal/state"
)

// Outdated returns the reason why the loaded image is not the one of b, nil if it is, or
// if it was given with --image.
func (ld *Loader) Outdated(rec *state.LoadRecord, b *builder.Build) error {
	path := ld.ImagePath(b)
	if b.Initramfs != "" {
		path = b.Initramfs
	}
	if rec.Image != path {
		return nil
	}
	want, err := b.Fingerprint()
	if err != nil {
		return err
	}
	if rec.Fingerprint != want {
		return NeedsReload("the loaded image is out of date: its inputs have changed")
	}
	return nil
}

// WantsLoad reports whether a load would load another set than the loaded one, and the
// reason. It sets Omits for the loaded set. Load of the same Loader does not look at the
// machine again.
func (ld *Loader) WantsLoad() (reason string, wanted bool) {
	rec := ld.Store.Loaded()
	if rec == nil {
		return "kdumpctl has loaded nothing in this boot", false
	}
	conf, err := config.Load(ld.Root)
	if err != nil {
		return err.Error(), false
	}
	// On some distributions an upgrade removes the running kernel. The loaded set is
	// good until the reboot, and no other one can be built.
	b, err := builder.New(ld.BuildOptions(conf))
	if err != nil {
		return err.Error(), false
	}
	ld.built, ld.Omits = b, omits(rec, b)
	if o := OmittedOf(rec, b); o != nil {
		return o.Error(), false
	}
	if err := ld.Outdated(rec, b); err != nil {
		return err.Error(), true
	}
	if err := Differs(rec, b); err != nil {
		return err.Error(), true
	}
	return "the loaded set is up to date", false
}

// RemoveImages removes the images of kernels that are no longer installed. It keeps
// those of the running kernel, of the kernel in KERNEL= and of the last load, wherever
// these kernels are. The caller has the lock.
func (ld *Loader) RemoveImages() error {
	h, err := host.Open(ld.Root)
	if err != nil {
		return err
	}
	keep := []string{ld.Store.Running()}
	if rec := ld.Store.LastLoaded(); rec != nil {
		keep = append(keep, rec.Release)
	}
	images := slices.DeleteFunc(ld.Store.Images(), func(release string) bool {
		return slices.Contains(keep, release) || installed(h, release)
	})
	if len(images) == 0 {
		return nil
	}
	configured, err := ld.configuredRelease(h)
	if err != nil {
		return err
	}
	var errs []error
	for _, release := range images {
		if release == configured {
			continue
		}
		path := state.ImagePath(release)
		if err := os.Remove(filepath.Join(ld.Root, path)); err != nil {
			errs = append(errs, err)
			continue
		}
		ld.Out.Say("removed %s: its kernel is not installed", path)
	}
	return errors.Join(errs...)
}

// installed reports whether a module tree of that release is there. A tree without
// modules.builtin, which every kernel package has, is what depmod(8) or DKMS left of one.
func installed(h *host.Host, release string) bool {
	tree := h.ModuleTree(release)
	if tree == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(tree, "modules.builtin"))
	return !errors.Is(err, fs.ErrNotExist)
}

// configuredRelease returns the release of the kernel in KERNEL=, "" for the running one.
func (ld *Loader) configuredRelease(h *host.Host) (string, error) {
	conf, err := config.Load(ld.Root)
	if err != nil {
		return "", err
	}
	if !strings.Contains(conf.Kernel, "/") {
		return conf.Kernel, nil
	}
	im, err := kimage.Find(h, ld.Root, conf.Kernel)
	if err != nil {
		return "", err
	}
	return im.Release, nil
}

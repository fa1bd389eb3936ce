package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/initramfs"
	"ukdump/internal/builder"
	"ukdump/internal/kmod"
	"ukdump/internal/plan"
)

// file is one file of an image.
type file struct {
	mode fs.FileMode
	link string
	data []byte
}

func (f file) same(o file) bool {
	return f.mode == o.mode && f.link == o.link && bytes.Equal(f.data, o.data)
}

// readFiles reads all of an image. Of a path that is there twice the kernel keeps
// the later one.
func readFiles(image []byte) (map[string]file, error) {
	files := make(map[string]file)
	r := initramfs.Open(bytes.NewReader(image))
	for {
		e, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[e.Path] = file{e.Mode, e.Link, data}
	}
}

// checkSlot finds out what is loaded.
func (v *verification) checkSlot() {
	loaded, err := v.kexec.Loaded()
	if v.problem("loaded", err) {
		return
	}
	if !loaded {
		v.problem("loaded", errNothingLoaded)
		return
	}
	if v.loaded = v.readLoaded(); v.loaded == nil {
		v.problem("loaded", toReload("a capture kernel is loaded, but not by kdumpctl since this boot: there is no telling what it is"))
		return
	}
	v.problem("loaded", fallbackError(v.loaded))
}

// findImage reads the image that is loaded, or else the one that load would take.
func (v *verification) findImage() {
	if v.emergency() {
		if v.build == nil { // its problem is known
			return
		}
		im, err := v.emergencyImage(v.build)
		if v.problem("image", err) {
			return
		}
		v.image = im
		if v.loaded != nil && v.loaded.Fingerprint != im.Fingerprint {
			v.problem("image", toReload("%s or the plan has changed since it was loaded", im.path))
			v.loaded = nil // what is looked at is not that
		}
		return
	}
	var paths []string
	if l := v.loaded; l != nil {
		paths = append(paths, l.Image)
		if isID(l.ImageID) {
			paths = append(paths, filepath.Join(v.lastGoodDir(), imageFiles+l.ImageID))
		}
	} else if v.build != nil {
		paths = append(paths, v.imagePath(v.build))
	}
	var errs []error
	for _, path := range paths {
		im, err := openImage(path)
		if err == nil && v.loaded != nil && im.Fingerprint != v.loaded.Fingerprint {
			err = fmt.Errorf("image %s: it is not the one that is loaded", path)
		}
		if err == nil {
			v.files, err = readFiles(im.data)
		}
		if err == nil {
			v.image = im
			break
		}
		errs = append(errs, err)
	}
	switch {
	case v.image != nil && len(errs) > 0:
		v.note("image", "%v; what was looked at is the copy of what was loaded", errs[0])
	case len(errs) > 0:
		v.problem("image", toReload("%w", errs[0]))
	}
}

// checkLoaded compares what is loaded with what is configured now.
func (v *verification) checkLoaded() {
	l, b := v.loaded, v.build
	if l == nil || b == nil {
		return
	}
	if !v.problem("loaded", l.differs(b)) && l.Fallback == "" {
		v.ok("loaded", "%s, its command line and this image", b.Kernel.Path)
	}
}

// given reports whether the image was not made by load but named by the user.
func (v *verification) given() bool {
	return v.loaded != nil && v.build != nil && v.loaded.Image != v.imagePath(v.build)
}

// checkFresh compares the image with the one that would be built now.
func (v *verification) checkFresh() {
	if v.build == nil {
		return
	}
	archive, err := v.build.Archive()
	var want map[string]file
	if err == nil {
		want, err = readFiles(archive)
	}
	if v.problem("image", err) {
		return
	}
	changes := differences(v.files, want)
	switch {
	case len(changes) == 0:
		v.ok("image", "up to date: its %d files are those that would be packed now", len(want))
	case v.given():
		v.note("image", "it is not the one that would be built: %s", few(changes))
	default:
		v.problem("image", toReload("out of date: %s", few(changes)))
	}
}

// differences says what of the files is not as it should be.
func differences(have, want map[string]file) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if f, ok := have[name]; !ok {
			list = append(list, name+" is missing")
		} else if !f.same(want[name]) {
			list = append(list, name+" has changed")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			list = append(list, name+" is not needed")
		}
	}
	return list
}

// checkModules looks whether the kernel can load each module of the plan, and
// whether each finds its firmware.
func (v *verification) checkModules() {
	if v.plan == nil {
		return
	}
	var absent, foreign, early, firmware []string
	before := make(map[string]bool)
	named, packed := 0, 0
	var infos []*kmod.Info
	var names []string
	for _, m := range v.plan.Modules {
		before[m.Name] = true
		f, ok := v.files[m.Path]
		if !ok {
			absent = append(absent, m.Path)
			continue
		}
		info, err := kmod.ReadInfo(f.data)
		if err != nil {
			v.problem("modules", toReload("%s: %w", m.Path, err))
			continue
		}
		infos, names = append(infos, info), append(names, m.Name)
		for _, d := range info.Depends {
			if !before[d] {
				early = append(early, fmt.Sprintf("%s (before %s)", m.Name, d))
			}
		}
		for _, name := range info.Firmware {
			named++
			if _, ok := v.files["lib/firmware/"+name]; ok {
				packed++
			} else if v.installed(name) {
				firmware = append(firmware, fmt.Sprintf("%s of %s", name, m.Name))
			}
		}
	}
	release := v.plan.Kernel.Release
	magic := kmod.KernelMagic(release, infos)
	weak := ""
	for i, info := range infos {
		other, _, _ := strings.Cut(info.Vermagic, " ")
		if !info.Fits(magic) {
			foreign = append(foreign, fmt.Sprintf("%s (for %s)", names[i], other))
		} else if other != release {
			weak = " or, with CRCs, for one like it"
		}
	}
	n := len(v.findings)
	for _, x := range []struct {
		names []string
		what  string
	}{
		{absent, "not in the image, though the plan names them: "},
		{foreign, "not built for " + release + ", which refuses them: "},
		{early, "loaded before what they need: "},
		{firmware, "firmware that is installed is not in the image: "},
	} {
		if len(x.names) > 0 {
			v.problem("modules", toReload("%s%s", x.what, few(x.names)))
		}
	}
	switch {
	case len(v.findings) > n:
	case len(v.plan.Modules) == 0:
		v.ok("modules", "none: the kernel has built in what is needed")
	default:
		v.ok("modules", "%d, all built for %s%s, each after what it needs", len(v.plan.Modules), release, weak)
	}
	switch {
	case packed < named && len(firmware) == 0:
		v.ok("firmware", "%d of the %d files that modules can ask for; the others are not installed here", packed, named)
	case len(firmware) == 0 && named > 0:
		v.ok("firmware", "all %d files that modules can ask for", named)
	}
}

// installed reports whether a firmware file would be packed now.
func (v *verification) installed(name string) bool {
	return v.build != nil && slices.ContainsFunc(v.build.Files, func(f builder.File) bool { return f.Path == "lib/firmware/"+name })
}

// checkReservation looks whether kernel and image fit.
func (v *verification) checkReservation() {
	if v.build == nil {
		return
	}
	need, have, err := v.room()
	if !v.problem("memory", err) {
		v.ok("memory", "%d MiB reserved: %d MiB until the image is unpacked, %d MiB to run in", have>>20, (need+1<<20-1)>>20, (have-need)>>20)
	}
}

func (v *verification) room() (need, have int64, err error) {
	kernel, err := kernelFile(v.build)
	if err != nil {
		return 0, 0, err
	}
	defer kernel.Close()
	initrd, err := memfd(v.image.path, v.image.data)
	if err != nil {
		return 0, 0, err
	}
	defer initrd.Close()
	return v.kexec.Room(kernel, initrd, v.image.Unpacked)
}

// unpack writes the programs and libraries of the image into dir. Whatever the
// image says, nothing gets out of there.
func (v *verification) unpack(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range slices.Sorted(maps.Keys(v.files)) {
		f := v.files[name]
		if strings.HasPrefix(name, "lib/modules/") || strings.HasPrefix(name, "lib/firmware/") || name == plan.Path {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		switch {
		case f.mode.IsRegular():
			err = root.WriteFile(name, f.data, f.mode.Perm())
		case f.mode&fs.ModeSymlink != 0:
			err = root.Symlink(f.link, name)
		case f.mode.IsDir():
			err = root.Mkdir(name, 0o700)
			if errors.Is(err, fs.ErrExist) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

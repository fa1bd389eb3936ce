package verify

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
	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/kexec"
	"ukdump/internal/kmod"
	"ukdump/internal/load"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// File is one file of an image.
type File struct {
	Mode fs.FileMode
	Link string
	Data []byte
}

func (f File) same(o File) bool {
	return f.Mode == o.Mode && f.Link == o.Link && bytes.Equal(f.Data, o.Data)
}

// ReadFiles reads all of an image. Of a path that is there twice the kernel keeps
// the later one.
func ReadFiles(image []byte) (map[string]File, error) {
	files := make(map[string]File)
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
		files[e.Path] = File{e.Mode, e.Link, data}
	}
}

// ErrNothingLoaded is the problem where everything else is in place.
var ErrNothingLoaded = advice.With(errors.New("no capture kernel is loaded"), "Run kdumpctl load now, and systemctl enable ukdump.service for every boot.")

// checkSlot reads the crash slot.
func (v *Run) checkSlot() {
	taken, err := v.Slot.Loaded()
	if v.taken = taken; v.Problem("loaded", err) {
		return
	}
	if !v.taken {
		v.Problem("loaded", ErrNothingLoaded)
		return
	}
	if v.Loaded = v.Store.Loaded(); v.Loaded == nil {
		v.Problem("loaded", load.NotOurs())
		return
	}
	v.Problem("loaded", load.FallbackProblem(v.Loaded))
	v.inMemory, err = v.Replaced(v.Loaded)
	v.replaced = v.Problem("loaded", err)
	v.Problem("units", OtherTools(v.Root))
}

// findImage reads the image that is loaded, or else the one that load would take.
func (v *Run) findImage() {
	if v.emergency() {
		if v.build == nil { // its problem is known
			return
		}
		im, err := v.EmergencyImage(v.build)
		if v.Problem("image", err) {
			return
		}
		v.Image = im
		if v.Loaded != nil && v.Loaded.Fingerprint != im.Fingerprint {
			v.Problem("image", load.NeedsReload("%s or the plan has changed since it was loaded", im.Path))
			v.Loaded = nil // the checked image is another one
		}
		return
	}
	var paths []string
	if l := v.Loaded; l != nil {
		paths = append(paths, l.Image)
		if state.IsID(l.ImageID) {
			paths = append(paths, v.Store.ImageCopy(l.ImageID))
		}
	} else if v.build != nil {
		paths = append(paths, v.ImagePath(v.build))
	}
	var errs []error
	for _, path := range paths {
		im, err := load.OpenImage(path)
		if err == nil && v.Loaded != nil && im.Fingerprint != v.Loaded.Fingerprint {
			err = fmt.Errorf("image %s: differs from the loaded image", path)
		}
		if err == nil {
			v.files, err = ReadFiles(im.Data)
		}
		if err == nil {
			v.Image = im
			break
		}
		errs = append(errs, err)
	}
	switch {
	case v.Image != nil && len(errs) > 0:
		v.note("image", "%v; checked the copy of the loaded image instead", errs[0])
	case len(errs) > 0:
		v.Problem("image", load.NeedsReload("%w", errs[0]))
	}
}

// checkLoaded compares the loaded set with the configuration of now.
func (v *Run) checkLoaded() {
	l, b := v.Loaded, v.build
	if l == nil || b == nil {
		return
	}
	switch {
	case v.Problem("loaded", load.Differs(l, b)), l.Fallback != "", v.replaced:
	case v.inMemory:
		v.ok("loaded", "%s", located(l, b.Kernel.Path))
	default:
		v.ok("loaded", "kdumpctl loaded %s, its command line and this image; a later load by another program would not show", b.Kernel.Path)
	}
}

// located says which parts of l the reserved memory was seen to have. Not every kernel
// shows all.
func located(l *state.LoadRecord, kernel string) string {
	var has, others []string
	for _, p := range []struct{ part, name string }{
		{kexec.KernelPart, kernel}, {kexec.CmdlinePart, "the command line"}, {kexec.ImagePart, "this image"},
	} {
		if slices.ContainsFunc(l.Pieces, func(x state.Piece) bool { return x.Part == p.part }) {
			has = append(has, p.name)
		} else {
			others = append(others, p.name)
		}
	}
	text := "the reserved memory has " + cli.List(has)
	if others != nil {
		text += "; it does not show " + cli.List(others) + ", which kdumpctl loaded with that"
	}
	return text
}

// given reports whether the image was not made by load but named by the user.
func (v *Run) given() bool {
	return v.Loaded != nil && v.build != nil && v.Loaded.Image != v.ImagePath(v.build)
}

// checkFresh compares the image with the one that would be built now.
func (v *Run) checkFresh() {
	if v.build == nil {
		return
	}
	archive, err := v.build.Archive()
	var want map[string]File
	if err == nil {
		want, err = ReadFiles(archive)
	}
	if v.Problem("image", err) {
		return
	}
	changes := differences(v.files, want)
	switch {
	case len(changes) == 0:
		v.ok("image", "up to date: a build now packs the same %d files", len(want))
	case v.given():
		v.note("image", "differs from a build now: %s", firstNames(changes))
	default:
		v.Problem("image", load.NeedsReload("out of date: %s", firstNames(changes)))
	}
}

// differences lists the files that are missing, changed or not needed.
func differences(have, want map[string]File) (list []string) {
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
func (v *Run) checkModules() {
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
		info, err := kmod.ReadInfo(f.Data)
		if err != nil {
			v.Problem("modules", load.NeedsReload("%s: %w", m.Path, err))
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
	n := len(v.Findings)
	for _, x := range []struct {
		names []string
		what  string
	}{
		{absent, "in the plan, but not in the image: "},
		{foreign, "not built for " + release + ", which refuses them: "},
		{early, "loaded before their dependencies: "},
		{firmware, "firmware is installed, but not in the image: "},
	} {
		if len(x.names) > 0 {
			v.Problem("modules", load.NeedsReload("%s%s", x.what, firstNames(x.names)))
		}
	}
	switch {
	case len(v.Findings) > n:
	case len(v.plan.Modules) == 0:
		v.ok("modules", "none: the needed drivers are built into the kernel")
	default:
		v.ok("modules", "%d, all built for %s%s, each after its dependencies", len(v.plan.Modules), release, weak)
	}
	switch {
	case packed < named && len(firmware) == 0:
		v.ok("firmware", "%d of the %d files that modules can request; the others are not installed here", packed, named)
	case len(firmware) == 0 && named > 0:
		v.ok("firmware", "all %d files that modules can request", named)
	}
}

// installed reports whether a firmware file would be packed now.
func (v *Run) installed(name string) bool {
	return v.build != nil && slices.ContainsFunc(v.build.Files, func(f builder.File) bool { return f.Path == "lib/firmware/"+name })
}

// checkReservation looks whether kernel and image fit, whether the memory is enough for
// a capture, and whether the disks can use it.
func (v *Run) checkReservation() {
	const topic = "memory"
	if v.build == nil {
		return
	}
	if _, _, err := v.room(); v.Problem(topic, err) {
		return
	}
	rec := v.Estimate(v.build, int64(len(v.Image.Data)), v.Image.Unpacked)
	problem := v.MemoryProblem(rec)
	switch {
	case v.Problem(topic, problem):
	case rec.Needed == 0:
		v.note(topic, "%s reserved; unknown how much a capture needs", cli.Size(rec.Memory))
	default:
		v.ok(topic, "%s can be used, a capture needs about %s", cli.Size(rec.Memory), cli.Size(rec.Needed))
	}
	reach := v.Reach(v.build)
	if !reach.All {
		for _, lost := range reach.Lost {
			v.note(topic, "%s", lost)
		}
	}
	for _, name := range reach.Unknown {
		v.note(topic, "unknown whether %s can use memory above 4 GiB, and none below is reserved", name)
	}
	if m, err := v.Slot.Memory(); err == nil && m.CMAUnknown {
		v.note(topic, "crashkernel=SIZE,cma is not counted: the running kernel does not say how much it has reserved")
	}
}

func (v *Run) room() (need, have int64, err error) {
	kernel, err := load.KernelFile(v.build)
	if err != nil {
		return 0, 0, err
	}
	defer kernel.File.Close()
	initrd, err := load.Memfd(v.Image.Path, v.Image.Data)
	if err != nil {
		return 0, 0, err
	}
	defer initrd.Close()
	return v.Slot.Room(kernel, initrd, v.Image.Unpacked)
}

// unpack writes the programs and libraries of the image into dir. Whatever the
// image says, nothing gets out of there.
func (v *Run) unpack(dir string) error {
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
		case f.Mode.IsRegular():
			err = root.WriteFile(name, f.Data, f.Mode.Perm())
		case f.Mode&fs.ModeSymlink != 0:
			err = root.Symlink(f.Link, name)
		case f.Mode.IsDir():
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

package verify

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/load"
	"ukdump/internal/plan"
	"ukdump/internal/target"
)

// checkTargets writes to the targets and compares their space with the forecast.
func (v *Run) checkTargets() {
	var spaces []Space
	if v.build == nil {
		mounts := host.ReadMountTable(v.Root)
		for _, t := range v.conf.Targets {
			if t.Kind != target.Directory {
				continue
			}
			err := NotMounted(mounts, filepath.Join(v.Root, t.Name))
			if err == nil {
				v.checkDirectory("target", t.Name)
			} else if !v.machineHas(err) {
				v.Problem("target", err)
			}
		}
		return
	}
	for _, t := range v.build.Plan.Targets {
		if v.Problem("target", v.CheckKeys(&t, v.Loaded)) {
			continue
		}
		switch t.Kind {
		case plan.Raw:
			spaces = append(spaces, v.checkRaw(t.Dir)...)
		case plan.NFS, plan.Server:
			spaces = append(spaces, v.checkServer(&t)...)
		default:
			spaces = append(spaces, v.checkDirectory("target", t.Dir)...)
		}
	}
	for _, t := range v.build.Plan.Evidence {
		if !v.Problem("evidence", v.CheckKeys(&t, v.Loaded)) {
			v.checkDirectory("evidence", t.Dir)
		}
	}
	for _, err := range v.build.LeftOut {
		// A machine without swap lacks nothing.
		if none := (*host.NoSwapError)(nil); !errors.As(err, &none) || len(none.Tried) > 0 {
			v.note("target", "%v", err)
		}
	}
	v.checkSpace(spaces)
}

// checkOmitted looks for servers that cannot be reached. If the loaded set has one of them,
// a build now is no image to compare with.
func (v *Run) checkOmitted() {
	if v.build == nil {
		return
	}
	for _, err := range load.OmittedProblems(v.Loaded, v.build) {
		v.Problem("target", err)
	}
	if load.OmittedOf(v.Loaded, v.build) != nil {
		v.build = nil
	}
}

// checkRaw looks whether a raw device can take a dump.
func (v *Run) checkRaw(name string) []Space {
	if slices.Contains(v.build.Uncollected, name) {
		v.Problem("target", Uncollected(name))
		return nil
	}
	return []Space{{Name: name, Free: v.build.RawSizes[name], Most: math.MaxInt64}}
}

// Uncollected is the problem of a raw target with a dump that nobody has collected.
func Uncollected(name string) error {
	return advice.With(errors.New(name+" has a dump that was not collected, and takes no other"), "Run kdumpctl collect.")
}

// machineHas reports whether the machine could not be surveyed for the same mount.
func (v *Run) machineHas(err error) bool {
	var missing, known *host.NotMountedError
	return errors.As(err, &missing) && slices.ContainsFunc(v.Findings, func(f Finding) bool {
		return errors.As(f.Err, &known) && *known == *missing
	})
}

// NotMounted returns the problem that a configured mount at or above dir is not there,
// nil if all are.
func NotMounted(mounts *host.MountTable, dir string) error {
	if absent := mounts.Absent(dir); len(absent) > 0 {
		return fmt.Errorf("target %s: %w", dir, &host.NotMountedError{Point: absent[0].Point})
	}
	return nil
}

// checkDirectory writes to a directory, or to its nearest existing parent.
func (v *Run) checkDirectory(topic, dir string) []Space {
	room, at, err := crashdir.RoomFor(filepath.Join(v.Root, dir))
	ro := v.knownReadOnly(dir)
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", dir, err)
	case ro != nil || room.ReadOnly:
		return v.readOnly(topic, dir, room, ro)
	default:
		task := v.Out.Begin("writing to %s", at)
		err = v.TryWrite(at)
		task.End()
	}
	if errors.Is(err, unix.EROFS) {
		err = readOnlyNow(dir)
	} else if err != nil {
		err = fmt.Errorf("write to %s: %w", dir, err)
	}
	if v.Problem(topic, err) {
		return nil
	}
	s := Space{Name: dir, Free: room.Free, Most: room.Largest}
	if v.build != nil && v.build.Plan.MakeSpace {
		s.Old = Expendable(at)
	}
	v.ok(topic, "%s is writable", dir)
	v.noteShared(topic, dir)
	return []Space{s}
}

// knownReadOnly returns the reason that the file system of a directory takes no writes
// now, nil if it does or if the reason is unknown.
func (v *Run) knownReadOnly(dir string) *host.ReadOnlyTargetError {
	if v.build == nil {
		return nil
	}
	i := slices.IndexFunc(v.build.ReadOnly, func(ro *host.ReadOnlyTargetError) bool { return ro.Dir == dir })
	if i < 0 {
		return nil
	}
	return v.build.ReadOnly[i]
}

// readOnly adds the finding for a directory that cannot be written to now. The capture
// kernel mounts the file system anew, so the reason counts. Without one, the file
// system is mounted read-write, and something else is mounted read-only.
func (v *Run) readOnly(topic, dir string, room crashdir.Room, ro *host.ReadOnlyTargetError) []Space {
	switch {
	case ro == nil && (v.build == nil || v.emergency()):
		v.Problem(topic, readOnlyNow(dir))
		return nil
	case ro == nil:
		v.note(topic, "%s is on a read-only bind mount: the capture kernel mounts its file system read-write", dir)
	case ro.Doubtful():
		v.Problem(topic, ro)
		return nil
	default:
		v.note(topic, "%v", ro)
	}
	return []Space{{Name: dir, Free: room.Free, Most: room.Largest}}
}

func readOnlyNow(dir string) error {
	return advice.With(errors.New(dir+" is on a file system that is mounted read-only"), (*host.ReadOnlyTargetError)(nil).Advice())
}

// noteShared says who else may write to a directory of dumps.
func (v *Run) noteShared(topic, dir string) {
	s, err := crashdir.SharedWith(filepath.Join(v.Root, dir))
	if err != nil {
		v.note(topic, "unknown who may write to %s: %v", dir, err)
		return
	}
	if text := s.Describe(dir); text != "" {
		v.note(topic, "%s", text)
	}
}

// TryWrite writes a file without a name in dir, see open(2). What the power
// failure of this moment leaves is gone with the next mount.
func TryWrite(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	var f *os.File
	switch {
	case err == nil:
		f = os.NewFile(uintptr(fd), dir)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR): // vfat has no files without a name
		if f, err = os.CreateTemp(dir, ".ukdump-verify-"); err != nil {
			return crashdir.WithoutPath(err)
		}
		defer os.Remove(f.Name())
	default:
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 64<<10)); err != nil {
		return crashdir.WithoutPath(err)
	}
	return crashdir.WithoutPath(f.Sync())
}

package verify

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/crashdir"
	"ukdump/internal/load"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// checkPrograms unpacks the programs of the image, looks whether each finds all
// that it needs to start, and runs makedumpfile.
func (v *Run) checkPrograms() {
	if v.plan == nil {
		return
	}
	dir, err := v.unpackedDir()
	if err != nil {
		v.Problem("programs", fmt.Errorf("unpack the image: %w", err))
		return
	}
	defer os.RemoveAll(dir)
	if err := v.unpack(dir); err != nil {
		v.Problem("programs", fmt.Errorf("unpack the image: %w", err))
		return
	}
	n := len(v.Findings)
	v.checkPid1()
	v.checkCollectors()
	loaders := make(map[string]string) // of each program
	var started []string               // those that need one
	for _, name := range slices.Sorted(maps.Keys(v.files)) {
		f := v.files[name]
		if !f.Mode.IsRegular() || f.Mode&0o111 == 0 || !bytes.HasPrefix(f.Data, []byte("\x7fELF")) {
			continue
		}
		interp, err := builder.CheckProgram(dir, "/"+name, v.plan.Kernel.Arch)
		if err != nil {
			v.Problem("programs", incomplete(err))
			continue
		}
		if loaders[name] = interp; interp != "" {
			started = append(started, "/"+name)
		}
	}
	if len(v.Findings) > n {
		return
	}
	if len(started) == 0 {
		started = []string{"programs, which need none"}
	}
	v.ok("programs", "PID 1 has the version of kdumpctl; the image has all libraries of %s", firstNames(started))
	v.checkMakedumpfile(dir, loaders)
}

// incomplete is the problem of a program in the image that cannot start.
func incomplete(err error) error {
	var missing *builder.MissingLibraryError
	if errors.As(err, &missing) {
		return load.NeedsReload("the image lacks %s, which %s needs", missing.Library, missing.User)
	}
	return load.NeedsReload("in the image: %w", err)
}

// unpackedDir makes a private directory in which programs can be run.
func (v *Run) unpackedDir() (string, error) {
	own := filepath.Join(v.Root, state.Dir)
	var errs []error
	for _, parent := range []string{own, os.TempDir()} {
		room, err := crashdir.RoomIn(parent)
		if err == nil && room.NoExec {
			err = errors.New("mounted noexec")
		}
		if err == nil {
			var dir string
			if dir, err = os.MkdirTemp(parent, state.UnpackedDirs); err == nil {
				return dir, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", parent, err))
	}
	return "", errors.Join(errs...)
}

// checkPid1 looks whether the kernel can start PID 1.
func (v *Run) checkPid1() {
	const name = "/init of the image"
	if f, ok := v.files["init"]; !ok || !f.Mode.IsRegular() {
		v.Problem("programs", &builder.Pid1Error{Path: name, Why: unix.ENOENT.Error()})
	} else {
		v.Problem("programs", builder.CheckPid1(name, f.Data, v.plan.Kernel.Arch))
	}
	if f, ok := v.files["dev/null"]; !ok || !f.Mode.IsRegular() {
		v.Problem("programs", load.NeedsReload("the image lacks dev/null: without a console PID 1 could not start"))
	}
}

// checkCollectors looks for the programs that the plan names.
func (v *Run) checkCollectors() {
	programs := make(map[string]bool)
	for _, c := range v.plan.Collectors {
		programs[c.Argv[0]] = true
	}
	if v.plan.FailureAction == plan.Shell {
		programs["/"+plan.ShellPath] = true
	}
	for _, p := range slices.Sorted(maps.Keys(programs)) {
		if f := v.files[strings.TrimPrefix(p, "/")]; !f.Mode.IsRegular() || f.Mode&0o111 == 0 || len(f.Data) == 0 {
			v.Problem("programs", load.NeedsReload("the image lacks %s, which the plan runs", p))
		}
	}
}

// checkMakedumpfile runs makedumpfile as it is in the image, with its libraries
// and by its own loader, on the running kernel.
func (v *Run) checkMakedumpfile(dir string, loaders map[string]string) {
	const topic = "makedumpfile"
	if v.plan.LogOnly {
		v.skipMakedumpfile()
		return
	}
	i := slices.IndexFunc(v.plan.Collectors, func(c plan.Collector) bool { return filepath.Base(c.Argv[0]) == topic })
	if i < 0 || !v.CanForecast() {
		v.note(topic, "not tried on the running kernel")
		return
	}
	name := strings.TrimPrefix(v.plan.Collectors[i].Argv[0], "/")
	program := filepath.Join(dir, name)
	argv := []string{program}
	if interp := loaders[name]; interp != "" {
		argv = []string{filepath.Join(dir, interp), "--library-path", filepath.Join(dir, plan.LibraryDir), program}
	}
	v.tryMakedumpfile("makedumpfile of the image", v.files[name].Data, argv...)
}

// skipMakedumpfile reports that no collector was checked.
func (v *Run) skipMakedumpfile() {
	v.note("makedumpfile", "skipped, and so are the other collectors: %s", builder.LogOnly)
}

// tryMakedumpfile makes the forecast with a program of those bytes; which names it for
// people.
func (v *Run) tryMakedumpfile(which string, program []byte, argv ...string) {
	const topic = "makedumpfile"
	f := v.Try(program, load.TryLimit, v.conf.DumpLevel, argv...)
	v.forecast = f
	switch {
	case f.Verdict == state.Understood && !f.Time.IsZero() && f.Time.Before(v.began):
		v.ok(topic, "%s understood the running kernel %s at %s", which, f.Release, f.Time.Format(time.RFC3339))
	case f.Verdict == state.Untried && v.Slot.Lockdown() == "confidentiality":
		v.note(topic, "not tried: %s", f.Problem)
	case f.Corrected:
		v.note(topic, "%s reads the running kernel %s with a corrected VMCOREINFO, as after a crash; unknown how large a dump will be: %s", which, f.Release, f.Problem)
	case f.Late:
		v.note(topic, "unknown whether %s understands the running kernel %s: %s", which, f.Release, f.Problem)
	case f.Verdict != state.Understood:
		v.Problem(topic, advice.With(
			fmt.Errorf("%s fails on the running kernel %s: %s", which, f.Release, f.Problem),
			"Install a newer makedumpfile and run kdumpctl reload. Until then dumps have all pages but those of zeros."))
	case f.Note != "":
		v.note(topic, "%s", f.Note)
	default:
		v.ok(topic, "%s understands the running kernel %s", which, f.Release)
	}
}

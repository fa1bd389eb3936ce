package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/plan"
)

// unpackedDirs are the names of the directories that images are unpacked into.
const unpackedDirs = ".verify-*"

// checkPrograms unpacks the programs of the image, looks whether each finds all
// that it needs to start, and runs makedumpfile.
func (v *verification) checkPrograms() {
	if v.plan == nil {
		return
	}
	dir, err := v.unpackedDir()
	if err != nil {
		v.problem("programs", fmt.Errorf("unpack the image: %w", err))
		return
	}
	defer os.RemoveAll(dir)
	if err := v.unpack(dir); err != nil {
		v.problem("programs", fmt.Errorf("unpack the image: %w", err))
		return
	}
	n := len(v.findings)
	v.checkPid1(filepath.Join(dir, "init"))
	v.checkCollectors()
	loaders := make(map[string]string) // of each program
	var started []string               // those that need one
	for _, name := range slices.Sorted(maps.Keys(v.files)) {
		f := v.files[name]
		if !f.mode.IsRegular() || f.mode&0o111 == 0 || !bytes.HasPrefix(f.data, []byte("\x7fELF")) {
			continue
		}
		interp, err := builder.CheckProgram(dir, "/"+name, v.plan.Kernel.Arch)
		if err != nil {
			v.problem("programs", toReload("in the image: %w", inside(dir, err)))
			continue
		}
		if loaders[name] = interp; interp != "" {
			started = append(started, "/"+name)
		}
	}
	if len(v.findings) > n {
		return
	}
	if len(started) == 0 {
		started = []string{"programs, which need none"}
	}
	v.ok("programs", "PID 1 is of this version; all libraries are there for %s", few(started))
	v.checkMakedumpfile(dir, loaders)
}

// inside makes an error about an unpacked file one about the image.
func inside(dir string, err error) error {
	var missing *builder.MissingLibraryError
	if errors.As(err, &missing) {
		return fmt.Errorf("%s needs %s, which is not there", missing.User, missing.Library)
	}
	return errors.New(strings.ReplaceAll(err.Error(), dir, ""))
}

// unpackedDir makes a private directory in which programs can be run.
func (v *verification) unpackedDir() (string, error) {
	state := filepath.Join(v.root, builder.StateDir)
	var errs []error
	for _, parent := range []string{state, os.TempDir()} {
		var st unix.Statfs_t
		err := unix.Statfs(parent, &st)
		if err == nil && st.Flags&unix.ST_NOEXEC != 0 {
			err = errors.New("mounted noexec")
		}
		if err == nil {
			var dir string
			if dir, err = os.MkdirTemp(parent, unpackedDirs); err == nil {
				return dir, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", parent, err))
	}
	return "", errors.Join(errs...)
}

// checkPid1 looks whether the kernel can start PID 1.
func (v *verification) checkPid1(path string) {
	err := builder.CheckPid1(path, v.plan.Kernel.Arch)
	if bad := (*builder.Pid1Error)(nil); errors.As(err, &bad) {
		bad.Path = "/init of the image"
	}
	v.problem("programs", err)
	if f, ok := v.files["dev/null"]; !ok || !f.mode.IsRegular() {
		v.problem("programs", toReload("the image has no dev/null: without a console PID 1 could not start"))
	}
}

// checkCollectors looks for the programs that the plan names.
func (v *verification) checkCollectors() {
	programs := make(map[string]bool)
	for _, c := range v.plan.Collectors {
		programs[c.Argv[0]] = true
	}
	if v.plan.FailureAction == plan.Shell {
		programs["/"+plan.ShellPath] = true
	}
	for _, p := range slices.Sorted(maps.Keys(programs)) {
		if f := v.files[strings.TrimPrefix(p, "/")]; !f.mode.IsRegular() || f.mode&0o111 == 0 || len(f.data) == 0 {
			v.problem("programs", toReload("the plan runs %s, but the image has no such program", p))
		}
	}
}

// checkMakedumpfile runs makedumpfile as it is in the image, with its libraries
// and by its own loader, on the running kernel.
func (v *verification) checkMakedumpfile(dir string, loaders map[string]string) {
	const topic = "makedumpfile"
	i := slices.IndexFunc(v.plan.Collectors, func(c plan.Collector) bool { return filepath.Base(c.Argv[0]) == topic })
	if i < 0 || !v.canForecast() {
		v.note(topic, "it was not tried on the running kernel")
		return
	}
	name := strings.TrimPrefix(v.plan.Collectors[i].Argv[0], "/")
	program := filepath.Join(dir, name)
	ask := func() ([]byte, error) {
		if interp := loaders[name]; interp != "" {
			return runMemUsage(filepath.Join(dir, interp), "--library-path", filepath.Join(dir, plan.LibraryDir), program)
		}
		return runMemUsage(program)
	}
	if v.memUsage != nil {
		ask = func() ([]byte, error) { return v.memUsage(program) }
	}
	v.tryMakedumpfile("the one in the image", ask)
}

// tryMakedumpfile makes the forecast.
func (v *verification) tryMakedumpfile(which string, ask func() ([]byte, error)) {
	const topic = "makedumpfile"
	f := v.forecastWith(v.conf.DumpLevel, ask)
	v.forecast = f
	switch {
	case v.kexec.Lockdown() == "confidentiality":
		v.note(topic, "it was not tried: %s", f.Problem)
	case f.Bytes == 0:
		v.problem(topic, advice.With(
			fmt.Errorf("%s fails on the running kernel %s: %s", which, f.Release, f.Problem),
			"Install a newer makedumpfile and run kdumpctl reload; without it all pages but those of zeros are copied."))
	case f.Note != "":
		v.note(topic, "%s", f.Note)
	default:
		v.ok(topic, "%s understands the running kernel %s", which, f.Release)
	}
}

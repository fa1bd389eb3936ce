package builder

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"

	"ukdump/internal/plan"
)

// elfMachines maps the architectures that we build for to ELF's names.
var elfMachines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Pid1Error reports a kdumpinit that cannot be PID 1 of an image.
type Pid1Error struct {
	Path string
	Why  string
}

func (e *Pid1Error) Error() string { return "kdumpinit: " + e.Path + ": " + e.Why }

// Advice returns what to do about it.
func (e *Pid1Error) Advice() string {
	return "Reinstall ukdump, so that all of its programs come from one build (make install)."
}

// maxPid1 bounds what is read as kdumpinit, in bytes.
const maxPid1 = 64 << 20

// readPid1 reads kdumpinit and checks that the kernel can start it and that it
// will understand the plan: a static program for arch, of our own version.
func readPid1(path, arch string) ([]byte, error) {
	bad := func(format string, a ...any) error {
		return &Pid1Error{Path: path, Why: fmt.Sprintf(format, a...)}
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, bad("%v", underlying(err))
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxPid1 {
		return nil, bad("not a program")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, bad("%v", underlying(err))
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, bad("not a program")
	}
	defer f.Close()
	if want := elfMachines[arch]; f.Machine != want {
		return nil, bad("built for %v, the kernel needs %v", f.Machine, want)
	}
	if interpreter(f) != "" {
		return nil, bad("dynamically linked, and the image has no libraries for it: build it with CGO_ENABLED=0")
	}
	i := bytes.Index(b, []byte(plan.Marker))
	if i < 0 {
		return nil, bad("not ukdump's PID 1")
	}
	version, _, _ := bytes.Cut(b[i+len(plan.Marker):min(len(b), i+len(plan.Marker)+64)], []byte(";"))
	if string(version) != plan.Software {
		return nil, bad("version %q, but this is version %s", version, plan.Software)
	}
	return b, nil
}

// CheckPid1 reports why the program at path cannot be PID 1 of an image for arch
// (a GOARCH) that this version has built. The error is a *Pid1Error.
func CheckPid1(path, arch string) error {
	_, err := readPid1(path, arch)
	return err
}

// underlying strips the path that the caller names anyway.
func underlying(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}

// DefaultPid1 returns the kdumpinit that was installed together with the running
// program: PREFIX/lib/ukdump/kdumpinit for PREFIX/bin, and kdumpinit in the
// program's own directory for a program that was built but not installed.
func DefaultPid1() string {
	exe, err := os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return "/usr/lib/ukdump/kdumpinit"
	}
	beside := filepath.Join(filepath.Dir(exe), "kdumpinit")
	if _, err := os.Stat(beside); err == nil {
		return beside
	}
	return filepath.Join(filepath.Dir(filepath.Dir(exe)), "lib", "ukdump", "kdumpinit")
}

package builder

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// elfMachines maps the architectures that we build for to ELF's names.
var elfMachines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Pid1Error reports a kdumpinit or ukdump-rescue that cannot be PID 1 of an image.
type Pid1Error struct {
	Path string
	Why  string

	program string // "" for kdumpinit
}

func (e *Pid1Error) Error() string {
	return cmp.Or(e.program, "kdumpinit") + ": " + e.Path + ": " + e.Why
}

// Advice returns the remedy.
func (e *Pid1Error) Advice() string {
	return "Reinstall ukdump, so that all of its programs come from one build (make install)."
}

// maxPid1 is the most that is read of kdumpinit, in bytes.
const maxPid1 = 64 << 20

// readPid1 reads kdumpinit and checks it as CheckPid1 does.
func readPid1(path, arch string) ([]byte, error) {
	bad := func(format string, a ...any) error {
		return &Pid1Error{Path: path, Why: fmt.Sprintf(format, a...)}
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, bad("%v", crashdir.WithoutPath(err))
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxPid1 {
		return nil, bad("not a program")
	}
	b, err := crashdir.ReadFile(path, maxPid1)
	if err != nil {
		return nil, bad("%v", crashdir.WithoutPath(err))
	}
	return b, CheckPid1(path, b, arch)
}

// readProgram reads a static program of ours that does not read the plan, so its version
// does not matter.
func readProgram(path, arch string) ([]byte, error) {
	data, err := readPid1(path, arch)
	var wrong *Pid1Error
	if errors.As(err, &wrong) {
		if wrong.program = filepath.Base(path); wrong.Why == notOurs {
			return data, nil
		}
	}
	return data, err
}

// notOurs is the reason against a program without plan.Marker.
const notOurs = "not a program of ukdump for its image"

// CheckPid1 checks that the kernel can start the program as PID 1 of an image for
// arch (a GOARCH), and that it understands the plan: a static program of this version.
// The error is a *Pid1Error, which calls the program name.
func CheckPid1(name string, program []byte, arch string) error {
	bad := func(format string, a ...any) error {
		return &Pid1Error{Path: name, Why: fmt.Sprintf(format, a...)}
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return bad("not a program")
	}
	defer f.Close()
	if want := elfMachines[arch]; f.Machine != want {
		return bad("built for %v, the kernel needs %v", f.Machine, want)
	}
	if interpreter(f) != "" {
		return bad("dynamically linked, and the image has no libraries for it: build it with CGO_ENABLED=0")
	}
	_, rest, ok := bytes.Cut(program, []byte(plan.Marker))
	if !ok {
		return bad(notOurs)
	}
	version, _, _ := bytes.Cut(rest[:min(len(rest), 64)], []byte(";"))
	if string(version) != plan.Software {
		return bad("version %q, but this is version %s", version, plan.Software)
	}
	return nil
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

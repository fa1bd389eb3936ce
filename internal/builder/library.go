package builder

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/plan"
)

// maxLibraries bounds the closure of one program.
const maxLibraries = 200

// MissingLibraryError reports a library that a program needs and that is in
// none of the directories the dynamic linker looks into.
type MissingLibraryError struct {
	Library string   // DT_NEEDED name
	User    string   // file that needs it
	Looked  []string // directories
}

func (e *MissingLibraryError) Error() string {
	return fmt.Sprintf("library %s: needed by %s: not found in %s", e.Library, e.User, strings.Join(e.Looked, " "))
}

// Advice returns the remedy for a missing library.
func (e *MissingLibraryError) Advice() string {
	return "Install the package that contains " + e.Library + ", or reinstall makedumpfile."
}

// library is one file of a program's closure.
type library struct {
	name string // as the dynamic linker looks for it
	path string // on the host
	why  string
}

// linker resolves shared libraries below a root directory the way ld.so(8)
// does, without running anything: the root may be another machine's.
type linker struct {
	host *host.Host
	dirs []string // as ld.so searches them
}

// newLinker reads the search path of ld.so from /etc/ld.so.conf.
func newLinker(h *host.Host) *linker {
	l := &linker{host: h}
	l.readConf("/etc/ld.so.conf", 0)
	// The trusted directories, with the multiarch ones of Debian.
	for _, d := range []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib",
		"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
		"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"} {
		if !slices.Contains(l.dirs, d) {
			l.dirs = append(l.dirs, d)
		}
	}
	return l
}

// readConf reads one file of ld.so.conf with its includes, see ldconfig(8).
func (l *linker) readConf(path string, depth int) {
	b, err := l.host.ReadFile(path)
	if err != nil || depth > 4 {
		return
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		switch {
		case len(f) >= 2 && f[0] == "include":
			for _, pattern := range f[1:] {
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(filepath.Dir(path), pattern)
				}
				dir, err := l.host.File(filepath.Dir(pattern))
				if err != nil {
					continue
				}
				names, _ := filepath.Glob(filepath.Join(dir, filepath.Base(pattern)))
				for _, n := range names { // sorted by Glob
					l.readConf(filepath.Join(filepath.Dir(pattern), filepath.Base(n)), depth+1)
				}
			}
		case len(f) == 1 && filepath.IsAbs(f[0]) && !slices.Contains(l.dirs, f[0]):
			l.dirs = append(l.dirs, f[0])
		}
	}
}

// closure returns the dynamic linker of program and every library that it needs
// directly or through others, each once, sorted by name. interp is the path at
// which the kernel looks for the dynamic linker, empty for a static program. A
// program that is not for arch is an error.
func (l *linker) closure(program, arch string) (interp string, libs []library, err error) {
	f, err := l.open(program)
	if err != nil {
		return "", nil, fmt.Errorf("%s: not a program: %w", program, err)
	}
	machine := f.Machine
	interp = interpreter(f)
	f.Close()
	if want := elfMachines[arch]; machine != want {
		return "", nil, fmt.Errorf("%s: built for %v, the kernel needs %v", program, machine, want)
	}
	if interp == "" {
		return "", nil, nil
	}
	seen := map[string]library{}
	queue := []library{{path: program}}
	for len(queue) > 0 {
		user := queue[0]
		queue = queue[1:]
		needed, runpath, err := l.needed(user.path)
		if err != nil {
			return "", nil, err
		}
		for _, name := range needed {
			if _, ok := seen[name]; ok {
				continue
			}
			path := l.find(name, runpath, machine)
			if path == "" {
				return "", nil, &MissingLibraryError{Library: name, User: user.path, Looked: append(slices.Clone(runpath), l.dirs...)}
			}
			if len(seen) == maxLibraries {
				return "", nil, fmt.Errorf("%s: needs more than %d libraries", program, maxLibraries)
			}
			lib := library{name: name, path: path, why: "needed by " + filepath.Base(user.path)}
			seen[name] = lib
			queue = append(queue, lib)
		}
	}
	// glibc opens it at run time when a thread ends, and aborts without it
	// (pthread_cancel(3), "libgcc_s.so.1 must be installed").
	if path := l.find("libgcc_s.so.1", nil, machine); path != "" {
		if _, ok := seen["libgcc_s.so.1"]; !ok {
			seen["libgcc_s.so.1"] = library{name: "libgcc_s.so.1", path: path, why: "opened by libc at run time"}
		}
	}
	for _, lib := range seen {
		if lib.name != filepath.Base(interp) { // packed as the interpreter
			libs = append(libs, lib)
		}
	}
	slices.SortFunc(libs, func(a, b library) int { return strings.Compare(a.name, b.name) })
	return interp, libs, nil
}

// CheckProgram reports whether everything that program needs to start is in the
// directory tree root, which is an unpacked image for arch (a GOARCH): the dynamic
// linker, whose path it returns, empty for a static program, and the libraries.
// The error can be a *MissingLibraryError.
func CheckProgram(root, program, arch string) (interp string, err error) {
	h, err := host.Open(root)
	if err != nil {
		return "", err
	}
	l := &linker{host: h, dirs: []string{"/" + plan.LibraryDir}}
	f, err := l.open(program)
	if err != nil {
		return "", fmt.Errorf("%s: not a program: %w", program, err)
	}
	interp = interpreter(f)
	f.Close()
	if interp != "" {
		if !isFile(h, interp) {
			return interp, &MissingLibraryError{Library: interp, User: program, Looked: []string{filepath.Dir(interp)}}
		}
		// Libraries that need the dynamic linker get the one that runs.
		l.dirs = append(l.dirs, filepath.Dir(interp))
	}
	_, _, err = l.closure(program, arch)
	return interp, err
}

// needed returns the DT_NEEDED entries of a file and its own search path.
func (l *linker) needed(path string) (names, runpath []string, err error) {
	f, err := l.open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	names, err = f.ImportedLibraries()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		vals, _ := f.DynString(tag)
		for _, v := range vals {
			for _, d := range filepath.SplitList(v) {
				d = strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path)).Replace(d)
				if filepath.IsAbs(d) {
					runpath = append(runpath, filepath.Clean(d))
				}
			}
		}
	}
	return names, runpath, nil
}

// find returns the path of a library for the machine, or "".
func (l *linker) find(name string, runpath []string, machine elf.Machine) string {
	if strings.Contains(name, "/") {
		return ""
	}
	for _, d := range append(slices.Clone(runpath), l.dirs...) {
		path := filepath.Join(d, name)
		f, err := l.open(path)
		if err != nil {
			continue
		}
		m := f.Machine
		f.Close()
		if m == machine {
			return path
		}
	}
	return ""
}

// interpreter returns the content of PT_INTERP, see elf(5), or "".
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err == nil {
				return strings.TrimRight(string(b), "\x00")
			}
		}
	}
	return ""
}

// open opens an ELF file of the machine. Its error does not name the file.
func (l *linker) open(path string) (*elf.File, error) {
	data, err := l.host.ReadFile(path)
	if err != nil {
		return nil, crashdir.WithoutPath(err)
	}
	return elf.NewFile(bytes.NewReader(data))
}

// isFile reports whether the machine has a regular file at path.
func isFile(h *host.Host, path string) bool {
	p, err := h.File(path)
	if err != nil {
		return false
	}
	fi, err := os.Stat(p)
	return err == nil && fi.Mode().IsRegular()
}

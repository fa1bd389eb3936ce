package host

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/kmod"
)

// File returns the path by which this process reaches the machine's file name,
// with symbolic links resolved inside the machine's root. The file need not
// exist.
func (h *Host) File(name string) (string, error) {
	p, err := h.resolve(name)
	if err != nil {
		return "", err
	}
	return h.path(p), nil
}

// ModuleTree returns the path by which this process reaches the module tree of a
// kernel release, empty if there is none.
func (h *Host) ModuleTree(release string) string {
	for _, d := range kmod.Dirs {
		dir, err := h.File(filepath.Join(d, release))
		if err != nil {
			continue
		}
		if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
			return dir
		}
	}
	return ""
}

// Inside returns the machine's name for a path by which this process reaches it.
func (h *Host) Inside(file string) string {
	return filepath.Join("/", strings.TrimPrefix(file, strings.TrimSuffix(h.root, "/")))
}

// maxFile bounds a file of the machine, in bytes. The largest that are read are programs,
// firmware and modules: below 100 MiB.
const maxFile = 256 << 20

// readFile reads a regular file of at most maxFile bytes: no file that somebody left in a
// directory may hang or fill the memory of a load. A link to /dev/null, by which a
// configuration file is masked, is an empty file.
func readFile(name string) ([]byte, error) {
	if isNull(name) {
		return nil, nil
	}
	return crashdir.ReadFile(name, maxFile)
}

// isNull reports whether name leads to the null device, null(4).
func isNull(name string) bool {
	var st unix.Stat_t
	return unix.Stat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// ReadFile returns the content of the machine's file name, a regular file of at most
// 256 MiB. /dev/null is empty.
func (h *Host) ReadFile(name string) ([]byte, error) {
	p, err := h.File(name)
	if err != nil {
		return nil, err
	}
	return readFile(p)
}

// FS returns the tree below the machine's directory dir. Symbolic links in it never
// lead out of the machine's root. It opens directories and regular files of at most
// 256 MiB only.
func (h *Host) FS(dir string) fs.FS { return tree{h, dir} }

type tree struct {
	host *Host
	dir  string
}

func (t tree) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	file, err := t.host.File(path.Join(t.dir, name))
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return os.Open(file)
	}
	f, info, err := crashdir.OpenFile(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: errTooLarge}
	}
	return f, nil
}

var errTooLarge = fmt.Errorf("larger than %d bytes", maxFile)

// ReadFile implements fs.ReadFileFS: the size of a file may be wrong.
func (t tree) ReadFile(name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return t.host.ReadFile(path.Join(t.dir, name))
}

// Glob returns the machine's files that match an absolute pattern, in whose elements
// only * is special, sorted. Without a * it need not exist.
func (h *Host) Glob(pattern string) []string {
	found := []string{"/"}
	for elem := range strings.SplitSeq(strings.TrimPrefix(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.Contains(elem, "*") {
				next = append(next, path.Join(dir, elem))
				continue
			}
			resolved, err := h.resolve(dir)
			if err != nil {
				continue
			}
			names, _ := h.names(resolved)
			for _, n := range names {
				if ok, _ := path.Match(elem, n); ok {
					next = append(next, path.Join(dir, n))
				}
			}
		}
		found = next
	}
	return found
}

// CommandLine returns the running kernel's command line (proc_cmdline(5)).
func (h *Host) CommandLine() (string, error) { return h.read("/proc/cmdline") }

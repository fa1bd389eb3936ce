// Package host describes this machine, from /proc, /sys, /etc and /run:
// which storage a directory lies on, down to the controllers and the drivers
// that each level needs, which watchdogs are ticking, and the machine's name.
//
// Everything is read below one root directory, so that a recorded machine can
// be looked at like the running one.
package host

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Host is a machine: the running one or a recorded one.
type Host struct {
	root string
	// sameDir reports whether a directory of an overlay, the first, is the second
	// one in its upper directory. Recorded machines do not have the times of theirs.
	sameDir func(overlay, upper string) bool
	// immutable and frozen report properties of a directory, which recorded machines
	// do not have.
	immutable, frozen func(dir string) bool

	configured *MountTable // read once, see mountTable

	facts networkFacts // replaced in tests; nil is the running kernel
}

// Open returns the machine whose file system tree begins at root: "/" for the
// running one. It fails if root is not a directory.
func Open(root string) (*Host, error) {
	st, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, &fs.PathError{Op: "open host", Path: root, Err: syscall.ENOTDIR}
	}
	return &Host{root: root, sameDir: sameDir, immutable: immutable, frozen: frozen}, nil
}

// Name returns the static host name (hostname(5)), empty if the machine has none.
// The transient name, from DHCP for example, could differ at each load.
func (h *Host) Name() (string, error) {
	data, err := h.ReadFile("/etc/hostname")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line, nil
		}
	}
	return "", err
}

// Kernel returns the release of the running kernel, as uname -r prints it.
func (h *Host) Kernel() (string, error) { return h.read("/proc/sys/kernel/osrelease") }

// MachineID returns the machine-id(5), 32 hexadecimal digits. It fails if there
// is none or, as on a machine before its first boot, not a valid one.
func (h *Host) MachineID() (string, error) {
	const file = "/etc/machine-id"
	id, err := h.read(file)
	if err != nil {
		return "", err
	}
	if b, err := hex.DecodeString(id); err != nil || len(b) != 16 {
		return "", fmt.Errorf("%s: %.40q is not 32 hexadecimal digits", file, id)
	}
	return id, nil
}

// Memory returns MemTotal of proc_meminfo(5) in bytes: the memory that the
// running kernel has to give, without the crash kernel's reservation.
func (h *Host) Memory() (int64, error) {
	const file = "/proc/meminfo"
	data, err := h.read(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(data) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			f := strings.Fields(rest)
			if len(f) == 2 && f[1] == "kB" {
				if kib, err := strconv.ParseInt(f[0], 10, 53); err == nil && kib > 0 {
					return kib << 10, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("%s: no MemTotal", file)
}

// path returns where the absolute path name lies for the caller's system calls.
func (h *Host) path(name string) string { return filepath.Join(h.root, name) }

// read returns the content of a small file without blanks at its ends.
func (h *Host) read(name string) (string, error) {
	b, err := readFile(h.path(name))
	return strings.TrimSpace(string(b)), err
}

// attr returns a sysfs attribute, empty if it cannot be read.
func (h *Host) attr(dir, name string) string {
	s, err := h.read(path.Join(dir, name))
	if err != nil {
		return ""
	}
	return s
}

func (h *Host) exists(name string) bool {
	_, err := os.Lstat(h.path(name))
	return err == nil
}

// link returns the last element of a symbolic link's target, empty if there is
// no link.
func (h *Host) link(dir, name string) string {
	target, err := os.Readlink(h.path(path.Join(dir, name)))
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// names lists a directory, sorted. A directory that is not there is empty.
func (h *Host) names(dir string) ([]string, error) {
	entries, err := os.ReadDir(h.path(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// maxLinks is how many symbolic links a path may have (path_resolution(7)).
const maxLinks = 40

// resolve returns the absolute path name without symbolic links, which never
// lead out of the root. Whatever of it does not exist is kept as it is.
func (h *Host) resolve(name string) (string, error) {
	done, rest := "/", name
	for links := 0; rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		switch elem {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, elem)
		st, err := os.Lstat(h.path(next))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return path.Join(next, rest), nil
		case err != nil:
			return "", err
		case st.Mode()&fs.ModeSymlink == 0:
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: name, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(h.path(next))
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = target + "/" + rest
	}
	return done, nil
}

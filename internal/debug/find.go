package debug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Finder looks for the vmlinux of a dump.
type Finder struct {
	Root string // of the machine; "/" but for tests
	// Download asks debuginfod for the debug information of a build ID, and returns its
	// file; "" if no server is configured. nil asks nobody.
	Download func(buildID string) (string, error)
}

// Found is the vmlinux of a dump.
type Found struct {
	Vmlinux
	// Exact is false if no build ID could be compared, only release and version.
	Exact bool
	// Code is the ELF file with the code, if Vmlinux has only debug information and one
	// was found.
	Code string
}

// paths returns the places of the vmlinux of a kernel, the most likely first.
func (f *Finder) paths(k Kernel) (paths []string) {
	add := func(format string, a ...any) { paths = append(paths, filepath.Join(f.Root, fmt.Sprintf(format, a...))) }
	if k.BuildID != "" {
		add("usr/lib/debug/.build-id/%s/%s.debug", k.BuildID[:2], k.BuildID[2:])
	}
	if r := k.Release; plain(r) {
		add("usr/lib/debug/boot/vmlinux-%s", r)            // Debian, Ubuntu
		add("usr/lib/debug/lib/modules/%s/vmlinux", r)     // Fedora, RHEL
		add("usr/lib/debug/usr/lib/modules/%s/vmlinux", r) // Fedora with merged /usr
		add("usr/lib/debug/boot/vmlinux-%s.debug", r)      // openSUSE
		add("usr/lib/debug/usr/lib/modules/%s/vmlinux.debug", r)
		add("lib/modules/%s/vmlinux", r)
		add("lib/modules/%s/build/vmlinux", r) // the tree that it was built in
		add("lib/modules/%s/source/vmlinux", r)
		add("boot/vmlinux-%s", r)
	}
	return paths
}

// Find returns the vmlinux with debug information of a kernel: the file given, if it is not
// "", else that in the first of the usual places that fits, else debuginfod's. The error is
// a *NotFoundError if nothing fits, and a *MismatchError if the given file does not.
func (f *Finder) Find(k Kernel, given string) (Found, error) {
	if given != "" {
		v, err := Inspect(given)
		if err != nil {
			return Found{}, err
		}
		return f.found(v, k)
	}
	missing := &NotFoundError{Kernel: k, os: f.osRelease()}
	for _, path := range f.paths(k) {
		v, err := Inspect(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			var found Found
			if found, err = f.found(v, k); err == nil {
				return found, nil
			}
		}
		missing.Seen = append(missing.Seen, err)
	}
	if k.BuildID == "" || f.Download == nil {
		return Found{}, missing
	}
	path, err := f.Download(k.BuildID)
	if err == nil && path != "" {
		var v Vmlinux
		if v, err = Inspect(path); err == nil {
			var found Found
			if found, err = f.found(v, k); err == nil {
				return found, nil
			}
		}
	}
	if err != nil {
		missing.Seen = append(missing.Seen, err)
	}
	return Found{}, missing
}

// found checks that v is of the kernel, and completes it.
func (f *Finder) found(v Vmlinux, k Kernel) (Found, error) {
	exact, err := v.fits(k)
	if err != nil {
		return Found{}, err
	}
	found := Found{Vmlinux: v, Exact: exact}
	if v.Split && plain(k.Release) {
		found.Code = f.code(k)
	}
	return found, nil
}

// code returns the ELF file of a kernel's code, "" if there is none. crash(8) unpacks it.
func (f *Finder) code(k Kernel) string {
	for _, name := range []string{"boot/vmlinux-%s", "boot/vmlinux-%s.xz", "boot/vmlinux-%s.gz", "usr/lib/modules/%s/vmlinux.xz", "usr/lib/modules/%s/vmlinux.gz"} {
		path := filepath.Join(f.Root, fmt.Sprintf(name, k.Release))
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// NotFoundError reports that there is no vmlinux with debug information for a dump.
type NotFoundError struct {
	Kernel Kernel
	Seen   []error // why files in the usual places do not fit

	os map[string]string
}

func (e *NotFoundError) Error() string {
	of := "kernel " + orUnknown(e.Kernel.Release)
	if e.Kernel.BuildID != "" {
		of += " with build ID " + e.Kernel.BuildID
	}
	text := "vmlinux of " + of + ": not found with debug information"
	for _, err := range e.Seen {
		text += ";\n" + err.Error()
	}
	return text
}

// Advice is the command that installs it on this distribution, and what works without.
func (e *NotFoundError) Advice() string {
	return install(e.os, e.Kernel) + " Without it, kdumpctl report shows the stacks, and kdumpctl log the log."
}

// osRelease returns the fields of os-release(5), nil if it cannot be read.
func (f *Finder) osRelease() map[string]string {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		b, err := os.ReadFile(filepath.Join(f.Root, name))
		if err != nil {
			continue
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				fields[key] = strings.Trim(value, `"'`)
			}
		}
		return fields
	}
	return nil
}

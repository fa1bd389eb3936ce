package kimage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// byName are the places of the kernel of one release, %s, below the root: by
// distribution, then kernel-install(8)'s, where * is an entry token.
var byName = []string{
	"usr/lib/modules/%s/vmlinuz", // Arch, Fedora, SUSE, Debian from 7.0
	"lib/modules/%s/vmlinuz",
	"usr/lib/modules/%s/Image", // SUSE arm64
	"boot/vmlinuz-%s",
	"boot/vmlinux-%s",
	"boot/Image-%s",
	"boot/kernel-%s", // Gentoo
	"boot/*/%s/linux",
	"efi/*/%s/linux",
	"boot/efi/*/%s/linux",
}

// byContent are files whose names do not contain the release.
var byContent = []string{
	"boot/vmlinuz*",
	"boot/Image*",
	"boot/kernel*",
	"boot/EFI/Linux/*.efi",
	"efi/EFI/Linux/*.efi",
	"boot/efi/EFI/Linux/*.efi",
	"boot/firmware/vmlinuz*", // Raspberry Pi
	"boot/firmware/kernel*.img",
	"run/booted-system/kernel", // NixOS
}

// Machine has the files in which a kernel is searched; a *host.Host is one.
type Machine interface {
	// File returns the path by which this process reaches a file by its absolute
	// name, with symbolic links resolved inside the machine's root.
	File(name string) (string, error)
	// Glob returns the names of the files that match an absolute pattern, sorted.
	Glob(pattern string) []string
	// Kernel returns the release of the running kernel.
	Kernel() (string, error)
}

// openOn is Open for a file of m, whose name is below root for messages.
func openOn(m Machine, root, name string) (*Image, error) {
	file, err := m.File(name)
	if err != nil {
		return nil, err
	}
	return open(filepath.Join(root, name), file)
}

// NotFoundError reports that no image of a kernel release was found.
type NotFoundError struct {
	Release string
	Root    string
	Looked  []string // patterns below Root, in the order of the search
	Errs    []error  // files that have the release in their name but are no such kernel
}

func (e *NotFoundError) Error() string {
	s := fmt.Sprintf("find kernel: %s: no image of this release below %s in %s", e.Release, e.Root, strings.Join(e.Looked, ", "))
	for _, err := range e.Errs {
		s += "; " + err.Error()
	}
	return s
}

func (e *NotFoundError) Unwrap() []error { return e.Errs }

// Find opens the kernel that spec names: a path if it contains a slash (below root,
// that of m, if absolute), else a release. For a release it takes the first file of m
// that holds a kernel of that release; names of files do not decide.
//
// Errors: as Open for a path; *NotFoundError for a release.
func Find(m Machine, root, spec string) (*Image, error) {
	if filepath.IsAbs(spec) {
		return openOn(m, root, spec)
	}
	if strings.Contains(spec, "/") {
		return Open(spec)
	}
	if releaseOf([]byte(spec)) != spec || spec == "" {
		return nil, fmt.Errorf("find kernel: %q: neither a path (with a slash) nor a kernel release", spec)
	}
	fail := &NotFoundError{Release: spec, Root: root}
	for _, pattern := range byName {
		pattern = strings.Replace(pattern, "%s", spec, 1)
		fail.Looked = append(fail.Looked, pattern)
		for _, file := range m.Glob("/" + pattern) {
			im, err := openOn(m, root, file)
			switch {
			case err == nil && im.Release == spec:
				return im, nil
			case err == nil:
				err = fmt.Errorf("%s is of release %s", im.Path, im.Release)
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
				continue
			}
			fail.Errs = append(fail.Errs, err)
		}
	}
	for _, pattern := range byContent {
		fail.Looked = append(fail.Looked, pattern)
		for _, file := range m.Glob("/" + pattern) {
			if im, err := openOn(m, root, file); err == nil && im.Release == spec {
				return im, nil
			}
		}
	}
	return nil, fail
}

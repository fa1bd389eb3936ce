package kimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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

// byContent are files whose name does not tell the release.
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

// Find opens the kernel that spec names: a path if it contains a slash (below
// root if absolute), else a release. For a release it takes the first file
// below root that holds a kernel of that release, whatever the file's name says.
//
// Errors: as Open for a path; *NotFoundError for a release.
func Find(root, spec string) (*Image, error) {
	if strings.Contains(spec, "/") {
		if filepath.IsAbs(spec) {
			spec = filepath.Join(root, spec)
		}
		return Open(spec)
	}
	if releaseOf([]byte(spec)) != spec || spec == "" {
		return nil, fmt.Errorf("find kernel: %q: neither a path (with a slash) nor a kernel release", spec)
	}
	fail := &NotFoundError{Release: spec, Root: root}
	for _, pattern := range byName {
		pattern = strings.Replace(pattern, "%s", spec, 1)
		fail.Looked = append(fail.Looked, pattern)
		for _, file := range expand(root, pattern) {
			im, err := Open(file)
			switch {
			case err == nil && im.Release == spec:
				return im, nil
			case err == nil:
				err = fmt.Errorf("%s is of release %s", file, im.Release)
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
				continue
			}
			fail.Errs = append(fail.Errs, err)
		}
	}
	for _, pattern := range byContent {
		fail.Looked = append(fail.Looked, pattern)
		for _, file := range expand(root, pattern) {
			if im, err := Open(file); err == nil && im.Release == spec {
				return im, nil
			}
		}
	}
	return nil, fail
}

// expand returns the files below root that match pattern, sorted. In each
// element of pattern only * is special. Unlike filepath.Glob it takes root
// literally.
func expand(root, pattern string) []string {
	dirs := []string{root}
	for elem := range strings.SplitSeq(pattern, "/") {
		var next []string
		for _, dir := range dirs {
			if !strings.Contains(elem, "*") {
				next = append(next, filepath.Join(dir, elem))
				continue
			}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if ok, _ := path.Match(elem, e.Name()); ok {
					next = append(next, filepath.Join(dir, e.Name()))
				}
			}
		}
		dirs = next
	}
	return dirs
}

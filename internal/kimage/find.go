package kimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"ukdump/internal/kmod"
)

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
	Others  []string // releases of kernels that were found instead, each once
	Errs    []error  // files that have the release in their name but are no such kernel
	Running bool     // Release is that of the running kernel
	Gone    bool     // no module tree of Release exists either
}

// mostNamed is how many other files a message names.
const mostNamed = 3

func (e *NotFoundError) Error() string {
	s := fmt.Sprintf("find kernel: %s: no image of this release below %s", e.Release, e.Root)
	if len(e.Others) > 0 {
		s += ", only of " + strings.Join(e.Others[:min(mostNamed, len(e.Others))], ", ")
		if len(e.Others) > mostNamed {
			s += " and others"
		}
	}
	for _, err := range e.Errs[:min(mostNamed, len(e.Errs))] {
		s += "; " + err.Error()
	}
	return s
}

func (e *NotFoundError) Unwrap() []error { return e.Errs }

// Advice returns the remedy.
func (e *NotFoundError) Advice() string {
	for _, err := range e.Errs {
		if c := (*CompressionError)(nil); errors.As(err, &c) {
			return c.Advice()
		}
	}
	switch {
	case e.Running && e.Gone && len(e.Others) > 0:
		return "Reboot: the running kernel was replaced by an upgrade and is no longer installed."
	case e.Running && len(e.Others) > 0:
		return "Reboot if the kernel was upgraded since the boot, or set KERNEL= to the path of the running kernel's image."
	case e.Running:
		return "Mount the partition that the boot loader reads the kernel from, or set KERNEL= to the path of the kernel's image."
	}
	return "Install that kernel, or set KERNEL= to the path of its image."
}

// Find opens the kernel that spec names: a path if it contains a slash (below root,
// that of m, if absolute), else a release. For a release it takes the first file of m
// that holds a kernel of that release; names of files do not decide. Of the running
// kernel's release it prefers the very build that runs, by the banner in /proc/version.
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
	s := search{m: m, root: root, fail: &NotFoundError{Release: spec, Root: root}, seen: make(map[string]bool)}
	s.banner = readFile(m, "/proc/version", 4096)
	if !strings.HasPrefix(s.banner, bannerPrefix+spec+" ") {
		s.banner = ""
	}
	s.fail.Running = s.banner != "" || strings.TrimSpace(readFile(m, "/proc/sys/kernel/osrelease", 4096)) == spec
	if im := s.run(); im != nil {
		return im, nil
	}
	s.fail.Gone = !slices.ContainsFunc(kmod.Dirs, func(dir string) bool {
		file, err := m.File(filepath.Join(dir, spec))
		if err != nil {
			return true // not known
		}
		_, err = os.Stat(file)
		return err == nil
	})
	return nil, s.fail
}

// search is one search for a release.
type search struct {
	m      Machine
	root   string
	banner string // of the running kernel if its release is searched, else ""
	fail   *NotFoundError
	seen   map[string]bool // files that were examined, with links resolved
	other  *Image          // of the release, but another build than the running kernel
}

// run returns the kernel, nil if there is none.
func (s *search) run() *Image {
	for _, pattern := range byName {
		pattern = strings.ReplaceAll(pattern, "%s", s.fail.Release)
		s.fail.Looked = append(s.fail.Looked, pattern)
		for _, name := range s.m.Glob("/" + pattern) {
			if s.try(name, true) {
				return s.other
			}
		}
	}
	for _, name := range bootLoaderFiles(s.m) {
		if s.try(name, false) {
			return s.other
		}
	}
	for _, pattern := range byContent {
		s.fail.Looked = append(s.fail.Looked, pattern)
		for _, name := range s.m.Glob("/" + pattern) {
			if s.try(name, false) {
				return s.other
			}
		}
	}
	if s.other != nil {
		s.other.OtherBuild = true
	}
	return s.other
}

// try examines a file. It reports whether the search is over, with the kernel in
// s.other; named is whether the file's name has the release in it.
func (s *search) try(name string, named bool) bool {
	file, err := s.m.File(name)
	if err != nil || s.seen[file] {
		return false
	}
	s.seen[file] = true
	im, err := s.open(name, file)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
	case err != nil && named:
		s.fail.Errs = append(s.fail.Errs, err)
	case err != nil:
	case im.Release != s.fail.Release && named:
		s.fail.Errs = append(s.fail.Errs, fmt.Errorf("%s is of release %s", im.Path, im.Release))
	case im.Release != s.fail.Release:
		if !slices.Contains(s.fail.Others, im.Release) {
			s.fail.Others = append(s.fail.Others, im.Release)
		}
	case s.banner == "" || im.runs(s.banner) != no:
		s.other = im
		return true
	case s.other == nil:
		s.other = im
	}
	return false
}

// open is openOn, but it reads only the header of an x86 kernel of another release:
// many kernels may be installed.
func (s *search) open(name, file string) (*Image, error) {
	path := filepath.Join(s.root, name)
	if release := peekRelease(path, file); release != "" && release != s.fail.Release {
		return &Image{Path: path, Release: release}, nil
	}
	return open(path, file)
}

// peekRelease returns the release in the setup header of a bzImage, also inside a
// unified kernel image; "" if the file is none or cannot be read.
func peekRelease(path, file string) string {
	st, err := os.Stat(file)
	if err != nil || !st.Mode().IsRegular() {
		return ""
	}
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 64<<10) // more than setup_sects can count, but for its last sectors
	n, _ := f.ReadAt(head, 0)
	if sec, err := ukiSection(path, f, st.Size(), ".linux"); err == nil && sec != nil {
		n, _ = sec.ReadAt(head, 0)
	}
	if head = head[:n]; !isBzImage(head) {
		return ""
	}
	return releaseOf(x86Banner(head))
}

// readFile returns the text of a small file of m, "" if it cannot be read.
func readFile(m Machine, name string, limit int64) string {
	file, err := m.File(name)
	if err != nil {
		return ""
	}
	data, err := readLimited(file, limit)
	if err != nil {
		return ""
	}
	return string(data)
}

// Package kmod answers, from the module tree of any installed kernel, which
// modules a machine needs and in which order they load.
//
// It reads the text files that depmod(8) writes (modules.dep(5) and its neighbours),
// never the running kernel's state, because the modules are for the capture kernel.
package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// CaptureKernelDir is where packaging/capture-kernel installs its kernel.
const CaptureKernelDir = "/usr/lib/ukdump/capture-kernel"

// Dirs is where distributions and packaging/capture-kernel have module trees, named after the
// releases of their kernels.
var Dirs = []string{
	"/usr/lib/modules",
	"/lib/modules",
	"/run/booted-system/kernel-modules/lib/modules", // NixOS
	"/run/booted-system/kernel/lib/modules",         // Guix
	CaptureKernelDir + "/modules",
}

// Tree is the module tree of one kernel: the directory /lib/modules/RELEASE.
// It is safe for concurrent use.
type Tree struct {
	// Arch is the GOARCH that Read expects modules to be built for. While it
	// is empty, Read takes any.
	Arch string

	fsys     fs.FS
	release  string
	modules  map[string]*entry // by normalised name
	builtin  map[string]bool
	aliases  []alias
	softdep  map[string]softdep
	firmware map[string][]string // of built-in parts
	damaged  []*damage
}

// entry is a line of modules.dep.
type entry struct {
	path string
	deps []string // paths; in the reverse of the load order
	line int
	// damage is that of the line: the module cannot be loaded.
	damage *damage
}

// Module is one loadable module.
type Module struct {
	Name   string // as in /proc/modules: with '_' for '-'
	Path   string // of its file, relative to the module tree
	Reason string // why it is needed, for people
	// Dependency says that it serves another module, not a request.
	Dependency bool
}

// Open reads the tables of the module tree fsys, which is the directory
// /lib/modules/RELEASE. The error is a *TreeError if a table cannot be read, or if
// modules.dep is missing. Lines that are not understood are errors of Resolve, if
// something needs them. A tree without modules.dep and without module files is
// that of a monolithic kernel.
func Open(fsys fs.FS, release string) (*Tree, error) {
	t := &Tree{
		fsys:     fsys,
		release:  release,
		modules:  make(map[string]*entry),
		builtin:  make(map[string]bool),
		softdep:  make(map[string]softdep),
		firmware: make(map[string][]string),
	}
	if _, err := fs.Stat(fsys, "."); err != nil {
		return nil, fmt.Errorf("module tree of kernel %s: %w", release, plain(err))
	}
	if err := t.parse(); err != nil {
		return nil, &TreeError{Release: release, Err: err}
	}
	return t, nil
}

func (t *Tree) parse() error {
	for _, table := range []struct {
		name     string
		parse    func(string) error
		optional bool
	}{
		{"modules.dep", t.parseDep, false},
		{"modules.builtin", t.parseBuiltin, true},
		{"modules.alias", t.parseAlias, false},
		{"modules.softdep", t.parseSoftdep, true},
		// Since Linux 5.2: the modinfo of the built-in parts.
		{"modules.builtin.modinfo", t.parseBuiltinModinfo, true},
	} {
		data, err := fs.ReadFile(t.fsys, table.name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && (table.optional || !t.hasFiles()):
			continue
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s does not exist although there are modules", table.name)
		case err != nil:
			return fmt.Errorf("%s: %w", table.name, plain(err))
		}
		if err := table.parse(string(data)); err != nil {
			return err
		}
	}
	if len(t.modules) == 0 && t.hasFiles() {
		if len(t.damaged) > 0 {
			return t.damaged[0]
		}
		return errors.New("modules.dep is empty although there are modules")
	}
	return nil
}

// TreeError reports that a module tree is damaged. Err names file and line.
type TreeError struct {
	Release string
	Err     error
}

func (e *TreeError) Error() string {
	return "module tree of kernel " + e.Release + ": " + e.Err.Error()
}

func (e *TreeError) Unwrap() error { return e.Err }

// Advice returns the remedy.
func (e *TreeError) Advice() string {
	if d := (*damage)(nil); errors.As(e.Err, &d) && d.remedy != "" {
		return d.remedy
	}
	return "Run depmod " + e.Release + " as root; if that does not help, install the kernel's package again."
}

// Path returns the path of a loadable module's file in the tree, such as
// kernel/fs/ext4/ext4.ko.xz, or "" if the tree has no such module. Modules of the
// kernel's own source lie below kernel/.
func (t *Tree) Path(name string) string {
	if e := t.modules[normalise(name)]; e != nil {
		return e.path
	}
	return ""
}

// hasFiles reports whether there is any module file below the tree.
func (t *Tree) hasFiles() bool {
	found := false
	fs.WalkDir(t.fsys, ".", func(p string, _ fs.DirEntry, err error) error {
		// A directory that cannot be read does not make a kernel monolithic.
		if err != nil || isModuleFile(p) {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// suffixes are the file names that CONFIG_MODULE_COMPRESS_* gives modules.
var suffixes = []string{".ko", ".ko.zst", ".ko.xz", ".ko.gz"}

func isModuleFile(p string) bool {
	for _, s := range suffixes {
		if strings.HasSuffix(p, s) {
			return true
		}
	}
	return false
}

// moduleName returns the name of the module in the file p.
func moduleName(p string) string {
	base := path.Base(p)
	if i := strings.Index(base, ".ko"); i >= 0 {
		base = base[:i]
	}
	return normalise(base)
}

// normalise makes '-' and '_' the same, as modprobe(8) does in module names.
func normalise(name string) string { return strings.ReplaceAll(name, "-", "_") }

// plain strips the path from err where the message around it names it.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

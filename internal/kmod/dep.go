package kmod

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// parseDep reads modules.dep(5): "FILE: FILE FILE…", the needed files in the
// reverse of the order to load them in, indirect ones included.
func (t *Tree) parseDep(data string) error {
	t.entries("modules.dep", data, func(d *damage) {
		file, deps, colon := strings.Cut(d.text, ":")
		if !colon {
			file, _, _ = strings.Cut(file, " ")
			d.refuse(file, fmt.Errorf("no colon in %.80q", d.text))
		}
		e := &entry{line: d.line}
		var err error
		if e.path, err = t.inside(strings.TrimSpace(file)); err != nil {
			d.refuse(file, err)
		}
		for _, dep := range strings.Fields(deps) {
			inside, err := t.inside(dep)
			if err != nil {
				d.refuse(dep, err)
			}
			e.deps = append(e.deps, inside)
		}
		if d.why != "" {
			e.damage = d
		}
		if name := moduleName(file); strings.Contains(file, ".ko") && t.prefer(e, t.modules[name]) {
			t.modules[name] = e
		}
	})
	return nil
}

// refuse notes why a file of the line cannot be used.
func (d *damage) refuse(file string, err error) {
	if d.why != "" {
		return
	}
	d.why = err.Error()
	if _, ext, ok := strings.Cut(path.Base(file), ".ko."); ok {
		d.why = fmt.Sprintf("%s: unknown compression %s", file, ext)
		d.remedy = "Compress that module with zstd, xz or gzip, or not at all, and run depmod."
	}
}

// prefer reports whether e is better than the earlier line old of the same module: of
// the same file the one with more dependencies, else the first that can be used.
// depmod(8) of kmod writes one line for each module, that of busybox one for each file.
func (t *Tree) prefer(e, old *entry) bool {
	switch {
	case old == nil || old.damage != nil:
		return old == nil || e.damage == nil
	case e.damage != nil:
		return false
	case e.path == old.path:
		return len(e.deps) > len(old.deps)
	}
	return t.checkFile(old) != nil
}

// inside returns file as a path relative to the tree. Some versions of depmod
// write absolute ones.
func (t *Tree) inside(file string) (string, error) {
	for _, prefix := range []string{"/usr/lib/modules/", "/lib/modules/"} {
		if rest, ok := strings.CutPrefix(file, prefix+t.release+"/"); ok {
			file = rest
			break
		}
	}
	if !fs.ValidPath(file) || !isModuleFile(file) {
		return "", fmt.Errorf("%.80q is not a module file of this tree", file)
	}
	return file, nil
}

// parseBuiltin reads modules.builtin: a file name per line, named after the module
// that each part would have been. Like depmod(8), it needs no .ko at the end.
func (t *Tree) parseBuiltin(data string) error {
	t.entries("modules.builtin", data, func(d *damage) {
		whole := strings.HasSuffix(d.text, ".ko")
		if whole {
			d.why = "" // whatever follows
		}
		name := moduleName(d.text)
		switch {
		case !isName(name):
			d.why = fmt.Sprintf("%.80q is not a module file", d.text)
		case !d.cut || whole:
			t.builtin[name] = true
		}
	})
	return nil
}

// isName reports whether s can be the name of a module.
func isName(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// parseBuiltinModinfo reads modules.builtin.modinfo: "MODULE.KEY=VALUE" strings,
// each ended by a NUL (Documentation/kbuild/kbuild.rst).
func (t *Tree) parseBuiltinModinfo(data string) error {
	for s := range strings.SplitSeq(data, "\x00") {
		left, value, ok := strings.Cut(s, "=")
		name, key, ok2 := strings.Cut(left, ".")
		if !ok || !ok2 {
			continue
		}
		switch name = normalise(name); key {
		case "alias":
			t.aliases = append(t.aliases, newAlias(value, name, true))
		case "softdep":
			t.addSoftdep(name, value)
		case "firmware":
			t.firmware[name] = append(t.firmware[name], value)
		}
	}
	return nil
}

// checkFile returns a *TreeError if e is damaged or if its file is not in the tree.
func (t *Tree) checkFile(e *entry) error {
	if e.damage != nil {
		return &TreeError{t.release, e.damage}
	}
	_, err := fs.Stat(t.fsys, e.path)
	if err != nil {
		return &TreeError{t.release, fmt.Errorf("modules.dep:%d: %s: %w", e.line, e.path, plain(err))}
	}
	return nil
}

package kmod

import (
	"fmt"
	"io/fs"
	"strings"
)

// parseDep reads modules.dep(5): "FILE: FILE FILE…", the needed files in the
// reverse of the order to load them in, indirect ones included.
func (t *Tree) parseDep(data string) error {
	if data != "" && !strings.HasSuffix(data, "\n") {
		return fmt.Errorf("modules.dep:%d: the last line is cut off", strings.Count(data, "\n")+1)
	}
	known := make(map[string]bool)
	n := 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		file, deps, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("modules.dep:%d: no colon in %.80q", n, line)
		}
		file, err := t.inside(file)
		if err != nil {
			return fmt.Errorf("modules.dep:%d: %w", n, err)
		}
		e := &entry{path: file, line: n}
		for _, d := range strings.Fields(deps) {
			if d, err = t.inside(d); err != nil {
				return fmt.Errorf("modules.dep:%d: %w", n, err)
			}
			e.deps = append(e.deps, d)
		}
		name := moduleName(file)
		if old := t.modules[name]; old != nil {
			return fmt.Errorf("modules.dep:%d: module %s is on line %d already", n, name, old.line)
		}
		t.modules[name] = e
		known[file] = true
	}
	// depmod gives every module a line of its own.
	var missing *entry
	var dep string
	for _, e := range t.modules {
		for _, d := range e.deps {
			if !known[d] && (missing == nil || e.line < missing.line) {
				missing, dep = e, d
			}
		}
	}
	if missing != nil {
		return fmt.Errorf("modules.dep:%d: %s needs %s, which has no line", missing.line, missing.path, dep)
	}
	return nil
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
// that each part would have been.
func (t *Tree) parseBuiltin(data string) error {
	n := 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if !isModuleFile(line) {
			return fmt.Errorf("modules.builtin:%d: %.80q is not a module file", n, line)
		}
		t.builtin[moduleName(line)] = true
	}
	return nil
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

// checkFile returns a *TreeError if the file of e is not in the tree.
func (t *Tree) checkFile(e *entry) error {
	_, err := fs.Stat(t.fsys, e.path)
	if err != nil {
		return &TreeError{t.release, fmt.Errorf("modules.dep:%d: %s: %w", e.line, e.path, plain(err))}
	}
	return nil
}

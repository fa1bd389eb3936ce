package kmod

import (
	"io/fs"
	"path"
	"strings"
)

// BuiltinPaths returns the parts of the kernel that modules.builtin lists, by their
// normalised names: the path that each would have as a module, such as
// kernel/drivers/mmc/host/sdhci.ko. Without that file it is empty.
func (t *Tree) BuiltinPaths() map[string]string {
	paths := make(map[string]string)
	data, err := fs.ReadFile(t.fsys, "modules.builtin")
	if err != nil {
		return paths
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if name := moduleName(line); name != "" && name != "." {
			paths[name] = path.Clean(line)
		}
	}
	return paths
}

// Depends returns the normalised names of the modules without which a module cannot be
// loaded, indirect ones included. Soft dependencies are not among them.
func (t *Tree) Depends(name string) (names []string) {
	if e := t.modules[normalise(name)]; e != nil {
		for _, d := range e.deps {
			names = append(names, moduleName(d))
		}
	}
	return names
}

// Normalise makes '-' and '_' the same, as modprobe(8) does in names of modules.
func Normalise(name string) string { return normalise(name) }

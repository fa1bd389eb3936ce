package kmod

import (
	"fmt"
	"strings"
)

// softdep lists modules to load before and after a module, by name or alias. Any of
// them may be missing.
type softdep struct{ pre, post []string }

// parseSoftdep reads modules.softdep: "softdep MODULE pre: NAME… post: NAME…"
// per line, as in modprobe.d(5).
func (t *Tree) parseSoftdep(data string) error {
	n := 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		rest, ok := strings.CutPrefix(line, "softdep ")
		name, deps, ok2 := strings.Cut(strings.TrimSpace(rest), " ")
		if !ok || !ok2 {
			return fmt.Errorf("modules.softdep:%d: %.80q is not \"softdep MODULE pre: NAME… post: NAME…\"", n, line)
		}
		t.addSoftdep(normalise(name), deps)
	}
	return nil
}

// addSoftdep adds one line to the soft dependencies of module. modprobe(8) reads only
// the first line of a module and leaves the others to requests of the kernel at run
// time; the capture environment cannot serve those.
func (t *Tree) addSoftdep(module, deps string) {
	s := t.softdep[module]
	var list *[]string
	for _, w := range strings.Fields(deps) {
		switch w {
		case "pre:":
			list = &s.pre
		case "post:":
			list = &s.post
		default:
			// Names before the first keyword mean nothing to modprobe.
			if list != nil {
				*list = append(*list, w)
			}
		}
	}
	t.softdep[module] = s
}

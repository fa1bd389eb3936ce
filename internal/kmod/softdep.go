package kmod

import (
	"fmt"
	"strings"
)

// softdep is what a module wants loaded before and after itself: names of
// modules or aliases, any of which may be missing.
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

// addSoftdep adds to what is known of the module. modprobe(8) looks at the
// first line of a module only and leaves the rest to requests of the kernel at
// run time; the capture environment cannot serve those.
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

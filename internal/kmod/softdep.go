package kmod

import (
	"fmt"
	"strings"
)

// softdep lists modules to load before and after a module, by name or alias. Any of
// them may be missing.
type softdep struct {
	pre, post []string
	damage    *damage // of its line
}

// parseSoftdep reads modules.softdep: "softdep MODULE pre: NAME… post: NAME…"
// per line, as in modprobe.d(5).
func (t *Tree) parseSoftdep(data string) error {
	t.entries("modules.softdep", data, func(d *damage) {
		rest, ok := cutWord(d.text, "softdep")
		name, deps, _ := strings.Cut(strings.ReplaceAll(rest, "\t", " "), " ")
		name = normalise(name)
		switch {
		case !ok:
			d.why = fmt.Sprintf("%.80q is not \"softdep MODULE pre: NAME… post: NAME…\"", d.text)
		case d.cut:
			t.softdep[name] = softdep{damage: d}
		default:
			t.addSoftdep(name, deps)
		}
	})
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

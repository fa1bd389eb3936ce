package kmod

import (
	"fmt"
	"strings"
)

// alias is a pattern and the module that serves the names it matches.
type alias struct {
	pattern string // normalised
	literal int    // length of the part before the first metacharacter
	module  string // normalised
	builtin bool
}

func newAlias(pattern, module string, builtin bool) alias {
	pattern = normalisePattern(pattern)
	a := alias{pattern: pattern, literal: len(pattern), module: normalise(module), builtin: builtin}
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		a.literal = i
	}
	return a
}

// match reports whether a matches the normalised name.
func (a *alias) match(name string) bool {
	if len(name) < a.literal || name[:a.literal] != a.pattern[:a.literal] {
		return false
	}
	return glob(a.pattern[a.literal:], name[a.literal:])
}

// parseAlias reads modules.alias: "alias PATTERN MODULE" per line.
func (t *Tree) parseAlias(data string) error {
	t.aliases = make([]alias, 0, strings.Count(data, "\n"))
	t.entries("modules.alias", data, func(d *damage) {
		rest, ok := cutWord(d.text, "alias")
		// The name of a module has no blanks; a pattern might.
		i := strings.LastIndexAny(rest, " \t")
		if !ok || i <= 0 {
			d.why = fmt.Sprintf("%.80q is not \"alias PATTERN MODULE\"", d.text)
		}
		if d.why == "" {
			t.aliases = append(t.aliases, newAlias(strings.TrimSpace(rest[:i]), rest[i+1:], false))
		}
	})
	return nil
}

// cutWord returns s without the word at its beginning and the blanks behind it.
func cutWord(s, word string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, word)
	after := strings.TrimLeft(rest, " \t")
	return after, ok && after != rest
}

// lookupAlias returns the loadable and the built-in modules whose aliases match
// name, each once, in the order of the tables.
func (t *Tree) lookupAlias(name string) (loadable, builtin []string) {
	name = normalisePattern(name)
	seen := make(map[string]bool)
	for i := range t.aliases {
		a := &t.aliases[i]
		if seen[a.module] || !a.match(name) {
			continue
		}
		seen[a.module] = true
		if a.builtin {
			builtin = append(builtin, a.module)
		} else if t.modules[a.module] != nil {
			loadable = append(loadable, a.module)
		}
	}
	return loadable, builtin
}

// normalisePattern turns '-' into '_' except inside brackets, where it makes a
// range.
func normalisePattern(s string) string {
	if !strings.Contains(s, "-") {
		return s
	}
	b := []byte(s)
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '-':
			b[i] = '_'
		case '[':
			if n := strings.IndexByte(s[i:], ']'); n > 0 {
				i += n
			}
		}
	}
	return string(b)
}

// glob matches as fnmatch(3) does with flags 0: '*', '?', '[…]' with ranges and
// '!' or '^' in front, and '\' before a literal. Named classes ([:alpha:]) are
// not known; no kernel uses them. It takes at most len(p)*len(s) steps.
func glob(p, s string) bool {
	star, mark := -1, 0 // where to go back to: after the last '*', and in s
	i, j := 0, 0
	for j < len(s) {
		if i < len(p) {
			if p[i] == '*' {
				i++
				star, mark = i, j
				continue
			}
			if n, ok := globOne(p[i:], s[j]); ok {
				i += n
				j++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		i, j = star, mark
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// globOne matches c with the first element of p, which is not '*', and returns
// the element's length.
func globOne(p string, c byte) (int, bool) {
	switch p[0] {
	case '?':
		return 1, true
	case '[':
		if n, ok := globSet(p, c); n > 0 {
			return n, ok
		}
	case '\\':
		if len(p) > 1 {
			return 2, p[1] == c
		}
	}
	return 1, p[0] == c
}

// globSet matches c with the bracket expression at the beginning of p. Its
// length is 0 if the bracket is not closed: then it is a literal.
func globSet(p string, c byte) (int, bool) {
	i, invert, found := 1, false, false
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		invert = true
		i++
	}
	for first := true; i < len(p); first = false {
		if p[i] == ']' && !first {
			return i + 1, found != invert
		}
		lo := p[i]
		if lo == '\\' && i+1 < len(p) {
			i++
			lo = p[i]
		}
		hi := lo
		i++
		if i+1 < len(p) && p[i] == '-' && p[i+1] != ']' {
			hi = p[i+1]
			i += 2
			if hi == '\\' && i < len(p) {
				hi = p[i]
				i++
			}
		}
		if lo <= c && c <= hi {
			found = true
		}
	}
	return 0, false
}

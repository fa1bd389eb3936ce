package kmod

import (
	"fmt"
	"slices"
	"strings"
)

// damage is a line of a table that is not understood. It is an error only if something
// needs that line.
type damage struct {
	table string
	line  int
	text  string
	cut   bool // the file ends in it, so more lines may be missing
	why   string
	// remedy replaces the advice of TreeError.
	remedy string
}

func (d *damage) Error() string { return fmt.Sprintf("%s:%d: %s", d.table, d.line, d.why) }

// Advice returns the remedy, "" for that of a damaged tree.
func (d *damage) Advice() string { return d.remedy }

// entries calls parse for each line of a table that is neither empty nor a comment, and
// keeps the lines whose why is set after that. A last line without an end is cut off.
func (t *Tree) entries(table, data string, parse func(d *damage)) {
	n := 0
	for line := range strings.Lines(data) {
		n++
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			continue
		}
		d := &damage{table: table, line: n, text: text, cut: !strings.HasSuffix(line, "\n")}
		if d.cut {
			d.why = "the last line is cut off"
		}
		parse(d)
		if d.why != "" {
			t.damaged = append(t.damaged, d)
		}
	}
}

// concerns reports whether the line may be the one that serves q: it names a module
// or an alias of q. Of a table that is cut off, what is missing may serve it too, which
// counts if something has to.
func (d *damage) concerns(q Request) bool {
	if d.cut && !q.Optional {
		return true
	}
	words := strings.FieldsFunc(normalise(d.text), func(c rune) bool { return strings.ContainsRune(" \t:/", c) })
	for _, name := range q.Names {
		if slices.ContainsFunc(words, func(w string) bool { return moduleName(w) == normalise(name) }) {
			return true
		}
	}
	f := strings.Fields(d.text)
	if q.Alias == "" || d.table != "modules.alias" || len(f) < 2 {
		return false
	}
	a := newAlias(f[1], "", false)
	return a.match(normalisePattern(q.Alias))
}

// damageOf returns the damage because of which nothing may serve q, nil if there is
// none.
func (t *Tree) damageOf(q Request) *damage {
	if i := slices.IndexFunc(t.damaged, func(d *damage) bool { return d.concerns(q) }); i >= 0 {
		return t.damaged[i]
	}
	return nil
}

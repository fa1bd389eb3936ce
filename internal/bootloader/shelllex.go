package bootloader

import (
	"fmt"
	"slices"
	"strings"
)

// A unit is one byte of a shell word's value, or an expansion in it, with the place of it
// in the file.
type unit struct {
	span
	ref   string // the variable that is expanded here
	char  byte   // opaqueChar for an expansion
	quote byte   // ', ", or 0 outside of quotes
	// opaque expansions depend on more than one variable, such as $(command).
	opaque bool
}

// opaqueChar stands for an expansion: no space and no part of any name.
const opaqueChar = '\x01'

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenNewline
	tokenWord
	tokenOperator
)

// A token is a lexical element of a shell script (Shell & Utilities volume of POSIX, 2.3).
type token struct {
	span
	kind  tokenKind
	text  string // as in the file
	line  int
	units []unit // of words
}

// maxNesting bounds $( inside of $(.
const maxNesting = 50

type shellLexer struct {
	name string
	// grub is for scripts of GRUB: no commands in words, and parentheses are for devices.
	grub bool
	src  string
	pos  int
	line int
}

// fail is the error of a line that a shell does not understand either.
func (l *shellLexer) fail(line int, text string) error {
	return broken(lineError(l.name, line, text))
}

// next returns the next token. Comments and continued lines are skipped.
func (l *shellLexer) next() (token, error) {
	l.skip()
	t := token{span: span{l.pos, l.pos}, line: l.line}
	if l.pos == len(l.src) {
		return t, nil
	}
	switch c := l.src[l.pos]; {
	case c == '\n':
		t.kind = tokenNewline
		l.pos++
		l.line++
	case l.isOperator(c):
		t.kind = tokenOperator
		l.pos++
		// &&, || and ;; are the only longer ones that matter.
		if l.pos < len(l.src) && l.src[l.pos] == c && strings.IndexByte("&|;<", c) >= 0 {
			l.pos++
		}
	default:
		t.kind = tokenWord
		var err error
		if t.units, err = l.word(); err != nil {
			return t, err
		}
	}
	t.end = l.pos
	t.text = l.src[t.start:t.end]
	return t, nil
}

func (l *shellLexer) isOperator(c byte) bool {
	if l.grub {
		return strings.IndexByte("&|;<>", c) >= 0
	}
	return strings.IndexByte("&|;<>()", c) >= 0
}

// skip skips blanks, continued lines and comments.
func (l *shellLexer) skip() {
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case c == ' ' || c == '\t':
			l.pos++
		case strings.HasPrefix(l.src[l.pos:], "\\\n"):
			l.pos += 2
			l.line++
		case c == '#':
			if i := strings.IndexByte(l.src[l.pos:], '\n'); i >= 0 {
				l.pos += i
			} else {
				l.pos = len(l.src)
			}
		default:
			return
		}
	}
}

// word reads a word with its quotes.
func (l *shellLexer) word() ([]unit, error) {
	var units []unit
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		if c == ' ' || c == '\t' || c == '\n' || l.isOperator(c) {
			break
		}
		var err error
		switch c {
		case '\'':
			units, err = l.single(units)
		case '"':
			units, err = l.double(units)
		default:
			units, err = l.char(units, 0)
		}
		if err != nil {
			return nil, err
		}
	}
	return units, nil
}

// single reads '…' and appends it to units.
func (l *shellLexer) single(units []unit) ([]unit, error) {
	open := l.line
	units = slices.Grow(units, max(0, strings.IndexByte(l.src[l.pos+1:], '\'')))
	for l.pos++; l.pos < len(l.src); l.pos++ {
		c := l.src[l.pos]
		if c == '\'' {
			l.pos++
			return units, nil
		}
		if c == '\n' {
			l.line++
		}
		units = append(units, unit{span: span{l.pos, l.pos + 1}, char: c, quote: '\''})
	}
	return nil, l.fail(open, "a quote (') that is not closed")
}

// double reads "…" and appends it to units.
func (l *shellLexer) double(units []unit) ([]unit, error) {
	open := l.line
	units = slices.Grow(units, max(0, strings.IndexByte(l.src[l.pos+1:], '"')))
	for l.pos++; l.pos < len(l.src); {
		if l.src[l.pos] == '"' {
			l.pos++
			return units, nil
		}
		var err error
		if units, err = l.char(units, '"'); err != nil {
			return nil, err
		}
	}
	return nil, l.fail(open, "a quote (\") that is not closed")
}

// char reads a character, an escaped one or an expansion, outside of quotes or inside of
// double quotes, and appends it to units.
func (l *shellLexer) char(units []unit, quote byte) ([]unit, error) {
	start, line := l.pos, l.line
	c := l.src[l.pos]
	l.pos++
	u := unit{char: c, quote: quote}
	switch c {
	case '\n':
		l.line++
	case '\\':
		if l.pos == len(l.src) {
			return nil, l.fail(line, "a backslash at the end of the file")
		}
		next := l.src[l.pos]
		if next == '\n' {
			l.pos++
			l.line++
			return units, nil
		}
		if quote == 0 || strings.IndexByte("$`\"\\", next) >= 0 {
			l.pos++
			u.char = next
		}
	case '`':
		if l.grub {
			break
		}
		if err := l.until('`', line); err != nil {
			return nil, err
		}
		u.char, u.opaque = opaqueChar, true
	case '$':
		if err := l.expansion(&u, line); err != nil {
			return nil, err
		}
	}
	u.span = span{start, l.pos}
	return append(units, u), nil
}

// expansion reads the part behind a $.
func (l *shellLexer) expansion(u *unit, line int) error {
	rest := l.src[l.pos:]
	n := nameLength(rest)
	switch {
	case n > 0 && strings.HasPrefix(rest[n:], "\\\n"):
		return lineError(l.name, line, "a variable's name that goes on in the next line is not supported")
	case n > 0:
		u.char, u.ref = opaqueChar, rest[:n]
		l.pos += n
		return nil
	case rest == "":
		return nil
	case rest[0] == '{':
		u.char = opaqueChar
		if n := nameLength(rest[1:]); n > 0 && strings.HasPrefix(rest[1+n:], "}") {
			u.ref = rest[1 : 1+n]
			l.pos += n + 2
			return nil
		}
		u.opaque = true
		l.pos++
		return l.balanced('}', line, 0)
	case l.grub:
		return nil
	case rest[0] == '(':
		u.char, u.opaque = opaqueChar, true
		l.pos++
		return l.balanced(')', line, 0)
	case rest[0] == '\'' && u.quote == 0:
		return lineError(l.name, line, "$'…' is not supported")
	case strings.IndexByte("@*#?-$!0123456789", rest[0]) >= 0:
		u.char, u.opaque = opaqueChar, true
		l.pos++
	}
	return nil // a plain $
}

// balanced skips to the end of ${… or $(…, with those inside of it.
func (l *shellLexer) balanced(end byte, line, depth int) error {
	if depth > maxNesting {
		return lineError(l.name, line, fmt.Sprintf("more than %d nested expansions", maxNesting))
	}
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		l.pos++
		var err error
		switch {
		case c == end:
			return nil
		case c == '\n':
			l.line++
		case c == '\\' && l.pos < len(l.src):
			l.escaped()
		case c == '\'' && end == ')':
			l.pos--
			_, err = l.single(nil)
		case c == '"' || c == '`':
			err = l.until(c, l.line)
		case c == '(' && end == ')':
			err = l.balanced(')', line, depth+1)
		case c == '$' && strings.HasPrefix(l.src[l.pos:], "{"):
			l.pos++
			err = l.balanced('}', line, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return l.fail(line, "an expansion ($) that is not closed")
}

// escaped skips a character behind a backslash.
func (l *shellLexer) escaped() {
	if l.src[l.pos] == '\n' {
		l.line++
	}
	l.pos++
}

// until skips to the next quote of the same kind that is not escaped.
func (l *shellLexer) until(quote byte, line int) error {
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		l.pos++
		switch {
		case c == quote:
			return nil
		case c == '\n':
			l.line++
		case c == '\\' && l.pos < len(l.src):
			l.escaped()
		}
	}
	return l.fail(line, fmt.Sprintf("a quote (%c) that is not closed", quote))
}

// nameLength returns the length of the variable name at the beginning of s.
func nameLength(s string) int {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// assignment is one KEY=VALUE of a file.
type assignment struct {
	key, value string
	line       int // where the key stands, from 1
	column     int // where the key begins, in characters from 1
}

// parse reads the subset of systemd.exec(5) EnvironmentFile= in which nothing is
// ignored. A line that is neither comment nor assignment is an error. So are a quote
// that is not closed on its line and text after the closing quote. The errors have no
// file name yet; the lines around them are read all the same.
func parse(text string) (list []assignment, bad []*Error) {
	text = strings.TrimPrefix(text, byteOrderMark)
	if i := strings.IndexByte(text, 0); i >= 0 {
		why := "a NUL byte; this is not a text file"
		if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") || i <= 1 {
			why = "UTF-16; save this file as UTF-8"
		}
		return nil, []*Error{{Line: 1 + strings.Count(text[:i], "\n"), Text: why}}
	}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); {
		start := i + 1
		line := strings.TrimSuffix(lines[i], "\r")
		i++
		if s := strings.TrimLeft(line, " \t"); s == "" || s[0] == '#' || s[0] == ';' {
			continue // a comment does not continue on the next line (systemd 254)
		}
		wrong := at(start, checkCharacters(line))
		for continues(line) && i < len(lines) {
			next := strings.TrimSuffix(lines[i], "\r")
			i++
			line = line[:len(line)-1] + next
			if e := at(i, checkCharacters(next)); wrong == nil {
				wrong = e
			}
		}
		if wrong != nil {
			bad = append(bad, wrong)
			continue
		}
		a, err := parseLine(line)
		if err != nil {
			bad = append(bad, &Error{Line: start, Text: err.Error()})
			continue
		}
		a.line = start
		list = append(list, a)
	}
	return list, bad
}

// at puts an error, which may be nil, on a line.
func at(line int, e *Error) *Error {
	if e != nil {
		e.Line = line
	}
	return e
}

// continues reports whether the next line belongs to this one: its value, if not
// in single quotes, ends in a backslash that is not itself escaped.
func continues(line string) bool {
	_, value, ok := strings.Cut(line, "=")
	backslashes := len(value) - len(strings.TrimRight(value, `\`))
	return ok && backslashes%2 == 1 && !strings.HasPrefix(strings.TrimLeft(value, " \t"), "'")
}

func parseLine(line string) (assignment, error) {
	key, raw, ok := strings.Cut(line, "=")
	if !ok {
		return assignment{}, fmt.Errorf("no = in %q; a line is KEY=VALUE or a comment", brief(strings.TrimSpace(line)))
	}
	key = strings.Trim(key, " \t")
	if key == "" {
		return assignment{}, errors.New("no key before the =")
	}
	value, err := unquote(strings.Trim(raw, " \t"))
	if err != nil {
		return assignment{}, fmt.Errorf("%s: %w", brief(key), err)
	}
	column := 1 + len(line) - len(strings.TrimLeft(line, " \t"))
	return assignment{key: key, value: value, column: column}, nil
}

// unquote returns the text of a value, which has no surrounding blanks.
func unquote(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	switch s[0] {
	case '\'':
		value, rest, ok := strings.Cut(s[1:], "'")
		if !ok {
			return "", errors.New("the closing quote ' is missing")
		}
		return value, checkRest(rest)
	case '"':
		return doubleQuoted(s[1:])
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
			continue
		}
		if s[i] == '#' && i > 0 && (s[i-1] == ' ' || s[i-1] == '\t') {
			return "", errors.New("a comment needs a line of its own; put the value in quotes if the # belongs to it")
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// doubleQuoted reads up to the closing quote. A backslash escapes " \ ` and $,
// and stays before anything else.
func doubleQuoted(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), checkRest(s[i+1:])
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"\\`$", s[i+1]) >= 0:
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", errors.New(`the closing quote " is missing`)
}

func checkRest(rest string) error {
	if strings.Trim(rest, " \t") != "" {
		return errors.New("text after the closing quote")
	}
	return nil
}

// secrets are parts of values that nobody should have written there: a private key of
// age(1), and the password in an address.
var secrets = regexp.MustCompile(`(AGE-SECRET-KEY-)[^\s"']+|(://[^\s/:@]*:)[^\s/]+(@)`)

// brief cuts a text of the file that a message quotes. Messages are in the journal, which
// more people read than the file, so it leaves out secrets.
func brief(s string) string {
	const most = 80
	s = secrets.ReplaceAllString(s, "${1}${2}...${3}")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

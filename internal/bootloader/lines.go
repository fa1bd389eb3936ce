package bootloader

import (
	"slices"
	"strings"

	"ukdump/internal/advice"
)

// A textFile is a text file as lines, so that an edit leaves every other byte as it is:
// comments, tabs, line ends, the byte order mark.
type textFile struct {
	name  string // as on the machine
	old   []byte
	lines []string // each with its end; the last may have none
}

// textFile reads a file for editing. A file without content has one empty line.
func (s *System) textFile(name string) (*textFile, error) {
	data, err := s.readText(name)
	if err != nil {
		return nil, err
	}
	return newTextFile(name, data), nil
}

func newTextFile(name string, data []byte) *textFile {
	lines := strings.SplitAfter(string(data), "\n")
	if n := len(lines) - 1; n > 0 && lines[n] == "" {
		lines = lines[:n]
	}
	return &textFile{name: name, old: data, lines: lines}
}

func (t *textFile) content() []byte { return []byte(strings.Join(t.lines, "")) }

// text returns a line without its end, and without the byte order mark.
func (t *textFile) text(i int) string {
	text, _ := cutLineEnd(t.lines[i])
	if i == 0 {
		text = strings.TrimPrefix(text, byteOrderMark)
	}
	return text
}

// replace puts text into the place of what text(i) returns.
func (t *textFile) replace(i int, text string) {
	_, end := cutLineEnd(t.lines[i])
	mark := ""
	if i == 0 && strings.HasPrefix(t.lines[0], byteOrderMark) {
		mark = byteOrderMark
	}
	t.lines[i] = mark + text + end
}

// insert puts a line behind line i, with the same end.
func (t *textFile) insert(i int, text string) {
	line, end := cutLineEnd(t.lines[i])
	added := text + end
	if end == "" {
		_, end = cutLineEnd(t.lines[0])
		if end == "" {
			end = "\n"
		}
		t.lines[i] = line + end
	}
	t.lines = slices.Insert(t.lines, i+1, added)
}

// remove takes line i out. The file then ends as before: with a line end or without.
func (t *textFile) remove(i int) {
	_, end := cutLineEnd(t.lines[i])
	t.lines = slices.Delete(t.lines, i, i+1)
	if end == "" && i > 0 {
		t.lines[i-1], _ = cutLineEnd(t.lines[i-1])
	}
	if len(t.lines) == 0 {
		t.lines = []string{""}
	}
}

// fault is the error of line i, which counts from 0, if the loader does not understand it
// either.
func (t *textFile) fault(i int, text string) error { return broken(lineError(t.name, i+1, text)) }

// broken adds advice to the error of a line that who reads the file does not understand
// either.
func broken(err error) error {
	return advice.With(err, "Correct this line, then run kdumpctl setup again.")
}

const byteOrderMark = "\ufeff"

func cutLineEnd(line string) (text, end string) {
	text = strings.TrimRight(line, "\r\n")
	return text, line[len(text):]
}

// indent returns the spaces and tabs at the start of a line.
func indent(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

// cutKeyword splits a line into its first word, which ends at a space or tab, and the
// rest. at is the byte of the line where the rest begins.
func cutKeyword(line string) (word, rest string, at int) {
	body := strings.TrimLeft(line, " \t")
	end := strings.IndexAny(body, " \t")
	if end < 0 {
		return body, "", len(line)
	}
	rest = strings.TrimLeft(body[end:], " \t")
	return body[:end], rest, len(line) - len(rest)
}

// applyInside is Apply, but the white space around the command line stays.
func (e Edit) applyInside(value string) string {
	line := strings.TrimSpace(value)
	if line == "" {
		return value[:len(value)/2] + e.Apply("") + value[len(value)/2:]
	}
	at := strings.Index(value, line)
	return value[:at] + e.Apply(line) + value[at+len(line):]
}

// without is the edit that only takes the parameter away.
func (e Edit) without() Edit { return Edit{Name: e.Name} }

// done reports whether line needs no change.
func (e Edit) done(line string) bool { return e.Apply(line) == line }

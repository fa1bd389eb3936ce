package bootloader

import (
	"fmt"
	"slices"
	"strings"
)

// Words splits a command line as the kernel does: at spaces outside of double quotes
// (next_arg in lib/cmdline.c). The quotes stay in the words.
func Words(line string) []string {
	var words []string
	for _, w := range wordSpans(line) {
		words = append(words, line[w.start:w.end])
	}
	return words
}

// A span is a part of a line, in bytes.
type span struct{ start, end int }

func wordSpans(line string) []span {
	var words []span
	start, quoted := -1, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
			if start < 0 {
				start = i
			}
		case isSpace(c) && !quoted:
			if start >= 0 {
				words = append(words, span{start, i})
				start = -1
			}
		case start < 0:
			start = i
		}
	}
	if start >= 0 {
		words = append(words, span{start, len(line)})
	}
	return words
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// parameter returns the name of the parameter that word sets. To the kernel - and _ in
// it are the same (parameq in kernel/params.c).
func parameter(word string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(word, `"`), "=")
	return strings.ReplaceAll(strings.TrimSuffix(name, `"`), "-", "_")
}

// Of returns the words of line that set the parameter name.
func Of(line, name string) []string {
	var of []string
	for _, w := range Words(line) {
		if parameter(w) == parameter(name) {
			of = append(of, w)
		}
	}
	return of
}

// holds reports whether line has these words for the parameter, and no others.
func (e Edit) holds(line string) bool { return slices.Equal(Of(line, e.Name), e.Words) }

// Apply returns line with the edit. What is behind "--" is for init and stays, and so
// does a quote that is never closed. All other words, and the spaces between them, stay as
// they are: an edit that adds words and then one that removes them give the same line.
func (e Edit) Apply(line string) string {
	var b strings.Builder
	at := 0
	for _, s := range e.splices(line) {
		b.WriteString(line[at:s.start])
		b.WriteString(s.text)
		at = s.end
	}
	b.WriteString(line[at:])
	return b.String()
}

// A splice puts text in the place of a span, which may be empty.
type splice struct {
	span
	text string
}

// splices returns the changes of line, in order and without overlaps.
func (e Edit) splices(line string) []splice {
	words := wordSpans(line)
	rest := len(line) // where the words begin that stay
	var own []span
	var texts []string
	for _, w := range words {
		text := line[w.start:w.end]
		// A quote that is not closed takes everything to the end of the line.
		if text == "--" || strings.Count(text, `"`)%2 == 1 {
			rest = w.start
			break
		}
		if parameter(text) == parameter(e.Name) {
			own, texts = append(own, w), append(texts, text)
		}
	}
	if slices.Equal(texts, e.Words) {
		return nil
	}
	wanted := strings.Join(e.Words, " ")
	if len(own) == 0 {
		return []splice{insertion(line, rest, wanted)}
	}
	var list []splice
	if len(e.Words) > 0 {
		list = append(list, splice{own[0], wanted})
		own = own[1:]
	}
	return append(list, deletions(line, own)...)
}

// insertion puts words before those at rest, or at the end of the line. The new space
// comes before them, as deletions removes that.
func insertion(line string, rest int, words string) splice {
	switch {
	case line == "":
	case rest == 0:
		words += " "
	case rest < len(line):
		rest--
		fallthrough
	default:
		words = " " + words
	}
	return splice{span{rest, rest}, words}
}

// deletions removes words, each with the space before it or, at the head of the line, with
// that behind it.
func deletions(line string, words []span) []splice {
	var list []splice
	head := 0 // nothing is left of the line before it
	for _, w := range words {
		if w.start > head {
			list = append(list, splice{span: span{w.start - 1, w.end}})
			continue
		}
		head = min(w.end+1, len(line))
		list = append(list, splice{span: span{w.start, head}})
	}
	return list
}

// plain reports words that would need quotes in some file of a loader. Those of the
// kernel's parameters that ukdump sets need none.
func (e Edit) plain() error {
	for _, w := range e.Words {
		ok := w != "" && !strings.ContainsFunc(w, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-=.,:@+/%", r))
		})
		if !ok || parameter(w) != parameter(e.Name) {
			return fmt.Errorf("word %.80q for the command line: not a plain setting of %s", w, e.Name)
		}
	}
	return nil
}

package bootloader

import (
	"slices"
	"strings"
)

// Words splits a command line as the kernel does: at spaces outside of double quotes
// (next_arg in lib/cmdline.c). The quotes stay in the words.
func Words(line string) []string {
	var words []string
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
				words = append(words, line[start:i])
				start = -1
			}
		case start < 0:
			start = i
		}
	}
	if start >= 0 {
		words = append(words, line[start:])
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

// Apply returns line with the edit. What is behind "--" is for init and stays, and so
// does a quote that is never closed. A line that
// needs no change is returned as it is; the spaces of others may change.
func (e Edit) Apply(line string) string {
	words := Words(line)
	var edited, rest []string
	at := -1
	for i, w := range words {
		// A quote that is not closed takes everything to the end of the line.
		if w == "--" || strings.Count(w, `"`)%2 == 1 {
			rest = words[i:]
			break
		}
		if parameter(w) != parameter(e.Name) {
			edited = append(edited, w)
			continue
		}
		if at < 0 {
			at = len(edited)
		}
	}
	if at < 0 {
		at = len(edited)
	}
	result := slices.Concat(edited[:at], e.Words, edited[at:], rest)
	if slices.Equal(result, words) {
		return line
	}
	return strings.Join(result, " ")
}

// Package clitest compares the manual page of a program with its table of commands.
package clitest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/cli"
)

// Page checks the page of a program: its synopsis has a line for each command, in the
// order of the table, and its section of that name (none if it is "") describes them
// in that order. Every option is named somewhere.
func Page(t *testing.T, path, section string, p *cli.Program, commands []*cli.Command) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want, names []string
	for _, c := range commands {
		want, names = append(want, p.Synopsis(c)), append(names, c.Name)
		for _, o := range p.Options(c) {
			if !strings.Contains(string(b), strings.ReplaceAll(o, "-", `\-`)) {
				t.Errorf("%s does not have %s", path, o)
			}
		}
	}
	page := sections(string(b))
	if got := synopsis(page["SYNOPSIS"]); !slices.Equal(got, want) {
		t.Errorf("%s: SYNOPSIS\n%s\nwant\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if section == "" {
		return
	}
	if got := headings(page[section], names); !slices.Equal(got, names) {
		t.Errorf("%s: %s describes %q, want %q", path, section, got, names)
	}
}

// sections splits a page by its headings (man(7)).
func sections(page string) map[string]string {
	m := make(map[string]string)
	for part := range strings.SplitSeq(page, "\n.SH ") {
		name, text, _ := strings.Cut(part, "\n")
		m[name] = text
	}
	return m
}

// synopsis returns the lines of a synopsis as plain text.
func synopsis(text string) (lines []string) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), "\n.br\n") {
		var words []string
		for line := range strings.Lines(part) {
			macro, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			words = append(words, unquote(macro, rest))
		}
		lines = append(lines, strings.ReplaceAll(strings.Join(words, " "), `\-`, "-"))
	}
	return lines
}

// unquote returns the text of the arguments of a font macro. Those with two letters
// set their arguments without blanks between them.
func unquote(macro, args string) string {
	var words []string
	for args = strings.TrimSpace(args); args != ""; args = strings.TrimLeft(args, " ") {
		word, rest, _ := strings.Cut(args, " ")
		if quoted, ok := strings.CutPrefix(args, `"`); ok {
			word, rest, _ = strings.Cut(quoted, `"`)
		}
		words, args = append(words, word), rest
	}
	if len(macro) == 3 { // .RB, .BI and the like
		return strings.Join(words, "")
	}
	return strings.Join(words, " ")
}

// headings returns those of the names that head a paragraph of a section, once each.
func headings(text string, names []string) (list []string) {
	for part := range strings.SplitSeq(text, "\n.TP\n") {
		line, _, _ := strings.Cut(strings.TrimPrefix(part, ".TP\n"), "\n")
		macro, name, _ := strings.Cut(line, " ")
		if macro == ".B" && slices.Contains(names, name) && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

package bootloader

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// A refindToken is a word of a line of rEFInd's files.
type refindToken struct {
	from, to int // in the line, with the quotes
	text     string
	quoted   bool
}

// refindTokens splits a line as ReadTokenLine of rEFInd does: at spaces, tabs, = and commas
// outside of quotes, up to a #. Two quotes are one in the text. ok is false if a quote is
// not closed.
func refindTokens(line string) (tokens []refindToken, ok bool) {
	i := 0
	for {
		for i < len(line) && strings.IndexByte(" \t=,", line[i]) >= 0 {
			i++
		}
		if i == len(line) || line[i] == '#' {
			return tokens, true
		}
		t := refindToken{from: i, quoted: line[i] == '"'}
		if t.quoted {
			i++
		}
		closed := !t.quoted
		var text strings.Builder
		for i < len(line) {
			if line[i] == '"' && i+1 < len(line) && line[i+1] == '"' {
				text.WriteByte('"')
				i += 2
				continue
			}
			if line[i] == '"' { // the end of a quoted word, or of one that it touches
				i++
				closed = t.quoted
				break
			}
			if !t.quoted && strings.IndexByte(" \t=#,", line[i]) >= 0 {
				break
			}
			text.WriteByte(line[i])
			i++
		}
		if !closed {
			return nil, false
		}
		t.to, t.text = i, text.String()
		tokens = append(tokens, t)
	}
}

// refindQuote returns text as one word of rEFInd.
func refindQuote(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }

// A refindStanza is a menuentry or a submenuentry of refind.conf.
type refindStanza struct {
	title    string
	line     int // of its name
	parent   int // index of the menuentry, -1 if it is one
	disabled bool
	linux    bool // it has what only entries of Linux have
	options  int  // line of the options, -1 if it has none
	add      bool // add_options: behind those of the menuentry
	after    int  // the line behind which options can be put
}

// A refindFile is refind.conf or a file that it includes.
type refindFile struct {
	*textFile
	stanzas  []refindStanza
	includes []string // names
}

// readRefind parses a file of stanzas.
func readRefind(t *textFile) (*refindFile, error) {
	f := &refindFile{textFile: t}
	var open []int // the stanzas that the line is in
	for i := range t.lines {
		tokens, ok := refindTokens(t.text(i))
		if !ok {
			// Outside of stanzas, names of volumes may have quotes of their own.
			if len(open) == 0 {
				continue
			}
			return nil, t.fault(i, "a quote that is not closed")
		}
		if len(tokens) == 0 {
			continue
		}
		word := strings.ToLower(tokens[0].text)
		switch {
		case len(open) == 0 && word == "menuentry", len(open) == 1 && word == "submenuentry":
			if len(tokens) < 3 || tokens[len(tokens)-1].text != "{" {
				return nil, t.fault(i, word+" without a name and {")
			}
			parent := -1
			if len(open) == 1 {
				parent = open[0]
			}
			open = append(open, len(f.stanzas))
			f.stanzas = append(f.stanzas, refindStanza{title: tokens[1].text, line: i, parent: parent, options: -1, after: i})
		case len(open) > 0 && word == "}":
			open = open[:len(open)-1]
		case len(open) > 0:
			if err := f.keyword(i, word, tokens, &f.stanzas[open[len(open)-1]]); err != nil {
				return nil, err
			}
		case word == "include" && len(tokens) > 1:
			f.includes = append(f.includes, tokens[1].text)
		}
	}
	if len(open) > 0 {
		return nil, t.fault(f.stanzas[open[0]].line, "menuentry without }")
	}
	return f, nil
}

// kernelNames are the beginnings of names that kernels have, in lower case.
var kernelNames = []string{"vmlinuz", "vmlinux", "bzimage", "kernel", "image"}

// keyword takes a line of a stanza.
func (f *refindFile) keyword(i int, word string, tokens []refindToken, s *refindStanza) error {
	value := ""
	if len(tokens) > 1 {
		value = tokens[1].text
	}
	switch word {
	case "loader":
		name := strings.ToLower(path.Base(strings.ReplaceAll(value, `\`, "/")))
		s.linux = s.linux || slices.ContainsFunc(kernelNames, func(n string) bool { return strings.HasPrefix(name, n) })
		s.after = i
	case "initrd":
		s.linux = s.linux || value != ""
		s.after = i
	case "ostype":
		s.linux = s.linux || strings.EqualFold(value, "linux")
	case "disabled":
		s.disabled = true
	case "options", "add_options":
		if len(tokens) > 2 {
			return f.fault(i, "options without quotes, of which rEFInd takes the first word only")
		}
		s.linux = s.linux || len(Of(value, "root")) > 0
		s.options, s.add = i, word == "add_options"
	}
	return nil
}

// boots reports whether a stanza, or the menuentry around it, boots Linux.
func (f *refindFile) boots(s *refindStanza) bool {
	if s.disabled {
		return false
	}
	if s.parent >= 0 {
		return f.boots(&f.stanzas[s.parent])
	}
	return s.linux
}

// options returns the options of a stanza as they are in its line.
func (f *refindFile) options(s *refindStanza) string {
	if s.options < 0 {
		return ""
	}
	tokens, _ := refindTokens(f.text(s.options))
	if len(tokens) < 2 {
		return ""
	}
	return tokens[1].text
}

// edit changes the options of stanzas.
func (f *refindFile) edit(e Edit) {
	for i := len(f.stanzas) - 1; i >= 0; i-- { // from the end, as lines are put in and taken out
		s := &f.stanzas[i]
		edit := e
		if s.parent >= 0 && s.add {
			edit = e.without() // the words are in those of the menuentry
		}
		value := f.options(s)
		if !f.boots(s) || edit.done(value) || s.parent >= 0 && value == "" {
			continue // a submenuentry without options has those of the menuentry, or wants none
		}
		edited := edit.applyInside(value)
		switch {
		case s.options < 0:
			f.insert(s.after, f.indentInside(s)+"options "+refindQuote(edited))
		case edited == "" && s.parent < 0:
			f.remove(s.options)
		default:
			f.replace(s.options, refindReplace(f.text(s.options), edited))
		}
	}
}

func (f *refindFile) indentInside(s *refindStanza) string {
	if s.after > s.line {
		return indent(f.text(s.after))
	}
	return indent(f.text(s.line)) + "    "
}

// refindReplace puts a value into the place of the second word of a line, or behind the
// first if it is the only one.
func refindReplace(line, value string) string {
	tokens, _ := refindTokens(line)
	if len(tokens) < 2 {
		return line[:tokens[0].to] + " " + refindQuote(value) + line[tokens[0].to:]
	}
	return line[:tokens[1].from] + refindQuote(value) + line[tokens[1].to:]
}

// boot returns what the stanzas boot. Options that are empty on purpose are for another
// loader.
func (f *refindFile) boot() []Entry {
	var entries []Entry
	for i := range f.stanzas {
		s := &f.stanzas[i]
		title, line, value := s.title, s.options, f.options(s)
		if !f.boots(s) || line >= 0 && value == "" {
			continue
		}
		if line < 0 {
			line = s.line
		}
		if s.parent >= 0 {
			parent := &f.stanzas[s.parent]
			title = parent.title + "/" + title
			switch {
			case s.options < 0:
				value = f.options(parent)
			case s.add:
				value = strings.TrimSpace(f.options(parent) + " " + value)
			}
		}
		entries = append(entries, Entry{Title: title, Source: f.name + ":" + strconv.Itoa(line+1), Cmdline: value})
	}
	return entries
}

// refindLinuxLines returns the lines of a refind_linux.conf that have a title and options.
func refindLinuxLines(t *textFile) (lines []int, err error) {
	for i := range t.lines {
		tokens, ok := refindTokens(t.text(i))
		if !ok {
			return nil, t.fault(i, "a quote that is not closed")
		}
		if len(tokens) > 2 {
			return nil, t.fault(i, "more than a title and options, both in quotes")
		}
		if len(tokens) == 2 {
			lines = append(lines, i)
		}
	}
	return lines, nil
}

// editRefindLinux changes the options of all lines of a refind_linux.conf, and returns the
// number of these lines.
func editRefindLinux(t *textFile, e Edit) (int, error) {
	lines, err := refindLinuxLines(t)
	if err != nil {
		return 0, err
	}
	for _, i := range lines {
		tokens, _ := refindTokens(t.text(i))
		if value := tokens[1].text; !e.done(value) {
			t.replace(i, refindReplace(t.text(i), e.applyInside(value)))
		}
	}
	return len(lines), nil
}

package bootloader

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"ukdump/internal/advice"
)

// A shellFile is a file of shell variables, such as /etc/default/grub, that a shell
// executes. It may have any other statements, too; only assignments outside of
// conditions, loops and functions are understood.
type shellFile struct {
	name string
	data []byte
	vars []assignment
	code []statement // what is not understood
}

// An assignment is NAME=value, NAME+=value or NAME[subscript]=value.
type assignment struct {
	name   string // with the subscript
	add    bool   // +=
	array  bool   // NAME=(…), whose value is not read
	line   int
	value  span
	units  []unit
	export bool // export NAME=value
}

// A statement is one that is no plain assignment.
type statement struct {
	text string
	line int
}

// addedBy is the line before an assignment that ukdump has added, by which it goes again.
const addedBy = "# Added by kdumpctl setup."

// parseShell reads a shell file. name is for errors.
func parseShell(name string, data []byte) (*shellFile, error) {
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return nil, advice.With(lineError(name, 1, "a byte order mark, which a shell takes for a command"), "Remove the first three bytes of "+name+".")
	}
	if i := bytes.Index(data, []byte("\r\n")); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		return nil, advice.With(lineError(name, line, "a carriage return, which a shell takes as a part of the value"), `Remove them: sed -i 's/\r$//' `+name)
	}
	p := shellParser{lexer: shellLexer{name: name, src: string(data), line: 1}}
	p.file = &shellFile{name: name, data: data}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.file, nil
}

// readShell reads a shell file of the machine.
func (s *System) readShell(name string) (*shellFile, error) {
	data, err := s.readText(name)
	if err != nil {
		return nil, err
	}
	return parseShell(name, data)
}

// A shellParser splits a script into simple commands (POSIX 2.9), as far as is needed to
// know which of them are always executed.
type shellParser struct {
	lexer       shellLexer
	file        *shellFile
	depth       int // of if, for, {…} and the like
	parentheses int
	conditional bool // the command is behind && or ||, or in a pipe
	command     []token
	redirected  bool
}

func (p *shellParser) run() error {
	for {
		t, err := p.lexer.next()
		if err != nil {
			return err
		}
		switch {
		case t.kind == tokenWord:
			p.command = append(p.command, t)
		case t.kind == tokenOperator && t.text == "<<":
			return lineError(p.lexer.name, t.line, "a here-document is not supported")
		case t.text == "<" || t.text == ">":
			p.redirected = true
		case t.text == "(" && p.isArray(t):
			if err := p.array(t.line); err != nil {
				return err
			}
		default:
			p.end(t)
		}
		if t.kind == tokenEnd {
			return nil
		}
	}
}

// end finishes the command before t.
func (p *shellParser) end(t token) {
	if t.text == "|" || t.text == "&" {
		p.conditional = true // in a shell of its own
	}
	p.statement()
	p.command, p.redirected = nil, false
	p.conditional = t.text == "&&" || t.text == "||" || t.text == "|"
	switch t.text {
	case "(":
		p.parentheses++
	case ")":
		p.parentheses = max(0, p.parentheses-1) // those of case are not opened
	}
}

// isArray reports whether the parenthesis follows NAME= at once.
func (p *shellParser) isArray(t token) bool {
	if len(p.command) == 0 {
		return false
	}
	last := p.command[len(p.command)-1]
	return last.end == t.start && strings.HasSuffix(last.text, "=") && assigned.MatchString(last.text)
}

// array skips the elements of an array of bash. They stay in the text of the word.
func (p *shellParser) array(line int) error {
	last := &p.command[len(p.command)-1]
	for {
		t, err := p.lexer.next()
		switch {
		case err != nil:
			return err
		case t.kind == tokenEnd:
			return p.lexer.fail(line, "a parenthesis that is not closed")
		case t.text == ")":
			last.end = t.end
			last.text = p.lexer.src[last.start:last.end]
			return nil
		}
	}
}

// openers are reserved words that begin a construct, closers those that end one, and
// middles those that a command follows.
var (
	openers = []string{"if", "for", "while", "until", "case", "select", "{"}
	closers = []string{"fi", "done", "esac", "}"}
	middles = []string{"if", "while", "until", "then", "else", "elif", "do", "!", "{"}
)

// statement records the collected command.
func (p *shellParser) statement() {
	words := p.command
	if len(words) == 0 {
		return
	}
	for len(words) > 0 {
		first := words[0].text
		if slices.Contains(openers, first) {
			p.depth++
		}
		if slices.Contains(closers, first) {
			p.depth = max(0, p.depth-1)
		}
		if !slices.Contains(middles, first) {
			break
		}
		words = words[1:]
	}
	if len(words) == 0 {
		return
	}
	if vars, ok := assignments(words); ok && p.depth == 0 && p.parentheses == 0 && !p.conditional && !p.redirected {
		p.file.vars = append(p.file.vars, vars...)
		return
	}
	text := p.lexer.src[words[0].start:words[len(words)-1].end]
	p.file.code = append(p.file.code, statement{text, words[0].line})
}

// assigned matches the beginning of an assignment. A subscript is that of bash, without
// quotes and expansions.
var assigned = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\[[A-Za-z0-9_.*-]+\])?\+?=`)

// assignments returns the variables that a command of nothing but assignments sets.
func assignments(words []token) ([]assignment, bool) {
	export := words[0].text == "export" && len(words) > 1
	if export {
		words = words[1:]
	}
	var vars []assignment
	for _, w := range words {
		head := assigned.FindString(w.text)
		if head == "" {
			if export && nameLength(w.text) == len(w.text) {
				continue // export NAME
			}
			return nil, false
		}
		a := assignment{name: strings.TrimRight(head, "+="), add: strings.HasSuffix(head, "+="), line: w.line, export: export}
		a.value = span{w.start + len(head), w.end}
		a.units = w.units[min(len(head), len(w.units)):]
		a.array = strings.HasPrefix(w.text[len(head):], "(")
		vars = append(vars, a)
	}
	return vars, true
}

// text returns the value with opaqueChar in place of expansions.
func (a *assignment) text() string {
	b := make([]byte, len(a.units))
	for i, u := range a.units {
		b[i] = u.char
	}
	return string(b)
}

// expand executes the assignments for the values of env. What cannot be known is
// opaqueChar.
func (f *shellFile) expand(env map[string]string) {
	for i := range f.vars {
		a := &f.vars[i]
		var b strings.Builder
		if a.add {
			b.WriteString(env[a.name])
		}
		for _, u := range a.units {
			switch {
			case u.ref != "":
				b.WriteString(env[u.ref])
			default:
				b.WriteByte(u.char)
			}
		}
		if b.Len() > maxText { // variables that double each other
			b.Reset()
			b.WriteByte(opaqueChar)
		}
		env[a.name] = b.String()
	}
}

// last returns the index of the last assignment to a variable, -1 if there is none.
func (f *shellFile) last(name string) int {
	for i := len(f.vars) - 1; i >= 0; i-- {
		if f.vars[i].name == name {
			return i
		}
	}
	return -1
}

// refuse is an error about the assignment of a variable that ukdump does not change.
func (f *shellFile) refuse(line int, name, why string) error {
	return &placeError{error: lineError(f.name, line, name+" "+why), place: name + " of " + f.name}
}

// understood is an error if the file sets one of the variables in a way that is not
// understood.
func (f *shellFile) understood(names ...string) error {
	for _, name := range names {
		sets := regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `(\[[^\]]*\])?(\+|:)?=|\b(unset|read|declare|typeset|local|readonly)\b.*\b` + regexp.QuoteMeta(name) + `\b`)
		for _, c := range f.code {
			if sets.MatchString(c.text) {
				return f.refuse(c.line, name, "is set in a way that ukdump does not understand")
			}
		}
		for _, a := range f.vars {
			if a.name == name && a.array {
				return f.refuse(a.line, name, "is an array, which ukdump does not change")
			}
		}
	}
	return nil
}

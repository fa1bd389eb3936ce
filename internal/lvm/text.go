package lvm

import (
	"errors"
	"strconv"
	"strings"
)

// section is one { … } of the metadata.
type section struct {
	Name   string
	values []value
	parts  []*section
}

// value is NAME = WORD or NAME = [ WORD, … ].
type value struct {
	name  string
	words []string // strings without their quotes
}

// maxDepth is the limit for nested sections; LVM2 needs four.
const maxDepth = 8

// parser reads the text format of LVM2's configuration and metadata.
type parser struct {
	text  string // not parsed yet
	token string // "" at the end
	bad   bool
}

var errText = errors.New("LVM metadata: malformed text")

// parse returns the sections and values of a text as one section.
func parse(text string) (*section, error) {
	p := &parser{text: text}
	p.next()
	s := &section{}
	p.section(s, 0)
	if p.bad || p.token != "" {
		return nil, errText
	}
	return s, nil
}

// section reads until the end of s.
func (p *parser) section(s *section, depth int) {
	for !p.bad && p.token != "" && p.token != "}" {
		name := p.token
		p.next()
		switch p.token {
		case "{":
			part := &section{Name: name}
			s.parts = append(s.parts, part)
			p.bad = depth == maxDepth
			p.next()
			p.section(part, depth+1)
			p.expect("}")
		case "=":
			p.next()
			s.values = append(s.values, value{name, p.words()})
		default:
			p.bad = true
		}
	}
}

// words reads a word or a list of them.
func (p *parser) words() (list []string) {
	if p.token != "[" {
		list = []string{unquote(p.token)}
		p.next()
		return list
	}
	for p.next(); !p.bad && p.token != "" && p.token != "]"; {
		list = append(list, unquote(p.token))
		if p.next(); p.token == "," {
			p.next()
		}
	}
	p.expect("]")
	return list
}

func (p *parser) expect(token string) {
	p.bad = p.bad || p.token != token
	p.next()
}

const (
	blanks = " \t\r\n"
	marks  = "{}[]=,"
)

// next reads the next token: a mark, a string with its quotes, or a word.
func (p *parser) next() {
	p.token = ""
	for p.text = strings.TrimLeft(p.text, blanks); strings.HasPrefix(p.text, "#"); p.text = strings.TrimLeft(p.text, blanks) {
		_, p.text, _ = strings.Cut(p.text, "\n")
	}
	if p.text == "" || p.bad {
		return
	}
	n := 1
	switch c := p.text[0]; {
	case c == '"':
		for n < len(p.text) && p.text[n] != '"' {
			if p.text[n] == '\\' {
				n++
			}
			n++
		}
		if n >= len(p.text) {
			p.bad = true
			return
		}
		n++
	case strings.IndexByte(marks, c) < 0:
		if n = strings.IndexAny(p.text, blanks+marks+"\"#"); n < 0 {
			n = len(p.text)
		}
		n = max(n, 1)
	}
	p.token, p.text = p.text[:n], p.text[n:]
}

func unquote(token string) string {
	if len(token) < 2 || token[0] != '"' {
		return token
	}
	s := token[1 : len(token)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	plain := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		plain = append(plain, s[i])
	}
	return string(plain)
}

// part returns a section by its name; an empty one if s has none of this name.
func (s *section) part(name string) *section {
	for _, p := range s.parts {
		if p.Name == name {
			return p
		}
	}
	return &section{}
}

// list returns the words of a value.
func (s *section) list(name string) []string {
	for _, v := range s.values {
		if v.name == name {
			return v.words
		}
	}
	return nil
}

// Text returns a value of one word, "" without one.
func (s *section) Text(name string) string {
	if l := s.list(name); len(l) == 1 {
		return l[0]
	}
	return ""
}

// number returns a value, 0 if it is not a number.
func (s *section) number(name string) uint64 {
	n, _ := strconv.ParseUint(s.Text(name), 10, 32)
	return n
}

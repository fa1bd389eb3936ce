package bootloader

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A menuNode is an entry or a submenu of a grub.cfg.
type menuNode struct {
	title, id string
	submenu   bool
	nodes     []*menuNode
	section   string // the script in /etc/grub.d that wrote it, "" if not known
	lines     []linuxLine
}

// A linuxLine is a command of an entry that loads a kernel.
type linuxLine struct {
	line    int
	cmdline string
}

// A grubMenu is what a grub.cfg says.
type grubMenu struct {
	root menuNode
	// env are the variables that the file sets outside of entries; within conditions the
	// last one counts.
	env map[string]string
	bls bool // the command blscfg adds entries
}

// sections matches the comments of grub-mkconfig around the output of each script.
var sections = regexp.MustCompile(`(?m)^### (BEGIN|END) (\S+) ###`)

// parseGrubMenu reads a grub.cfg, a script of GRUB (info grub, "Shell-like scripting").
// env are the variables of the environment block.
func parseGrubMenu(name string, data []byte, env map[string]string) (*grubMenu, error) {
	env = maps.Clone(env)
	if env == nil {
		env = make(map[string]string)
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	p := menuParser{
		lexer: shellLexer{name: name, src: string(data), line: 1, grub: true},
		menu:  &grubMenu{env: env},
	}
	p.open = []*menuNode{&p.menu.root}
	p.sections = sections.FindAllStringSubmatchIndex(p.lexer.src, -1)
	for {
		t, err := p.lexer.next()
		if err != nil {
			return nil, err
		}
		if t.kind == tokenWord {
			if err := p.word(t); err != nil {
				return nil, err
			}
			continue
		}
		p.command()
		if t.kind == tokenEnd {
			break
		}
	}
	if len(p.open) > 1 {
		return nil, p.lexer.fail(p.opened[len(p.opened)-1], "a brace ({) that is not closed")
	}
	return p.menu, nil
}

type menuParser struct {
	lexer    shellLexer
	menu     *grubMenu
	open     []*menuNode // blocks; those that are no menu entries are nodes outside of it
	opened   []int       // their lines
	words    []token
	sections [][]int
}

// word collects a word; braces open and close blocks.
func (p *menuParser) word(t token) error {
	switch {
	case t.text == "{" && len(p.words) > 0:
		p.begin(t.line)
	case t.text == "{":
		p.push(&menuNode{}, t.line)
	case t.text == "}" && len(p.words) == 0:
		if len(p.open) == 1 {
			return p.lexer.fail(t.line, "a brace (}) that was not opened")
		}
		p.open = p.open[:len(p.open)-1]
		p.opened = p.opened[:len(p.opened)-1]
	default:
		p.words = append(p.words, t)
	}
	return nil
}

func (p *menuParser) push(n *menuNode, line int) {
	p.open = append(p.open, n)
	p.opened = append(p.opened, line)
}

// begin opens the block of a menu entry, a submenu or a function.
func (p *menuParser) begin(line int) {
	words := withoutMiddles(p.words)
	p.words = nil
	n := &menuNode{}
	if len(words) == 0 {
		p.push(n, line)
		return
	}
	command := words[0].text
	if command == "menuentry" || command == "submenu" {
		n.submenu = command == "submenu"
		n.section = p.section(words[0].start)
		p.names(n, words[1:])
		parent := p.open[len(p.open)-1]
		parent.nodes = append(parent.nodes, n)
	}
	p.push(n, line)
}

// withoutMiddles returns a command without the reserved words before it, such as then.
func withoutMiddles(words []token) []token {
	for len(words) > 0 && slices.Contains(middles, words[0].text) {
		words = words[1:]
	}
	return words
}

// names reads the title and the identifier. grub-mkconfig writes the option --id as
// $menuentry_id_option.
func (p *menuParser) names(n *menuNode, words []token) {
	valued := []string{"--class", "--users", "--hotkey", "--source"}
	for i := 0; i < len(words); i++ {
		value := p.value(words[i])
		id, isID := strings.CutPrefix(value, "--id=")
		switch {
		case isID:
			n.id = id
		case words[i].text == "$menuentry_id_option" || value == "--id":
			if i++; i < len(words) {
				n.id = p.value(words[i])
			}
		case slices.Contains(valued, value):
			i++
		case strings.HasPrefix(value, "--"):
		case n.title == "":
			n.title = value
		}
	}
}

// section returns the script of /etc/grub.d that wrote what is at the offset.
func (p *menuParser) section(at int) string {
	name := ""
	for _, m := range p.sections {
		if m[0] > at {
			break
		}
		name = ""
		if p.lexer.src[m[2]:m[3]] == "BEGIN" {
			name = p.lexer.src[m[4]:m[5]]
		}
	}
	return name
}

// command executes the collected command, as far as it matters.
func (p *menuParser) command() {
	words := withoutMiddles(p.words)
	p.words = nil
	if len(words) == 0 {
		return
	}
	n := p.open[len(p.open)-1]
	switch command := words[0].text; command {
	case "linux", "linux16", "linuxefi":
		if len(words) > 1 {
			n.lines = append(n.lines, linuxLine{words[0].line, p.arguments(words[2:])})
		}
	case "blscfg", "bls_import":
		p.menu.bls = true
	case "set":
		for _, w := range words[1:] {
			p.set(w)
		}
	}
}

// set executes set NAME=value outside of entries. That an earlier value wins is true for
// kernelopts and the like, which are set for the case that the environment block has none.
func (p *menuParser) set(w token) {
	name, value, ok := strings.Cut(p.value(w), "=")
	if !ok || len(p.open) > 1 {
		return
	}
	if name == "default" {
		// The other branch is for one boot only, and has been asked already.
		if strings.Contains(w.text, "next_entry") {
			return
		}
	} else if p.menu.env[name] != "" {
		return
	}
	if len(value) <= maxVariable {
		p.menu.env[name] = value
	}
}

// value returns a word with its variables.
func (p *menuParser) value(t token) string {
	var b strings.Builder
	for _, u := range t.units {
		if u.ref != "" {
			b.WriteString(p.menu.env[u.ref])
			continue
		}
		if !u.opaque {
			b.WriteByte(u.char)
		}
	}
	return b.String()
}

// arguments joins words as GRUB does (grub_create_loader_cmdline in
// grub-core/lib/cmdline.c). A variable outside of quotes is split at its blanks.
func (p *menuParser) arguments(words []token) string {
	var args []string
	for _, w := range words {
		if len(w.units) == 1 && w.units[0].ref != "" && w.units[0].quote == 0 {
			args = append(args, strings.Fields(p.menu.env[w.units[0].ref])...)
			continue
		}
		args = append(args, loaderArgument(p.value(w)))
	}
	return strings.Join(args, " ")
}

var loaderEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)

func loaderArgument(arg string) string {
	arg = loaderEscapes.Replace(arg)
	if strings.Contains(arg, " ") {
		return `"` + arg + `"`
	}
	return arg
}

// find returns the entry that a value of the variable default names: titles, identifiers
// or numbers from 0 on, with > between submenus; nil if there is none.
func (n *menuNode) find(name string) *menuNode {
	// >> is a > in a title.
	path := strings.Split(strings.ReplaceAll(name, ">>", "\x00"), ">")
	for _, elem := range path {
		elem = strings.ReplaceAll(elem, "\x00", ">")
		i := slices.IndexFunc(n.nodes, func(c *menuNode) bool { return c.id == elem && elem != "" || c.title == elem })
		if number, err := strconv.Atoi(elem); err == nil && i < 0 && number >= 0 && number < len(n.nodes) {
			i = number
		}
		if i < 0 {
			return nil
		}
		n = n.nodes[i]
	}
	for n.submenu && len(n.nodes) > 0 {
		n = n.nodes[0]
	}
	return n
}

// walk calls f for all entries, in order.
func (n *menuNode) walk(f func(*menuNode)) {
	for _, c := range n.nodes {
		f(c)
		c.walk(f)
	}
}

// parseGrubenv reads an environment block (info grub, "Environment block"): lines
// NAME=value, with \ before backslashes and line ends in values.
func parseGrubenv(data []byte) map[string]string {
	env := make(map[string]string)
	var line strings.Builder
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\\' && i+1 < len(data):
			i++
			line.WriteByte(data[i])
		case c == '\n':
			text := line.String()
			line.Reset()
			if name, value, ok := strings.Cut(text, "="); ok && !strings.HasPrefix(text, "#") {
				env[name] = value
			}
		default:
			line.WriteByte(c)
		}
	}
	return env
}

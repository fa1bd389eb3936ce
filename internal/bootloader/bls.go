package bootloader

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/advice"
)

const blsDir = "/boot/loader/entries"

// bls is GRUB with entries of the Boot Loader Specification, as in Fedora and RHEL: its
// command blscfg reads them.
type bls struct{}

func (bls) Name() string { return "bls" }

func (bls) Find(s *System) (*Found, error) {
	config := s.grubConfig()
	if config == "" {
		return nil, nil
	}
	menu, _, err := s.grubMenu(config)
	if err != nil || !menu.bls {
		return nil, err
	}
	e := s.evidence()
	f := &Found{Loader: "bls", Files: []string{blsDir, config}}
	f.Booted, f.Because = e.owned(programGRUB)
	if e.program == programGRUB {
		f.Version = e.version
	}
	return f, nil
}

// blsMenu is all that GRUB reads for such entries.
type blsMenu struct {
	config  string
	menu    *grubMenu
	block   map[string]string // the environment block
	entries []*blsEntry       // in the order of the menu
}

func (s *System) blsMenu() (*blsMenu, error) {
	m := &blsMenu{config: s.grubConfig()}
	if m.config == "" {
		return nil, errors.New("no grub.cfg in /boot/grub or /boot/grub2")
	}
	var err error
	if m.menu, m.block, err = s.grubMenu(m.config); err != nil {
		return nil, err
	}
	if m.entries, err = s.readBLS(blsDir); err != nil {
		return nil, err
	}
	if len(m.entries) == 0 {
		return nil, fmt.Errorf("%s has no entries, but %s reads them from there", blsDir, m.config)
	}
	// bls_cmp in grub-core/commands/blscfg.c: the newest first.
	slices.SortStableFunc(m.entries, func(a, b *blsEntry) int {
		if c := compareVersions(b.id, a.id); c != 0 {
			return c
		}
		return strings.Compare(b.id, a.id)
	})
	return m, nil
}

// expand replaces the variables in the options (expand_val in blscfg.c). Options that are
// missing are those of default_kernelopts.
func (m *blsMenu) expand(options string) string {
	if options == "" {
		options = m.menu.env["default_kernelopts"]
	}
	var b strings.Builder
	for i := 0; i < len(options); i++ {
		n := 0
		if options[i] == '$' {
			n = nameLength(options[i+1:])
		}
		if n == 0 {
			b.WriteByte(options[i])
			continue
		}
		b.WriteString(m.menu.env[options[i+1:i+1+n]])
		i += n
	}
	return strings.Join(Words(b.String()), " ")
}

// isDefault reports whether name, the value of the variable default, is the entry at index
// (is_default_entry in blscfg.c).
func (b *blsEntry) isDefault(name string, index int) bool {
	if name == b.id || name == b.values["title"] || name == path.Base(b.file.name) {
		return true
	}
	n, err := strconv.Atoi(name)
	return name == "" && index == 0 || err == nil && n == index
}

func (bls) Next(s *System) ([]Entry, error) {
	m, err := s.blsMenu()
	if err != nil {
		return nil, err
	}
	name := m.block["next_entry"]
	if name == "" {
		name = m.menu.env["default"]
	}
	var list []Entry
	known := false
	for i, b := range m.entries {
		def := !known && b.isDefault(name, i)
		known = known || def
		list = append(list, Entry{Title: b.title(), Source: b.file.name, Cmdline: m.expand(b.cmdline()), Default: def})
	}
	m.menu.root.walk(func(n *menuNode) {
		for _, l := range n.lines {
			def := !known && name != "" && (n.id == name || n.title == name)
			list = append(list, Entry{Title: n.title, Source: fmt.Sprintf("%s:%d", m.config, l.line), Cmdline: l.cmdline, Default: def})
		}
	})
	return list, nil
}

// words returns what the entries have of the parameter, and whether all have the same.
func (m *blsMenu) words(name string) (words []string, same bool) {
	for i, b := range m.entries {
		own := Of(m.expand(b.cmdline()), name)
		if i == 0 {
			words = own
		} else if !slices.Equal(words, own) {
			return words, false
		}
	}
	return words, true
}

func (bls) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	m, err := s.blsMenu()
	if err != nil {
		return nil, err
	}
	cmdline, err := s.readOptional(kernelCmdline)
	if err != nil {
		return nil, err
	}
	old, same := m.words(e.Name)
	if same && slices.Equal(old, e.Words) && (cmdline == nil || e.holds(string(cmdline))) {
		return &Plan{}, nil
	}
	if s.program("grubby") != "" {
		return grubbyPlan(m, e, old, same), nil
	}
	return m.plan(s, e)
}

// grubbyPlan has grubby(8) do it: for the entries, for kernelopts in the environment block,
// and for new kernels in /etc/kernel/cmdline and /etc/default/grub.
func grubbyPlan(m *blsMenu, e Edit, old []string, same bool) *Plan {
	c := Command{Args: grubbyArgs(e), Why: "changes " + blsDir + "/*.conf and " + kernelCmdline}
	c.Writes = []string{blsDir + "/*.conf", path.Join(path.Dir(m.config), "grubenv"), kernelCmdline, grubDefaults}
	c.Undo = grubbyArgs(Edit{Name: e.Name, Words: old})
	if !same {
		c.Undo = []string{"true"} // no one command does it: the saved files must
	}
	return &Plan{Commands: []Command{c}}
}

// grubbyArgs is the command for an edit. --args replaces all words of the same name.
func grubbyArgs(e Edit) []string {
	args := []string{"grubby", "--update-kernel=ALL"}
	if len(e.Words) == 0 {
		return append(args, "--remove-args="+e.Name)
	}
	return append(args, "--args="+strings.Join(e.Words, " "))
}

// plan changes the files that grubby would change.
func (m *blsMenu) plan(s *System, e Edit) (*Plan, error) {
	p := &Plan{}
	for _, b := range m.entries {
		own := e
		if slices.Contains(strings.Fields(b.cmdline()), "$kernelopts") {
			own = e.without() // its words are in the environment block
		}
		b.edit(own)
		if err := p.add(s, b.file.name, b.file.old, b.file.content()); err != nil {
			return nil, err
		}
	}
	if err := p.kernelopts(s, m, e); err != nil {
		return nil, err
	}
	if err := p.kernelCmdline(s, e); err != nil {
		return nil, err
	}
	if !s.exists(grubDefaults) {
		return p, nil
	}
	// grub2-mkconfig writes /etc/kernel/cmdline from these.
	g, err := s.readGrubFiles()
	if err != nil || slices.Equal(g.words(e.Name), e.Words) {
		return p, err
	}
	changed, err := g.change(e)
	if err != nil {
		return nil, err
	}
	return p, p.grubDiff(s, g, changed)
}

// kernelCmdline changes /etc/kernel/cmdline if the machine has it: the words of the kernels
// that kernel-install(8) will install.
func (p *Plan) kernelCmdline(s *System, e Edit) error {
	data, err := s.readOptional(kernelCmdline)
	if err != nil || data == nil {
		return err
	}
	if err := s.emptyCmdline(kernelCmdline, data, e); err != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("%v. It stays. %s", err, advice.For(err)))
		return nil
	}
	changed, err := editCmdlineFile(kernelCmdline, data, e)
	if err != nil {
		return err
	}
	return p.add(s, kernelCmdline, data, changed)
}

// loaderWords are words that a loader adds to the command line of the running kernel.
var loaderWords = []string{"BOOT_IMAGE", "initrd"}

// emptyCmdline is an error if a file of the command line has no words, but the running kernel
// has some with which it found its root: with our words alone, the next one would not.
func (s *System) emptyCmdline(name string, data []byte, e Edit) error {
	for line := range strings.Lines(string(data)) {
		if !isComment(line) && strings.TrimSpace(line) != "" {
			return nil
		}
	}
	running, err := s.read("/proc/cmdline")
	line := strings.TrimSpace(string(running))
	if err != nil || len(e.Words) == 0 || len(Of(line, "root")) == 0 {
		return nil
	}
	for _, w := range loaderWords {
		line = Edit{Name: w}.Apply(line)
	}
	return advice.With(fmt.Errorf("%s is empty, and a kernel with the new words alone would not find its root file system", name),
		"Put the whole command line into it: "+e.Apply(line))
}

// editCmdlineFile edits a file that is a command line. Its lines are joined by who reads it,
// and # begins a comment.
func editCmdlineFile(name string, data []byte, e Edit) ([]byte, error) {
	t := newTextFile(name, data)
	at, last := -1, -1
	var all []string
	for i := range t.lines {
		text := t.text(i)
		if strings.IndexByte(text, 0) >= 0 {
			return nil, t.fault(i, "a zero byte: not a text file")
		}
		if isComment(text) {
			continue
		}
		if last = i; at < 0 && len(Of(text, e.Name)) > 0 {
			at = i
		}
		all = append(all, text)
	}
	if e.holds(strings.Join(all, " ")) {
		return data, nil
	}
	if last < 0 {
		t.insert(len(t.lines)-1, strings.Join(e.Words, " "))
		return t.content(), nil
	}
	if at < 0 {
		at = last
	}
	for i := len(t.lines) - 1; i >= 0; i-- {
		text, own := t.text(i), e.without()
		if i == at {
			own = e
		}
		switch changed := own.applyInside(text); {
		case isComment(text) || changed == text:
		case changed == "" && len(t.lines) > 1:
			t.remove(i)
		default:
			t.replace(i, changed)
		}
	}
	return t.content(), nil
}

func isComment(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), "#") }

// grubenvSize is the size of an environment block, in bytes; GRUB cannot enlarge it.
const grubenvSize = 1024

// kernelopts changes the variable of that name in the environment block, whose size stays.
func (p *Plan) kernelopts(s *System, m *blsMenu, e Edit) error {
	value, ok := m.block["kernelopts"]
	if !ok || e.done(value) {
		return nil
	}
	name := path.Join(path.Dir(m.config), "grubenv")
	data, err := s.read(name)
	if err != nil {
		return err
	}
	t := newTextFile(name, data)
	for i := range t.lines {
		if text := t.text(i); strings.HasPrefix(text, "kernelopts=") {
			t.replace(i, "kernelopts="+e.Apply(strings.TrimPrefix(text, "kernelopts=")))
		}
	}
	text := strings.TrimRight(string(t.content()), "#")
	if len(text) > grubenvSize {
		return fmt.Errorf("%s: no room for %s, its %d bytes are full", name, strings.Join(e.Words, " "), grubenvSize)
	}
	return p.add(s, name, data, []byte(text+strings.Repeat("#", grubenvSize-len(text))))
}

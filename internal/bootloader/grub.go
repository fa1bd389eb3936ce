package bootloader

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"ukdump/internal/advice"
)

const (
	grubDefaults = "/etc/default/grub"
	grubDropIns  = "/etc/default/grub.d"
	grubOwn      = grubDropIns + "/ukdump.cfg"

	// Words of all entries, and of those that are not for recovery (info grub, "Simple
	// configuration"). New words go into the latter, as those of kdump-tools: a rescue
	// system has more use for the memory than for dumps.
	grubAll    = "GRUB_CMDLINE_LINUX"
	grubNormal = "GRUB_CMDLINE_LINUX_DEFAULT"

	grubHeader = "# Written by kdumpctl setup. update-grub reads this file.\n"
)

// grubConfigs is where grub.cfg is; the first that exists counts.
var grubConfigs = []string{"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"}

// grub is GRUB 2 whose entries grub-mkconfig writes.
type grub struct{}

func (grub) Name() string { return "grub" }

// grubConfig returns the path of grub.cfg, "" if there is none.
func (s *System) grubConfig() string {
	for _, name := range grubConfigs {
		if s.exists(name) {
			return name
		}
	}
	return ""
}

// grubMenu reads grub.cfg and the environment block beside it. It returns the block, too.
func (s *System) grubMenu(config string) (*grubMenu, map[string]string, error) {
	block, err := s.readOptional(path.Join(path.Dir(config), "grubenv"))
	if err != nil {
		return nil, nil, err
	}
	env := parseGrubenv(block)
	data, err := s.readText(config)
	if err != nil {
		return nil, nil, err
	}
	menu, err := parseGrubMenu(config, data, env)
	if p := new(Plan); err != nil && p.mkconfig(s, Edit{}) == nil {
		err = advice.With(err, "Run "+strings.Join(p.Commands[0].Args, " ")+", which writes the file again, then run kdumpctl setup again.")
	}
	return menu, env, err
}

func (grub) Find(s *System) (*Found, error) {
	config := s.grubConfig()
	if config == "" {
		return nil, nil
	}
	menu, _, err := s.grubMenu(config)
	if err != nil {
		return nil, err
	}
	if menu.bls {
		return nil, nil // entries of the Boot Loader Specification
	}
	e := s.evidence()
	f := &Found{Loader: "grub", Files: []string{config}}
	if s.exists(grubDefaults) {
		f.Files = []string{grubDefaults, config}
	}
	f.Booted, f.Because = e.owned(programGRUB)
	if e.program == programGRUB {
		f.Version = e.version
	}
	return f, nil
}

// grubFiles are the shell files that grub-mkconfig reads, in its order.
type grubFiles struct {
	files   []*shellFile
	dropIns bool // it reads those in grubDropIns, too
}

// readGrubFiles reads the files. Upstream's grub-mkconfig reads /etc/default/grub only;
// that of Debian and Ubuntu also the directory.
func (s *System) readGrubFiles() (*grubFiles, error) {
	g := &grubFiles{}
	data, err := s.readOptional(grubDefaults)
	if err != nil {
		return nil, err
	}
	names := []string{grubDefaults}
	if data == nil {
		names = nil
	}
	var script []byte
	if program := s.program("grub-mkconfig", "grub2-mkconfig"); program != "" {
		if script, err = s.read(program); err != nil {
			return nil, err
		}
	}
	if bytes.Contains(script, []byte("default/grub.d/")) {
		g.dropIns = true
		more, err := s.matching(grubDropIns, "*.cfg")
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	for _, name := range names {
		f, err := s.readShell(name)
		if err != nil {
			return nil, err
		}
		if err := f.understood(grubAll, grubNormal); err != nil {
			return nil, err
		}
		g.files = append(g.files, f)
	}
	return g, nil
}

// words returns the words of normal entries that set the parameter name.
func (g *grubFiles) words(name string) []string {
	env := make(map[string]string)
	for _, f := range g.files {
		f.expand(env)
	}
	return Of(env[grubAll]+" "+env[grubNormal], name)
}

// replace returns a copy with other content of one file, nil if it is to be removed.
func (g *grubFiles) replace(name string, data []byte) (*grubFiles, error) {
	c := &grubFiles{files: slices.Clone(g.files), dropIns: g.dropIns}
	i := slices.IndexFunc(c.files, func(f *shellFile) bool { return f.name == name })
	if data == nil {
		c.files = slices.Delete(c.files, i, i+1)
		return c, nil
	}
	f, err := parseShell(name, data)
	if err != nil {
		return nil, err
	}
	if i >= 0 {
		c.files[i] = f
		return c, nil
	}
	c.files = append(c.files, f)
	slices.SortFunc(c.files, func(a, b *shellFile) int { return strings.Compare(a.name, b.name) })
	return c, nil
}

// A grubPlace is an assignment that can take the words.
type grubPlace struct {
	file  string
	index int // of the assignment; -1: a new one
}

// places returns where words may go: the assignments that have some, then our file or a
// new assignment.
func (g *grubFiles) places(e Edit) []grubPlace {
	var have, own, last []grubPlace
	for _, f := range g.files {
		for i, a := range f.vars {
			if a.name != grubAll && a.name != grubNormal || a.array {
				continue
			}
			p := grubPlace{f.name, i}
			switch {
			case len(Of(a.text(), e.Name)) > 0:
				have = append(have, p)
			case a.name == grubNormal && f.name == grubOwn:
				own = append(own, p)
			case a.name == grubNormal && f.name == grubDefaults:
				last = []grubPlace{p}
			}
		}
	}
	if len(e.Words) == 0 {
		return have[:min(1, len(have))]
	}
	if g.dropIns {
		return append(append(have, own...), grubPlace{grubOwn, -1})
	}
	return append(append(have, last...), grubPlace{grubDefaults, -1})
}

// apply returns the files with the words at p and nowhere else.
func (g *grubFiles) apply(e Edit, p grubPlace) (*grubFiles, error) {
	c := g
	for _, f := range g.files {
		var others []int
		for i, a := range f.vars {
			ours := a.name == grubAll || a.name == grubNormal
			if ours && len(Of(a.text(), e.Name)) > 0 && (f.name != p.file || i != p.index || len(e.Words) == 0) {
				others = append(others, i)
			}
		}
		data := f.data
		var err error
		if f.name == p.file && p.index >= 0 && len(e.Words) > 0 {
			// This takes no lines away, so that the indexes stay.
			if data, err = f.edit(e, p.index); err != nil {
				return nil, err
			}
		}
		if data, err = without(f.name, data, e.Name, others); err != nil {
			return nil, err
		}
		if data != nil && bytes.Equal(data, f.data) {
			continue
		}
		if c, err = c.replace(f.name, data); err != nil {
			return nil, err
		}
	}
	if p.index >= 0 {
		return c, nil
	}
	return c.add(e, p.file)
}

// without removes the parameter name from assignments of a file. A file of ours that has
// no words then is nil.
func without(file string, data []byte, name string, indexes []int) ([]byte, error) {
	if len(indexes) == 0 {
		return data, nil
	}
	f, err := parseShell(file, data)
	if err != nil {
		return nil, err
	}
	data, err = f.edit(Edit{Name: name}, indexes...)
	if err == nil && file == grubOwn && onlyReferences(file, data) {
		return nil, nil
	}
	return data, err
}

// add puts a new assignment into a file.
func (g *grubFiles) add(e Edit, name string) (*grubFiles, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	words := strings.Join(e.Words, " ")
	i := slices.IndexFunc(g.files, func(f *shellFile) bool { return f.name == name })
	if name == grubOwn {
		text := grubNormal + `="$` + grubNormal + " " + words + "\"\n"
		if i >= 0 {
			return g.replace(name, append(slices.Clone(g.files[i].data), text...))
		}
		return g.replace(name, []byte(grubHeader+text))
	}
	f := &shellFile{name: name}
	if i >= 0 {
		f = g.files[i]
	}
	if f.last(grubNormal) >= 0 {
		words = "$" + grubNormal + " " + words
	}
	return g.replace(name, f.with(grubNormal, words))
}

// onlyReferences reports whether a file of ours adds no words any more.
func onlyReferences(name string, data []byte) bool {
	f, err := parseShell(name, data)
	if err != nil || len(f.code) > 0 || !bytes.HasPrefix(data, []byte(grubHeader)) {
		return false
	}
	return !slices.ContainsFunc(f.vars, func(a assignment) bool {
		return strings.Trim(a.text(), " \x01") != "" || a.name != grubNormal
	})
}

func (grub) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	g, err := s.readGrubFiles()
	if err != nil {
		return nil, err
	}
	changed := g
	if !slices.Equal(g.words(e.Name), e.Words) {
		if changed, err = g.change(e); err != nil {
			return nil, err
		}
	}
	p := &Plan{}
	if err := p.grubDiff(s, g, changed); err != nil {
		return nil, err
	}
	stale, err := s.grubStale(e, p)
	if err != nil || len(p.Files) == 0 && !stale {
		return p, err
	}
	return p, p.mkconfig(s, e)
}

// change returns the files with the words in the first place where they have an effect.
func (g *grubFiles) change(e Edit) (*grubFiles, error) {
	for _, p := range g.places(e) {
		c, err := g.apply(e, p)
		if err != nil {
			return nil, err
		}
		if slices.Equal(c.words(e.Name), e.Words) {
			return c, nil
		}
	}
	names := []string{grubDefaults}
	for _, f := range g.files {
		if f.last(grubAll) >= 0 || f.last(grubNormal) >= 0 {
			names = append(names, f.name)
		}
	}
	return nil, fmt.Errorf("%s in %s: another variable or command decides about it", e.Name, strings.Join(slices.Compact(names), ", "))
}

// grubDiff puts the files that differ into the plan.
func (p *Plan) grubDiff(s *System, from, to *grubFiles) error {
	content := func(g *grubFiles) map[string][]byte {
		m := make(map[string][]byte)
		for _, f := range g.files {
			m[f.name] = f.data
		}
		return m
	}
	old, changed := content(from), content(to)
	all := maps.Clone(old)
	maps.Copy(all, changed)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if bytes.Equal(old[name], changed[name]) {
			continue
		}
		if err := p.add(s, name, old[name], changed[name]); err != nil {
			return err
		}
	}
	return nil
}

// grubStale reports whether an entry that grub-mkconfig has written for this system has
// other words than e, and notes if the default entry is none of these.
func (s *System) grubStale(e Edit, p *Plan) (bool, error) {
	config := s.grubConfig()
	if config == "" {
		return true, nil
	}
	menu, env, err := s.grubMenu(config)
	if err != nil {
		return false, err
	}
	stale, written, right := false, false, false
	menu.root.walk(func(n *menuNode) {
		for _, l := range n.lines {
			same := e.holds(l.cmdline)
			ours := strings.HasPrefix(path.Base(n.section), "10_linux") && !strings.Contains(n.id, "-recovery-")
			written, right, stale = written || ours, right || same, stale || ours && !same
		}
	})
	// A file that is empty, or that somebody else wrote.
	stale = stale || !written && !right && len(e.Words) > 0
	n := menu.defaultEntry(env)
	if n != nil && n.section != "" && !strings.HasPrefix(path.Base(n.section), "10_linux") {
		p.Notes = append(p.Notes, fmt.Sprintf("The default entry %q is from %s and does not get the words.", n.title, n.section))
	}
	return stale, nil
}

// mkconfig adds the command that writes grub.cfg.
func (p *Plan) mkconfig(s *System, e Edit) error {
	config := s.grubConfig()
	if config == "" {
		config = grubConfigs[0]
	}
	why := "writes " + config
	writes := []string{config, config + ".new"} // grub-mkconfig leaves the latter if it fails
	if s.program("update-grub") != "" {
		p.Commands = append(p.Commands, Command{Args: []string{"update-grub"}, Why: why, Writes: writes})
		return nil
	}
	for _, name := range []string{"grub-mkconfig", "grub2-mkconfig"} {
		if s.program(name) != "" {
			p.Commands = append(p.Commands, Command{Args: []string{name, "-o", config}, Why: why, Writes: writes})
			return nil
		}
	}
	err := errors.New("neither update-grub nor grub-mkconfig is installed")
	return advice.With(err, "Put "+strings.Join(e.Words, " ")+" into the lines \"linux\" of "+config+" by hand.")
}

// defaultEntry returns the entry that boots next if nobody chooses, nil if not known.
// env is the environment block.
func (m *grubMenu) defaultEntry(env map[string]string) *menuNode {
	name := env["next_entry"] // grub-reboot(8)
	if name == "" {
		name = m.env["default"]
	}
	if name == "" {
		name = "0"
	}
	return m.root.find(name)
}

func (grub) Next(s *System) ([]Entry, error) {
	config := s.grubConfig()
	if config == "" {
		return nil, errors.New("no grub.cfg in /boot/grub or /boot/grub2")
	}
	menu, env, err := s.grubMenu(config)
	if err != nil {
		return nil, err
	}
	def := menu.defaultEntry(env)
	var entries []Entry
	menu.root.walk(func(n *menuNode) {
		for _, l := range n.lines {
			source := fmt.Sprintf("%s:%d", config, l.line)
			entries = append(entries, Entry{Title: n.title, Source: source, Cmdline: l.cmdline, Default: n == def})
		}
	})
	return entries, nil
}

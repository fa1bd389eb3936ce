package bootloader

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// uki are unified kernel images, which have the command line inside. The tool that makes
// them takes it from its configuration and then has to make them again.
type uki struct{}

func (uki) Name() string { return "uki" }

func isImage(it *menuItem) bool { return it.bls == nil }

func (uki) Find(s *System) (*Found, error) {
	e := s.evidence()
	f := &Found{Loader: "uki", Version: e.stub}
	switch {
	case e.manager != "":
		f.Booted, f.Because = e.owned("")
	case e.stub != "":
		f.Booted, f.Because = Yes, fmt.Sprintf("the EFI variable StubInfo is %.80q", e.stub)
	case e.program != "":
		f.Booted, f.Because = No, e.because+", without the stub of a unified image"
	}
	m, err := s.bootMenu()
	switch {
	case err != nil && f.Booted == Yes:
		return f, nil // Plan has the error
	case err != nil && f.Booted == No:
		return nil, nil
	case err != nil || m == nil:
		return nil, err
	}
	if f.Files = m.sources(isImage); len(f.Files) == 0 && f.Booted != Yes {
		return nil, nil
	}
	return f, nil
}

func (uki) Next(s *System) ([]Entry, error) {
	m, err := s.needBootMenu("unified images")
	if err != nil {
		return nil, err
	}
	return m.entries(isImage), nil
}

// A ukiTool makes unified images.
type ukiTool struct {
	name string
	used func(s *System) (bool, error)
	// configure puts the changes of the configuration into the plan. It reports whether
	// the tool has a place for the words; without one the user must make it.
	configure func(s *System, p *Plan, e Edit) (ok bool, err error)
	place     string // where the user has to put the command line then
	commands  func(s *System) [][]string
}

// ukiTools in the order in which they are asked: the later ones are often installed beside
// an earlier one that makes the images.
var ukiTools = []ukiTool{
	{"mkinitcpio", usesMkinitcpio, configureMkinitcpio, kernelCmdline, fixed("mkinitcpio", "-P")},
	{"kernel-install", usesKernelInstall, configureKernelInstall, kernelCmdline, kernelInstallCommands},
	{"dracut", usesDracut, configureDracut, "kernel_cmdline in " + dracutDir, fixed(dracutMake...)},
}

func fixed(args ...string) func(*System) [][]string {
	return func(*System) [][]string { return [][]string{args} }
}

func (uki) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	m, err := s.needBootMenu("unified images")
	if err != nil {
		return nil, err
	}
	words := strings.Join(e.Words, " ")
	for _, tool := range ukiTools {
		used, err := tool.used(s)
		if err != nil {
			return nil, err
		}
		if !used {
			continue
		}
		p := &Plan{}
		ok, err := tool.configure(s, p, e)
		if err != nil {
			return nil, err
		}
		if !ok {
			return p.byHand(fmt.Sprintf("%s takes the command line of the running kernel. Put the words %q, with all others, into %s and make the images again.", tool.name, words, tool.place)), nil
		}
		if len(p.Files) > 0 || m.stale(e, isImage) {
			p.rebuild(s, m, tool)
		}
		return p, nil
	}
	if !m.stale(e, isImage) {
		return &Plan{}, nil
	}
	return (&Plan{}).byHand(fmt.Sprintf("ukdump does not know the tool that makes %s. Make the images again with %q in their command line.",
		strings.Join(m.sources(isImage), ", "), words)), nil
}

func (p *Plan) byHand(text string) *Plan {
	p.Files, p.Manual = nil, text
	return p
}

// rebuild adds the commands that make the images.
func (p *Plan) rebuild(s *System, m *bootMenu, tool ukiTool) {
	var writes []string
	for _, dir := range m.dirs() {
		writes = append(writes, path.Join(s.inESP(dir, "EFI/Linux"), "*.efi"))
	}
	for _, args := range tool.commands(s) {
		p.Commands = append(p.Commands, Command{Args: args, Why: "makes the unified images in EFI/Linux", Writes: writes})
	}
}

// An ukiPreset is a file of presets of mkinitcpio(8).
func (s *System) ukiPresets() ([]*shellFile, error) {
	names, err := s.matching("/etc/mkinitcpio.d", "*.preset")
	if err != nil {
		return nil, err
	}
	var files []*shellFile
	for _, name := range names {
		f, err := s.readShell(name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(f.vars, func(a assignment) bool { return strings.HasSuffix(a.name, "_uki") && a.text() != "" }) {
			files = append(files, f)
		}
	}
	return files, nil
}

func usesMkinitcpio(s *System) (bool, error) {
	if s.program("mkinitcpio") == "" {
		return false, nil
	}
	files, err := s.ukiPresets()
	return len(files) > 0, err
}

const (
	cmdlineDir = "/etc/cmdline.d"
	cmdlineOwn = cmdlineDir + "/ukdump.conf"
)

// configureMkinitcpio edits the files that mkinitcpio joins: /etc/kernel/cmdline and those
// in /etc/cmdline.d, or those that presets name.
func configureMkinitcpio(s *System, p *Plan, e Edit) (bool, error) {
	presets, err := s.ukiPresets()
	if err != nil {
		return false, err
	}
	files, err := namedCmdlines(presets)
	if err != nil {
		return false, err
	}
	if len(files) > 0 {
		for _, name := range files {
			if err := p.editCmdline(s, name, e); err != nil {
				return false, err
			}
		}
		return true, nil
	}
	dropIns, err := s.matching(cmdlineDir, "*.conf")
	if err != nil {
		return false, err
	}
	return p.editJoined(s, dropIns, e)
}

// namedCmdlines returns the files of the command line that presets name: NAME_cmdline, or
// --cmdline in NAME_options.
func namedCmdlines(presets []*shellFile) ([]string, error) {
	var names []string
	for _, f := range presets {
		env := make(map[string]string)
		f.expand(env)
		for _, a := range f.vars {
			value := env[a.name]
			switch {
			case strings.HasSuffix(a.name, "_cmdline"):
			case strings.HasSuffix(a.name, "_options") && strings.Contains(value, "--cmdline"):
				fields := strings.Fields(strings.ReplaceAll(value, "--cmdline=", "--cmdline "))
				value = ""
				if i := slices.Index(fields, "--cmdline"); i >= 0 && i+1 < len(fields) {
					value = fields[i+1]
				}
			default:
				continue
			}
			if !path.IsAbs(value) || strings.ContainsRune(value, opaqueChar) {
				return nil, &placeError{lineError(f.name, a.line, fmt.Sprintf("a command line in a file that ukdump does not find: %.80s", f.data[a.value.start:a.value.end])), "that file", "mkinitcpio -P"}
			}
			names = append(names, value)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// editCmdline edits a file that is a command line by itself.
func (p *Plan) editCmdline(s *System, name string, e Edit) error {
	data, err := s.readText(name)
	if err != nil {
		return err
	}
	if err := s.emptyCmdline(name, data, e); err != nil {
		return err
	}
	changed, err := editCmdlineFile(name, data, e)
	if err != nil {
		return err
	}
	return p.add(s, name, data, changed)
}

// editJoined edits /etc/kernel/cmdline and drop-ins that are one command line together. A
// new word goes into the first one, or into a drop-in of ours if only those are there.
func (p *Plan) editJoined(s *System, dropIns []string, e Edit) (bool, error) {
	names := dropIns
	if s.exists(kernelCmdline) {
		names = append([]string{kernelCmdline}, dropIns...)
	}
	if len(names) == 0 {
		return false, nil
	}
	content := make(map[string][]byte)
	target := ""
	for _, name := range names {
		data, err := s.readText(name)
		if err != nil {
			return false, err
		}
		content[name] = data
		if target == "" && len(cmdlineWords(data, e.Name)) > 0 {
			target = name
		}
	}
	if err := s.emptyCmdline(names[0], slices.Concat(slices.Collect(maps.Values(content))...), e); err != nil {
		return false, err
	}
	switch {
	case target != "":
	case names[0] == kernelCmdline:
		target = kernelCmdline
	case len(e.Words) > 0 && content[cmdlineOwn] == nil:
		target = cmdlineOwn
		if err := p.add(s, cmdlineOwn, nil, []byte(strings.Join(e.Words, " ")+"\n")); err != nil {
			return false, err
		}
	case len(e.Words) > 0:
		target = cmdlineOwn
	}
	for _, name := range names {
		own := e.without()
		if name == target {
			own = e
		}
		changed, err := editCmdlineFile(name, content[name], own)
		if err != nil {
			return false, err
		}
		if name == cmdlineOwn && len(bytes.TrimSpace(changed)) == 0 {
			changed = nil
		}
		if err := p.add(s, name, content[name], changed); err != nil {
			return false, err
		}
	}
	return true, nil
}

// cmdlineWords returns the words of a file that set the parameter name, without those in
// comments.
func cmdlineWords(data []byte, name string) []string {
	var words []string
	for line := range strings.Lines(string(data)) {
		if !isComment(line) {
			words = append(words, Of(line, name)...)
		}
	}
	return words
}

package bootloader

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ukdump/internal/advice"
)

const (
	sdbootManage = "/etc/sdboot-manage.conf"
	sdbootWords  = "LINUX_OPTIONS"
)

var sdbootGen = []string{"sdboot-manage", "gen"}

// systemdBoot is systemd-boot with entries of the Boot Loader Specification.
type systemdBoot struct{}

func (systemdBoot) Name() string { return "systemd-boot" }

func (systemdBoot) Find(s *System) (*Found, error) {
	e := s.evidence()
	f := &Found{Loader: "systemd-boot"}
	f.Booted, f.Because = e.owned(programSystemdBoot)
	if f.Booted == Yes && e.stub != "" {
		f.Booted, f.Because = No, "the kernel was started from a unified kernel image"
	}
	if e.program == programSystemdBoot {
		f.Version = e.version
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
	loaders, err := s.matching(s.inESP(m.esp, "EFI/systemd"), "systemd-boot*.efi")
	if err != nil {
		return nil, err
	}
	files := m.sources(func(it *menuItem) bool { return it.bls != nil })
	if len(loaders) == 0 && e.program != programSystemdBoot || len(files) == 0 && f.Booted != Yes {
		return nil, nil
	}
	f.Files = append(loaders, files...)
	return f, nil
}

// sources returns the files of the items that keep accepts.
func (m *bootMenu) sources(keep func(*menuItem) bool) []string {
	var files []string
	for _, e := range m.entries(keep) {
		files = append(files, e.Source)
	}
	return files
}

func (systemdBoot) Next(s *System) ([]Entry, error) {
	m, err := s.needBootMenu("systemd-boot")
	if err != nil {
		return nil, err
	}
	return m.entries(func(*menuItem) bool { return true }), nil
}

func (systemdBoot) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	m, err := s.needBootMenu("systemd-boot")
	if err != nil {
		return nil, err
	}
	if s.exists(sdbootManage) && s.program("sdboot-manage") != "" {
		return m.planSdbootManage(s, e)
	}
	p := &Plan{}
	own, err := p.ownEntries(s, m)
	if err != nil {
		return nil, err
	}
	if len(own) == 0 {
		err := fmt.Errorf("systemd-boot: no entries of this system with a command line in %s", strings.Join(m.dirs(), ", "))
		return nil, advice.With(err, "If the kernels are unified images, use --loader=uki.")
	}
	for _, b := range own {
		b.edit(e)
		if err := p.add(s, b.file.name, b.file.old, b.file.content()); err != nil {
			return nil, err
		}
	}
	if err := p.kernelCmdline(s, e); err != nil {
		return nil, err
	}
	// 90-loaderentry.install takes /proc/cmdline if there is no file.
	if len(p.Files) > 0 && !s.exists(kernelCmdline) && s.program("kernel-install") != "" {
		p.Notes = append(p.Notes, "A kernel that is installed before the next boot gets the command line of the running kernel, as "+kernelCmdline+" is missing.")
	}
	return p, nil
}

// machineToken matches the beginning of an entry's name that kernel-install(8) has made from the
// machine-id(5).
var machineToken = regexp.MustCompile(`^[0-9a-f]{32}-`)

// ownEntries returns the entries of this system. Those of others, which share the
// partition, are noted.
func (p *Plan) ownEntries(s *System, m *bootMenu) ([]*blsEntry, error) {
	data, err := s.readOptional("/etc/machine-id")
	if err != nil {
		return nil, err
	}
	machine := strings.TrimSpace(string(data))
	var own []*blsEntry
	for _, it := range m.items {
		if it.bls == nil {
			continue
		}
		id := it.machineID
		if t := machineToken.FindString(it.id); id == "" && t != "" {
			id = strings.TrimSuffix(t, "-")
		}
		if id != "" && machine != "" && id != machine {
			p.Notes = append(p.Notes, it.Source+" is an entry of another system and stays.")
			continue
		}
		own = append(own, it.bls)
	}
	return own, nil
}

// planSdbootManage changes the settings of sdboot-manage(1) of CachyOS and Manjaro, which
// writes the entries.
func (m *bootMenu) planSdbootManage(s *System, e Edit) (*Plan, error) {
	f, err := s.readShell(sdbootManage)
	if err != nil {
		return nil, err
	}
	if err := f.understood(sdbootWords); err != nil {
		return nil, thenRun(err, sdbootGen...)
	}
	data, err := f.set(e, sdbootWords)
	if err != nil {
		return nil, thenRun(err, sdbootGen...)
	}
	p := &Plan{}
	if err := p.add(s, sdbootManage, f.data, data); err != nil {
		return nil, err
	}
	if len(p.Files) == 0 && !m.stale(e, func(it *menuItem) bool { return it.bls != nil }) {
		return p, nil
	}
	c := Command{Args: sdbootGen, Why: "writes the entries of systemd-boot"}
	for _, dir := range m.dirs() {
		c.Writes = append(c.Writes, path.Join(s.inESP(dir, "loader/entries"), "*.conf"))
	}
	p.Commands = append(p.Commands, c)
	return p, nil
}

// set returns the file with the words in the variable name, which gets an assignment if it
// has none.
func (f *shellFile) set(e Edit, name string) ([]byte, error) {
	env := make(map[string]string)
	f.expand(env)
	if e.holds(env[name]) {
		return f.data, nil
	}
	var all []int
	for i, a := range f.vars {
		if a.name == name && !a.array && len(Of(a.text(), e.Name)) > 0 {
			all = append(all, i)
		}
	}
	last := f.last(name)
	switch {
	case len(e.Words) > 0 && last < 0:
		if err := e.plain(); err != nil {
			return nil, err
		}
		return f.with(name, strings.Join(e.Words, " ")), nil
	case len(e.Words) == 0:
		return f.verified(e, name, all...)
	}
	// Into the last one, which counts, and out of the others.
	all = slices.DeleteFunc(all, func(i int) bool { return i == last })
	data, err := f.edit(e, last)
	if err != nil {
		return nil, err
	}
	changed, err := parseShell(f.name, data)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return changed.verified(e, name)
	}
	if data, err = changed.edit(e.without(), all...); err != nil {
		return nil, err
	}
	if changed, err = parseShell(f.name, data); err != nil {
		return nil, err
	}
	return changed.verified(e, name)
}

// verified returns the file without the parameter in the given assignments, if the
// variable name then has the words of e.
func (f *shellFile) verified(e Edit, name string, without ...int) ([]byte, error) {
	data, err := f.edit(e.without(), without...)
	if err != nil {
		return nil, err
	}
	changed, err := parseShell(f.name, data)
	if err != nil {
		return nil, err
	}
	env := make(map[string]string)
	changed.expand(env)
	if !e.holds(env[name]) {
		err := fmt.Errorf("%s in %s: another variable or command decides about it", e.Name, f.name)
		return nil, &placeError{error: err, place: name + " of " + f.name}
	}
	return data, nil
}

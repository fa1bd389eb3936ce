package bootloader

import (
	"path"
	"slices"
	"strings"
)

// extlinux is SYSLINUX in its variants, and U-Boot where it reads the same file.
type extlinux struct{}

func (extlinux) Name() string { return "extlinux" }

// extlinuxConfigs is where the files are: below the root of a partition for U-Boot, where
// distributions install EXTLINUX, and beside the EFI program.
var extlinuxConfigs = []string{
	"extlinux/extlinux.conf", "extlinux.conf", "syslinux/syslinux.cfg", "syslinux/extlinux.conf", "syslinux.cfg",
	"EFI/syslinux/syslinux.cfg", "EFI/BOOT/syslinux.cfg",
}

// extlinuxFiles returns the configurations of the machine that no tool writes again.
func (s *System) extlinuxFiles() ([]string, error) {
	roots, err := s.firmwareRoots()
	if err != nil {
		return nil, err
	}
	roots = append(roots, "/boot/firmware", "/")
	var files []string
	for _, root := range roots {
		for _, name := range extlinuxConfigs {
			file := s.inESP(root, name)
			if s.exists(file) && !slices.Contains(files, file) && s.extlinuxTool(file) == nil {
				files = append(files, file)
			}
		}
	}
	return files, nil
}

func (extlinux) Find(s *System) (*Found, error) {
	files, err := s.extlinuxFiles()
	if err != nil || len(files) == 0 {
		return nil, err
	}
	e := s.evidence()
	found := &Found{Loader: "extlinux", Files: files}
	found.Booted, found.Because = e.owned(programSyslinux)
	return found, nil
}

// extlinuxParsed parses the configurations with the files that they include. Each set has
// the file that SYSLINUX reads first in front.
func (s *System) extlinuxParsed() (sets [][]*extlinuxFile, err error) {
	names, err := s.extlinuxFiles()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		set, err := s.extlinuxSet(name, path.Dir(name), nil)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// extlinuxSet adds a file to the set, and the files that it includes. Their names are from
// the directory of the first file, or, with a slash in front, from the partition's root.
func (s *System) extlinuxSet(name, dir string, set []*extlinuxFile) ([]*extlinuxFile, error) {
	t, err := s.textFile(name)
	if err != nil {
		return nil, err
	}
	f, err := readExtlinux(t)
	if err != nil {
		return nil, err
	}
	set = append(set, f)
	for _, include := range f.includes {
		for _, at := range []string{path.Join(dir, include), path.Join("/boot", include), path.Join("/", include)} {
			known := slices.ContainsFunc(set, func(f *extlinuxFile) bool { return f.name == at })
			if strings.HasPrefix(include, "/") && at == path.Join(dir, include) || !known && !s.exists(at) {
				continue
			}
			if !known {
				if set, err = s.extlinuxSet(at, dir, set); err != nil {
					return nil, err
				}
			}
			break
		}
	}
	return set, nil
}

func (extlinux) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	sets, err := s.extlinuxParsed()
	if err != nil {
		return nil, err
	}
	p := new(Plan)
	for _, set := range sets {
		for _, f := range set {
			f.edit(e)
			if err := p.add(s, f.name, f.old, f.content()); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func (extlinux) Next(s *System) ([]Entry, error) {
	sets, err := s.extlinuxParsed()
	if err != nil {
		return nil, err
	}
	return extlinuxEntries(sets), nil
}

// extlinuxEntries returns what configurations boot. Of several, the first is likely the one
// that is read.
func extlinuxEntries(sets [][]*extlinuxFile) []Entry {
	var entries []Entry
	for i, set := range sets {
		start := ""
		if i == 0 {
			start = extlinuxStart(set)
		}
		for _, f := range set {
			entries = append(entries, f.boot(start)...)
		}
	}
	return entries
}

// extlinuxStart returns the label that boots if nobody chooses: the one with MENU DEFAULT,
// else that of DEFAULT, which can name a menu instead, else the first.
func extlinuxStart(set []*extlinuxFile) string {
	start, first := "", ""
	for _, f := range set {
		if f.chosen != "" {
			return f.chosen
		}
		if f.start != "" {
			start, _, _ = strings.Cut(f.start, " ")
		}
		if first == "" && len(f.labels) > 0 {
			first = f.labels[0].name
		}
	}
	if start == "" || strings.HasSuffix(start, ".c32") {
		return first
	}
	return start
}

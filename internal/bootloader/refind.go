package bootloader

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// refind is rEFInd, which takes options from refind_linux.conf beside the kernel and from
// stanzas of refind.conf.
type refind struct{}

func (refind) Name() string { return "refind" }

// refindConfigs returns the refind.conf of the machine, the one beside the program first.
func (s *System) refindConfigs() ([]string, error) {
	esp, err := s.esp()
	if err != nil || esp == "" {
		return nil, err
	}
	dirs := []string{"EFI/refind", "EFI/BOOT", "EFI/Microsoft/Boot"}
	if o, ok := s.bootOption(); ok {
		dirs = slices.Insert(dirs, 0, path.Dir(strings.ReplaceAll(o.Path, `\`, "/")))
	}
	var configs []string
	for _, dir := range dirs {
		conf := s.inESP(esp, path.Join(dir, "refind.conf"))
		if s.exists(conf) && !slices.Contains(configs, conf) {
			configs = append(configs, conf)
		}
	}
	return configs, nil
}

// refindLinuxFiles returns the refind_linux.conf of the directories that have kernels.
func (s *System) refindLinuxFiles() ([]string, error) {
	esp, err := s.esp()
	if err != nil {
		return nil, err
	}
	dirs := []string{"/boot"}
	if esp != "" {
		if esp != "/boot" {
			dirs = append(dirs, esp)
		}
		vendors := s.inESP(esp, "EFI")
		names, err := s.names(vendors)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			dirs = append(dirs, path.Join(vendors, name))
		}
	}
	var files []string
	for _, dir := range dirs {
		if file := s.inESP(dir, "refind_linux.conf"); s.exists(file) {
			files = append(files, file)
		}
	}
	return files, nil
}

func (refind) Find(s *System) (*Found, error) {
	configs, err := s.refindConfigs()
	if err != nil || len(configs) == 0 {
		return nil, err
	}
	linux, err := s.refindLinuxFiles()
	if err != nil {
		return nil, err
	}
	e := s.evidence()
	found := &Found{Loader: "refind", Files: append(linux, configs...)}
	found.Booted, found.Because = e.owned(programREFInd)
	if e.program == programREFInd {
		found.Version = e.version
	}
	return found, nil
}

// refindFiles parses refind.conf with the files that it includes, which are beside it and
// include none.
func (s *System) refindFiles() ([]*refindFile, error) {
	configs, err := s.refindConfigs()
	if err != nil {
		return nil, err
	}
	var files []*refindFile
	for _, name := range configs {
		f, err := s.refindFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		for _, include := range f.includes {
			name := s.inESP(path.Dir(name), include)
			if !s.exists(name) || slices.ContainsFunc(files, func(f *refindFile) bool { return f.name == name }) {
				continue // rEFInd goes on without
			}
			f, err := s.refindFile(name)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
	}
	return files, nil
}

func (s *System) refindFile(name string) (*refindFile, error) {
	t, err := s.textFile(name)
	if err != nil {
		return nil, err
	}
	return readRefind(t)
}

func (refind) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	stanzas, err := s.refindFiles()
	if err != nil {
		return nil, err
	}
	linux, err := s.refindLinuxFiles()
	if err != nil {
		return nil, err
	}
	p := new(Plan)
	boots := false // something that can be edited
	for _, f := range stanzas {
		boots = boots || len(f.boot()) > 0
		f.edit(e)
		if err := p.add(s, f.name, f.old, f.content()); err != nil {
			return nil, err
		}
	}
	for _, name := range linux {
		t, err := s.textFile(name)
		if err != nil {
			return nil, err
		}
		lines, err := editRefindLinux(t, e)
		if err != nil {
			return nil, err
		}
		boots = boots || lines > 0
		if err := p.add(s, name, t.old, t.content()); err != nil {
			return nil, err
		}
	}
	switch {
	case boots || len(e.Words) == 0:
		return p, nil
	case len(linux) > 0:
		return &Plan{Manual: linux[0] + " has no line with a title and options. Run mkrlconf --force, which writes it again, then run kdumpctl setup again."}, nil
	}
	// rEFInd makes them up of /etc/fstab, or of the type of the root partition.
	return &Plan{Manual: "No file has the options that rEFInd gives the kernel. Run mkrlconf, which writes /boot/refind_linux.conf, then run kdumpctl setup again."}, nil
}

func (refind) Next(s *System) ([]Entry, error) {
	stanzas, err := s.refindFiles()
	if err != nil {
		return nil, err
	}
	linux, err := s.refindLinuxFiles()
	if err != nil {
		return nil, err
	}
	var entries, manual []Entry
	for _, f := range stanzas {
		manual = append(manual, f.boot()...)
	}
	for _, name := range linux {
		t, err := s.textFile(name)
		if err != nil {
			return nil, err
		}
		lines, err := refindLinuxLines(t)
		if err != nil {
			return nil, err
		}
		for n, i := range lines {
			tokens, _ := refindTokens(t.text(i))
			entries = append(entries, Entry{
				Title:   tokens[0].text,
				Source:  name + ":" + strconv.Itoa(i+1),
				Cmdline: tokens[1].text,
				// The first line boots if nobody opens the submenu of the kernel. With
				// stanzas, or several directories, it is not known which icon is chosen.
				Default: n == 0 && len(linux) == 1 && len(manual) == 0,
			})
		}
	}
	return append(entries, manual...), nil
}

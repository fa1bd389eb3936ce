package bootloader

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

// limine is Limine, by itself or with limine-entry-tool, which writes its entries.
type limine struct{}

func (limine) Name() string { return "limine" }

// limineDirs is where Limine looks for its configuration on each partition: beside its
// program, then in directories that all versions know. The order of these has changed
// (init_config_disk in common/lib/config.c of versions 8 and 12).
var limineDirs = []string{"EFI/limine", "EFI/BOOT", "EFI/arch-limine", "boot/limine", "boot", "limine", ""}

// limineConfigs returns the files of Limine, the one beside the program first. legacy is a
// limine.cfg, of versions before 8, if nothing else is there.
func (s *System) limineConfigs() (configs []string, legacy string, err error) {
	roots, err := s.firmwareRoots()
	if err != nil {
		return nil, "", err
	}
	dirs := slices.Clone(limineDirs)
	if o, ok := s.bootOption(); ok && strings.Contains(strings.ToLower(o.Path), "limine") {
		dirs = slices.Insert(dirs, 0, path.Dir(strings.ReplaceAll(o.Path, `\`, "/")))
	}
	for _, root := range roots {
		for _, dir := range dirs {
			at := s.inESP(root, dir)
			conf := s.inESP(at, "limine.conf")
			if s.exists(conf) && !slices.Contains(configs, conf) {
				configs = append(configs, conf)
			}
			if cfg := s.inESP(at, "limine.cfg"); legacy == "" && s.exists(cfg) {
				legacy = cfg
			}
		}
	}
	if len(configs) > 0 {
		legacy = ""
	}
	return configs, legacy, nil
}

// firmwareRoots returns the directories of the partitions that a loader can read by itself:
// the EFI system partition and /boot.
func (s *System) firmwareRoots() ([]string, error) {
	esp, err := s.esp()
	if err != nil {
		return nil, err
	}
	if esp == "" || esp == xbootldrDir {
		return []string{xbootldrDir}, nil
	}
	return []string{esp, xbootldrDir}, nil
}

func (limine) Find(s *System) (*Found, error) {
	configs, legacy, err := s.limineConfigs()
	if err != nil {
		return nil, err
	}
	if legacy != "" {
		configs = []string{legacy}
	}
	if len(configs) == 0 {
		return nil, nil
	}
	e := s.evidence()
	found := &Found{Loader: "limine", Files: configs}
	found.Booted, found.Because = e.owned(programLimine)
	if e.program == programLimine {
		found.Version = e.version
	}
	return found, nil
}

func (limine) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	configs, legacy, err := s.limineConfigs()
	if err != nil {
		return nil, err
	}
	if legacy != "" {
		return &Plan{Manual: fmt.Sprintf("%s has the format of Limine before version 8. Put %s into its lines CMDLINE=, "+
			"or rename it to limine.conf in the new format.", legacy, strings.Join(e.Words, " "))}, nil
	}
	files, byTool, err := s.limineFiles(configs)
	if err != nil {
		return nil, err
	}
	p := new(Plan)
	tool := s.program("limine-update", "limine-mkinitcpio")
	if tool == "" {
		byTool = false
	}
	if byTool {
		p, err = s.planEntryTool(e, entryTool{tool, configs, staleEntries(files, e)})
		if err != nil || p.Manual != "" {
			return p, err
		}
	}
	snapshots := false
	for _, f := range files {
		f.edit(e, func(entry *limineEntry) bool {
			snapshots = snapshots || entry.snapshot()
			return !entry.snapshot() && !(byTool && entry.byTool)
		})
		if err := p.add(s, f.name, f.old, f.content()); err != nil {
			return nil, err
		}
	}
	if len(p.Files) == 0 {
		return p, nil
	}
	if snapshots {
		p.Notes = append(p.Notes, "Entries of snapshots keep the command line of their time.")
	}
	if tool == "" {
		return s.sealedByHand(p, e)
	}
	return p, nil
}

// limineFiles parses the configurations. byTool reports whether limine-entry-tool has made
// an entry.
func (s *System) limineFiles(configs []string) (files []*limineFile, byTool bool, err error) {
	for _, name := range configs {
		t, err := s.textFile(name)
		if err != nil {
			return nil, false, err
		}
		f, err := readLimine(t)
		if err != nil {
			return nil, false, err
		}
		files = append(files, f)
		byTool = byTool || slices.ContainsFunc(f.entries, func(e limineEntry) bool { return e.byTool })
	}
	return files, byTool, nil
}

// staleEntries reports whether an entry of limine-entry-tool has other words than e.
func staleEntries(files []*limineFile, e Edit) bool {
	for _, f := range files {
		for i := range f.entries {
			entry := &f.entries[i]
			value, _ := f.value(entry)
			if entry.byTool && entry.linux() && !entry.snapshot() && !e.holds(f.expand(value)) {
				return true
			}
		}
	}
	return false
}

// limineSeal precedes, in Limine's program, the BLAKE2b of the configuration that
// "limine enroll-config" put there: 128 digits, all zero if it has put none.
const limineSeal = "++CONFIG_B2SUM_SIGNATURE++"

// sealedByHand returns p if no program of Limine has the checksum of its configuration. With
// one, Limine refuses to boot after a change, so the user has to make it.
func (s *System) sealedByHand(p *Plan, e Edit) (*Plan, error) {
	roots, err := s.firmwareRoots()
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		for _, dir := range limineDirs {
			at := s.inESP(root, dir)
			names, err := s.names(at)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				if strings.EqualFold(path.Ext(name), ".efi") && s.sealed(path.Join(at, name)) {
					return &Plan{Manual: fmt.Sprintf("%s has a checksum of %s and boots with no other content. "+
						"Put %s into its lines cmdline:, run \"limine enroll-config\" with the new checksum (b2sum), "+
						"and sign the program again if Secure Boot is on.",
						path.Join(at, name), p.Files[0].Path, strings.Join(e.Words, " "))}, nil
				}
			}
		}
	}
	return p, nil
}

// sealed reports whether a program has the checksum of a configuration.
func (s *System) sealed(name string) bool {
	data, err := s.read(name)
	if err != nil {
		return false
	}
	_, digits, ok := bytes.Cut(data, []byte(limineSeal))
	return ok && len(digits) >= 128 && strings.Trim(string(digits[:128]), "0") != ""
}

func (limine) Next(s *System) ([]Entry, error) {
	configs, _, err := s.limineConfigs() // of a limine.cfg the entries are not known
	if err != nil {
		return nil, err
	}
	files, _, err := s.limineFiles(configs)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for i, f := range files {
		for _, e := range f.boot(s.limineImage(f)) {
			e.Default = e.Default && i == 0 // the first file is the one that Limine takes
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// limineImage returns the function that reads the command line inside the unified image of
// an entry. It knows the partition of the configuration only, boot().
func (s *System) limineImage(f *limineFile) func(*limineEntry) (Entry, bool) {
	return func(e *limineEntry) (Entry, bool) {
		name, ok := strings.CutPrefix(e.path, "boot():")
		roots, err := s.firmwareRoots()
		if !ok || err != nil {
			return Entry{}, false
		}
		name, _, _ = strings.Cut(name, "#") // of its checksum
		for _, root := range roots {
			if !strings.HasPrefix(f.name, root+"/") {
				continue
			}
			if it, err := s.unifiedImage(s.inESP(root, name)); err == nil && it != nil {
				return Entry{Source: it.Source, Cmdline: it.Cmdline}, true
			}
		}
		return Entry{}, false
	}
}

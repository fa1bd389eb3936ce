package bootloader

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ukdump/internal/advice"
)

// A menuItem is an entry of systemd-boot's menu: a file of the Boot Loader Specification
// or a unified kernel image.
type menuItem struct {
	Entry
	id                 string // file name
	sortKey, machineID string
	version            string
	spent              bool      // its counter of boots is at 0
	bls                *blsEntry // nil for images
}

// A bootMenu is what systemd-boot finds.
type bootMenu struct {
	esp, xbootldr string
	items         []menuItem // in the order of the menu
}

// dirs are the roots of the partitions that the entries and images are in.
func (m *bootMenu) dirs() []string {
	if m.xbootldr == "" {
		return []string{m.esp}
	}
	return []string{m.esp, m.xbootldr}
}

// bootMenu reads the menu of systemd-boot; nil if the machine has no EFI system partition.
func (s *System) bootMenu() (*bootMenu, error) {
	esp, err := s.esp()
	if err != nil || esp == "" {
		return nil, err
	}
	m := &bootMenu{esp: esp}
	if m.xbootldr, err = s.xbootldr(esp); err != nil {
		return nil, err
	}
	for _, dir := range m.dirs() {
		entries, err := s.readBLS(s.inESP(dir, "loader/entries"))
		if err != nil {
			return nil, err
		}
		for _, b := range entries {
			m.items = append(m.items, blsItem(b))
		}
		images, err := s.unifiedImages(dir)
		if err != nil {
			return nil, err
		}
		m.items = append(m.items, images...)
	}
	slices.SortStableFunc(m.items, compareItems)
	conf, err := s.readOptional(s.inESP(esp, "loader/loader.conf"))
	if err != nil {
		return nil, err
	}
	if i := m.chosen(s, conf); i >= 0 {
		m.items[i].Default = true
	}
	return m, nil
}

func blsItem(b *blsEntry) menuItem {
	name := path.Base(b.file.name)
	return menuItem{
		Entry:     Entry{Title: b.title(), Source: b.file.name, Cmdline: strings.Join(Words(b.cmdline()), " ")},
		id:        b.id + ".conf",
		sortKey:   b.values["sort-key"],
		machineID: b.values["machine-id"],
		version:   b.values["version"],
		spent:     strings.HasPrefix(strings.TrimPrefix(strings.TrimSuffix(name, ".conf"), b.id), "+0"),
		bls:       b,
	}
}

// compareItems orders the menu as the Boot Loader Specification says ("Sorting").
func compareItems(a, b menuItem) int {
	switch {
	case a.spent != b.spent:
		return order(b.spent)
	case (a.sortKey == "") != (b.sortKey == ""):
		return order(b.sortKey == "")
	}
	if a.sortKey != "" {
		if c := strings.Compare(a.sortKey, b.sortKey); c != 0 {
			return c
		}
		if c := strings.Compare(a.machineID, b.machineID); c != 0 {
			return c
		}
		if c := compareVersions(b.version, a.version); c != 0 {
			return c
		}
	}
	return compareVersions(b.id, a.id)
}

func order(first bool) int {
	if first {
		return -1
	}
	return 1
}

// chosen returns the index of the item that boots if nobody chooses (systemd-boot(7), EFI
// variables; loader.conf(5), default), -1 if that cannot be known.
func (m *bootMenu) chosen(s *System, conf []byte) int {
	pattern := ""
	for line := range strings.Lines(string(conf)) {
		if key, value, _ := cutKeyword(strings.TrimRight(line, "\r\n")); key == "default" {
			pattern = strings.TrimSpace(value)
		}
	}
	for _, name := range []string{"LoaderEntryDefault", "LoaderEntryOneShot"} {
		if id := s.efiString(name); id != "" {
			pattern = id
		}
	}
	if pattern == "@saved" {
		pattern = s.efiString("LoaderEntryLastBooted")
	}
	if strings.HasPrefix(pattern, "auto-") {
		return -1 // such as another system, or the firmware's settings
	}
	if pattern != "" {
		i := slices.IndexFunc(m.items, func(it menuItem) bool { return matchID(pattern, it.id) })
		if i >= 0 {
			return i
		}
	}
	if len(m.items) == 0 {
		return -1
	}
	return 0
}

// matchID matches an identifier, whose suffix .conf may be missing, with a pattern.
func matchID(pattern, id string) bool {
	pattern, id = strings.ToLower(pattern), strings.ToLower(id)
	for _, name := range []string{id, strings.TrimSuffix(id, ".conf")} {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// entries returns the items that keep accepts.
func (m *bootMenu) entries(keep func(*menuItem) bool) []Entry {
	var list []Entry
	for i := range m.items {
		if it := &m.items[i]; keep(it) {
			list = append(list, it.Entry)
		}
	}
	return list
}

// theDefault returns the default item, nil if it is not known.
func (m *bootMenu) theDefault() *menuItem {
	i := slices.IndexFunc(m.items, func(it menuItem) bool { return it.Default })
	if i < 0 {
		return nil
	}
	return &m.items[i]
}

// stale reports whether the item that boots next has other words than e, if it is one that
// ours accepts; else whether any of those has.
func (m *bootMenu) stale(e Edit, ours func(*menuItem) bool) bool {
	differs := func(it *menuItem) bool { return ours(it) && !e.holds(it.Cmdline) }
	if def := m.theDefault(); def != nil && ours(def) {
		return differs(def)
	}
	return len(m.entries(differs)) > 0
}

// needBootMenu is bootMenu, but without an EFI system partition it returns an error that
// names loader.
func (s *System) needBootMenu(loader string) (*bootMenu, error) {
	m, err := s.bootMenu()
	if err == nil && m == nil {
		err = fmt.Errorf("%s: this machine has no EFI system partition on %s", loader, strings.Join(espDirs, ", "))
		err = advice.With(err, "Mount it, then run kdumpctl setup again.")
	}
	return m, err
}

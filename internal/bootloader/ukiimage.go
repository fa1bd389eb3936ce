package bootloader

import (
	"bytes"
	"debug/pe"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"ukdump/internal/crashdir"
)

// maxSection bounds the sections that are read of an image, in bytes. The kernel's own
// limit for a command line is some KiB.
const maxSection = 1 << 20

// unifiedImages reads the unified kernel images (UAPI.5) in EFI/Linux of a partition, where
// systemd-boot looks for them.
func (s *System) unifiedImages(root string) ([]menuItem, error) {
	names, err := s.matching(s.inESP(root, "EFI/Linux"), "*.[eE][fF][iI]")
	if err != nil {
		return nil, err
	}
	global, err := s.addons(s.inESP(root, "loader/addons"))
	if err != nil {
		return nil, err
	}
	var items []menuItem
	for _, name := range names {
		it, err := s.unifiedImage(name)
		if err != nil {
			return nil, err
		}
		if it == nil {
			continue
		}
		own, err := s.addons(name + ".extra.d")
		if err != nil {
			return nil, err
		}
		it.Cmdline = strings.Join(Words(strings.Join([]string{it.Cmdline, global, own}, " ")), " ")
		items = append(items, *it)
	}
	return items, nil
}

// unifiedImage reads one image; nil if it has no kernel.
func (s *System) unifiedImage(name string) (*menuItem, error) {
	sections, err := s.peSections(name, ".linux", ".cmdline", ".osrel", ".uname")
	if err != nil || sections[".linux"] == nil {
		return nil, err
	}
	os := osRelease(sections[".osrel"])
	it := &menuItem{id: path.Base(name), sortKey: os.first("IMAGE_ID", "ID")}
	it.id = boots.ReplaceAllString(strings.TrimSuffix(it.id, path.Ext(it.id)), "") + path.Ext(it.id)
	it.version = os.first("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID")
	it.Title = os.first("PRETTY_NAME", "IMAGE_ID", "NAME", "ID")
	if it.Title == "" {
		it.Title = it.id
	}
	it.Source = name
	it.Cmdline = sectionText(sections[".cmdline"])
	return it, nil
}

// addons returns the command lines of the addons in a directory (systemd-stub(7)), which
// the stub appends in the order of their names.
func (s *System) addons(dir string) (string, error) {
	names, err := s.matching(dir, "*.addon.[eE][fF][iI]")
	if err != nil {
		return "", err
	}
	var all []string
	for _, name := range names {
		sections, err := s.peSections(name, ".cmdline")
		if err != nil {
			return "", err
		}
		all = append(all, sectionText(sections[".cmdline"]))
	}
	return strings.Join(all, " "), nil
}

// peSections opens an image of the machine and reads the named sections.
func (s *System) peSections(name string, wanted ...string) (map[string][]byte, error) {
	file, err := s.file(name)
	if err != nil {
		return nil, err
	}
	f, _, err := crashdir.OpenFile(file)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: crashdir.WithoutPath(err)}
	}
	defer f.Close()
	sections, err := readSections(f, wanted...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return sections, nil
}

// readSections reads the beginning of sections of a PE file, without those that are not
// there. A section of no bytes is not nil. Of several with one name the first counts: the
// others belong to other profiles.
func readSections(r io.ReaderAt, wanted ...string) (map[string][]byte, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return nil, err
	}
	sections := make(map[string][]byte)
	for _, name := range wanted {
		section := f.Section(name)
		if section == nil {
			continue
		}
		// The size in the file is a multiple of the alignment, that in memory is exact.
		size := min(section.Size, maxSection)
		if section.VirtualSize > 0 {
			size = min(size, section.VirtualSize)
		}
		data := make([]byte, size)
		n, err := section.ReadAt(data, 0)
		if err != nil && (err != io.EOF || n < len(data)) {
			return nil, fmt.Errorf("section %s: %w", name, err)
		}
		sections[name] = data
	}
	return sections, nil
}

// sectionText returns the text of a section up to the first zero byte, without blanks at
// its ends.
func sectionText(data []byte) string {
	data, _, _ = bytes.Cut(data, []byte{0})
	return strings.TrimSpace(string(data))
}

// osFields are the fields of an os-release(5).
type osFields map[string]string

func osRelease(data []byte) osFields {
	f, err := parseShell(".osrel", data)
	if err != nil {
		return nil
	}
	env := make(map[string]string)
	f.expand(env)
	return env
}

// first returns the first of the fields that is set.
func (f osFields) first(names ...string) string {
	for _, name := range names {
		if f[name] != "" {
			return f[name]
		}
	}
	return ""
}

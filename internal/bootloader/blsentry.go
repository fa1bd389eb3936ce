package bootloader

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// A blsEntry is a file of the Boot Loader Specification (UAPI.1), type 1: lines of a key,
// blanks and a value.
type blsEntry struct {
	file    *textFile
	id      string // file name without .conf and without the counter of boots
	values  map[string]string
	options []int // lines with the key options, from 0 on
	last    int   // the line of the key linux
}

// boots matches the counter of boots in a name: +LEFT or +LEFT-DONE.
var boots = regexp.MustCompile(`\+[0-9]+(-[0-9]+)?$`)

// readBLS reads the entries in a directory that load a kernel, in the order of their names.
func (s *System) readBLS(dir string) ([]*blsEntry, error) {
	names, err := s.matching(dir, "*.conf")
	if err != nil {
		return nil, err
	}
	var entries []*blsEntry
	for _, name := range names {
		t, err := s.textFile(name)
		if err != nil {
			return nil, err
		}
		if b := parseBLS(t); b.values["linux"] != "" {
			entries = append(entries, b)
		}
	}
	return entries, nil
}

func parseBLS(t *textFile) *blsEntry {
	id := strings.TrimSuffix(path.Base(t.name), ".conf")
	b := &blsEntry{file: t, id: boots.ReplaceAllString(id, ""), values: make(map[string]string)}
	for i := range t.lines {
		key, value, _ := cutKeyword(t.text(i))
		if key == "" || strings.HasPrefix(key, "#") {
			continue
		}
		switch key {
		case "options":
			b.options = append(b.options, i)
		case "linux":
			b.last = i
		}
		if b.values[key] == "" {
			b.values[key] = strings.TrimSpace(value)
		}
	}
	return b
}

// option returns the value of the options in line i, and the byte where it begins.
func (b *blsEntry) option(i int) (value string, at int) {
	_, value, at = cutKeyword(b.file.text(i))
	return value, at
}

// cmdline returns the options of all lines, as systemd-boot reads them. GRUB takes the
// first line only, which is all that there is in its entries.
func (b *blsEntry) cmdline() string {
	var all []string
	for _, i := range b.options {
		value, _ := b.option(i)
		all = append(all, strings.TrimSpace(value))
	}
	return strings.Join(all, " ")
}

// title is the title with the version, where two kernels would have the same.
func (b *blsEntry) title() string {
	if title := b.values["title"]; title != "" {
		return title
	}
	return b.id
}

// edit changes the options: in the line that has the words, or in the first one.
func (b *blsEntry) edit(e Edit) {
	if e.holds(b.cmdline()) {
		return
	}
	at := slices.IndexFunc(b.options, func(i int) bool {
		value, _ := b.option(i)
		return len(Of(value, e.Name)) > 0
	})
	if at < 0 && len(b.options) == 0 {
		b.file.insert(b.last, "options "+strings.Join(e.Words, " "))
		return
	}
	at = max(at, 0)
	for k, i := range slices.Backward(b.options) {
		own := e
		if k != at {
			own = e.without()
		}
		value, start := b.option(i)
		changed := own.applyInside(value)
		text := b.file.text(i)
		switch {
		case changed == value:
		case strings.TrimSpace(changed) == "":
			b.file.remove(i)
		case start >= len(text) && value == "":
			b.file.replace(i, "options "+changed)
		default:
			b.file.replace(i, text[:start]+changed)
		}
	}
}

// compareVersions orders versions as the UAPI version format (UAPI.10): digits by number,
// ~ before the end, the end before anything else.
func compareVersions(a, b string) int {
	for {
		a, b = trimSeparators(a), trimSeparators(b)
		switch {
		case strings.HasPrefix(a, "~") || strings.HasPrefix(b, "~"):
			if !strings.HasPrefix(a, "~") {
				return 1
			}
			if !strings.HasPrefix(b, "~") {
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		case a == "" || b == "":
			return len(a) - len(b)
		}
		for _, mark := range []string{"-", "^", "."} {
			x, y := strings.HasPrefix(a, mark), strings.HasPrefix(b, mark)
			if x != y {
				if x {
					return -1
				}
				return 1
			}
			if x {
				a, b = a[1:], b[1:]
				break
			}
		}
		x, y := leading(a, isDigit), leading(b, isDigit)
		if x != "" || y != "" {
			if c := compareNumbers(x, y); c != 0 {
				return c
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		x, y = leading(a, isLetter), leading(b, isLetter)
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = a[len(x):], b[len(y):]
	}
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// trimSeparators removes the characters before a version's next part that mean nothing.
func trimSeparators(s string) string {
	return strings.TrimLeftFunc(s, func(r rune) bool {
		return r > 127 || !isDigit(byte(r)) && !isLetter(byte(r)) && !strings.ContainsRune("~-^.", r)
	})
}

func leading(s string, is func(byte) bool) string {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return s[:n]
}

// compareNumbers compares decimal numbers of any length.
func compareNumbers(a, b string) int {
	if a == "" || b == "" {
		return len(a) - len(b)
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

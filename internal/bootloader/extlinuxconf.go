package bootloader

import (
	"strconv"
	"strings"
)

// An extlinuxFile is an extlinux.conf or syslinux.cfg, of SYSLINUX or of U-Boot (doc/README.pxe
// there), or a file that one includes.
type extlinuxFile struct {
	*textFile
	labels   []extlinuxLabel
	appends  []int    // lines with the options of labels that have none themselves
	start    string   // the label or image of DEFAULT
	chosen   string   // the label with MENU DEFAULT
	includes []string // as they are in the file
}

// An extlinuxLabel is something that can be booted.
type extlinuxLabel struct {
	name, title string
	line        int
	append      int  // line of its options, -1 if it has none
	after       int  // the line behind which its options can be put
	linux       bool // it starts a kernel
}

// extlinuxKeyword splits a line into the keyword, in lower case, and its value. at is the
// byte where the value begins.
func extlinuxKeyword(line string) (word, value string, at int) {
	word, value, at = cutKeyword(line)
	return strings.ToLower(word), strings.TrimRight(value, " \t"), at
}

// readExtlinux parses a file. Lines with unknown keywords have no effect, as in SYSLINUX.
func readExtlinux(t *textFile) (*extlinuxFile, error) {
	f := &extlinuxFile{textFile: t}
	for i := range t.lines {
		word, value, _ := extlinuxKeyword(t.text(i))
		if word == "label" {
			name, _, _ := strings.Cut(value, " ")
			if name == "" {
				return nil, t.fault(i, "label without a name")
			}
			f.labels = append(f.labels, extlinuxLabel{name: name, title: name, line: i, append: -1, after: i})
			continue
		}
		if word == "menu" {
			menu, rest, _ := extlinuxKeyword(value)
			word, value = "menu "+menu, rest
		}
		f.keyword(i, word, value)
	}
	return f, nil
}

// keyword takes line i, which is one of the file or of its last label.
func (f *extlinuxFile) keyword(i int, word, value string) {
	switch word {
	case "default":
		f.start = value
	case "include", "menu include":
		name, _, _ := strings.Cut(value, " ")
		f.includes = append(f.includes, name)
	}
	if len(f.labels) == 0 {
		if word == "append" {
			f.appends = append(f.appends, i)
		}
		return
	}
	l := &f.labels[len(f.labels)-1]
	switch word {
	case "kernel", "linux", "fit":
		l.linux = word != "kernel" || linuxImage(value)
		l.after = i
	case "initrd":
		l.after = i
	case "append":
		l.append = i
	case "menu label":
		l.title = strings.TrimSpace(strings.ReplaceAll(value, "^", "")) // ^ marks the key
	case "menu default":
		f.chosen = l.name
	}
}

// linuxImage reports whether KERNEL names a kernel and not a module of SYSLINUX or the boot
// sector of another system, which it knows by these endings.
func linuxImage(name string) bool {
	name, _, _ = strings.Cut(strings.ToLower(name), " ")
	for _, ending := range []string{".c32", ".com", ".cbt", ".0", ".bin", ".bs", ".bss", ".img", ".efi"} {
		if strings.HasSuffix(name, ending) {
			return false
		}
	}
	return !strings.HasSuffix(name, "memdisk") && !strings.Contains(name, "memtest")
}

// global returns the line of the options that labels without their own have, -1 for none.
// The last counts.
func (f *extlinuxFile) global() int {
	if len(f.appends) == 0 {
		return -1
	}
	return f.appends[len(f.appends)-1]
}

// value returns the options in a line.
func (f *extlinuxFile) value(i int) string {
	if i < 0 {
		return ""
	}
	_, value, _ := extlinuxKeyword(f.text(i))
	if value == "-" { // none, not even those of the file
		return ""
	}
	return value
}

// edit changes the options of all labels.
func (f *extlinuxFile) edit(e Edit) {
	shared := false                           // a label has the options of the file
	for i := len(f.labels) - 1; i >= 0; i-- { // from the end, as lines are put in and taken out
		l := &f.labels[i]
		if !l.linux {
			continue
		}
		if l.append < 0 && f.global() >= 0 {
			shared = true
			continue
		}
		f.editLine(e, l.append, l.after)
	}
	if shared {
		f.editLine(e, f.global(), 0)
	}
}

// editLine changes the options in line i, or puts a line with them behind the line after if
// i is -1.
func (f *extlinuxFile) editLine(e Edit, i, after int) {
	value := f.value(i)
	if e.done(value) {
		return
	}
	edited := e.Apply(value)
	switch {
	case i < 0:
		f.insert(after, indent(f.text(after))+"append "+edited)
	case edited == "" && f.global() >= 0 && f.global() != i:
		f.setValue(i, "-")
	case edited == "":
		f.remove(i)
	default:
		f.setValue(i, edited)
	}
}

// setValue replaces the value of a line that has a keyword.
func (f *extlinuxFile) setValue(i int, value string) {
	line := f.text(i)
	_, old, at := extlinuxKeyword(line)
	space := ""
	if old == "" && !strings.HasSuffix(line, " ") && !strings.HasSuffix(line, "\t") {
		space = " "
	}
	f.replace(i, line[:at]+space+value+line[at+len(old):])
}

// boot returns what the labels boot; start is the label that boots by itself.
func (f *extlinuxFile) boot(start string) []Entry {
	var entries []Entry
	for i := range f.labels {
		l := &f.labels[i]
		if !l.linux {
			continue
		}
		line := l.append
		if line < 0 {
			line = f.global()
		}
		source := line
		if source < 0 {
			source = l.line
		}
		entries = append(entries, Entry{
			Title:   l.title,
			Source:  f.name + ":" + strconv.Itoa(source+1),
			Cmdline: f.value(line),
			Default: start == l.name,
		})
	}
	return entries
}

package bootloader

import (
	"slices"
	"strconv"
	"strings"
)

// A limineFile is a limine.conf (CONFIG.md of Limine 8 and later).
type limineFile struct {
	*textFile
	entries []limineEntry
	macros  map[string]string // values, by name
	defs    []limineMacro     // in the order of the file
	global  map[string]string // options before the first entry, by name in lower case
}

// A limineEntry is an entry of the menu, or a directory of entries.
type limineEntry struct {
	line     int      // of its title
	titles   []string // of the directories around it, and its own
	expanded bool     // a directory that the menu shows open
	protocol string
	path     string // of the image
	byTool   bool   // limine-entry-tool wrote it and writes it again
	cmdline  int    // the line with the command line that Limine takes, -1 if none has one
	after    int    // the line behind which a command line can be put
}

// A limineMacro is a line ${NAME}=VALUE.
type limineMacro struct {
	line       int
	name, text string
}

// readLimine parses a limine.conf. Errors name the line at which Limine stops, too.
func readLimine(t *textFile) (*limineFile, error) {
	f := &limineFile{textFile: t, macros: make(map[string]string), global: make(map[string]string)}
	for i := range t.lines {
		line := strings.Trim(t.text(i), " \t")
		if name, value, ok := limineDefinition(line); ok {
			f.defs = append(f.defs, limineMacro{i, name, value})
			f.macros[name] = value
		}
	}
	for i := range t.lines {
		line := strings.Trim(t.text(i), " \t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if err := f.checkMacros(i, line); err != nil {
			return nil, err
		}
		if strings.HasPrefix(line, "/") {
			if err := f.open(i, line); err != nil {
				return nil, err
			}
			continue
		}
		if key, value, ok := strings.Cut(line, ":"); ok {
			f.option(i, strings.ToLower(key), strings.TrimLeft(value, " \t"))
		}
	}
	return f, nil
}

// limineDefinition splits a definition of a macro.
func limineDefinition(line string) (name, value string, ok bool) {
	rest, ok := strings.CutPrefix(line, "${")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "}=")
}

// checkMacros reports a macro without its end, at which Limine panics.
func (f *limineFile) checkMacros(i int, line string) error {
	for {
		_, rest, ok := strings.Cut(line, "${")
		if !ok {
			return nil
		}
		if _, line, ok = strings.Cut(rest, "}"); !ok {
			return f.fault(i, "${ without }")
		}
	}
}

// expand puts the values of macros into a value. Limine expands them once.
func (f *limineFile) expand(value string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(value, "${")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		b.WriteString(f.macros[name])
		value = after
	}
}

// open begins the entry whose title is at line i.
func (f *limineFile) open(i int, line string) error {
	title := strings.TrimLeft(line, "/")
	depth := len(line) - len(title)
	var parents []string
	if depth > 1 {
		if len(f.entries) == 0 || len(f.entries[len(f.entries)-1].titles) < depth-1 {
			return f.fault(i, "an entry below an entry that is not there")
		}
		parents = f.entries[len(f.entries)-1].titles[:depth-1]
	}
	title, expanded := strings.CutPrefix(title, "+")
	titles := append(slices.Clone(parents), strings.TrimSpace(f.expand(title)))
	f.entries = append(f.entries, limineEntry{line: i, titles: titles, expanded: expanded, cmdline: -1, after: i})
	return nil
}

// option takes the option at line i, whose name is in lower case.
func (f *limineFile) option(i int, name, value string) {
	value = f.expand(value)
	if len(f.entries) == 0 {
		if _, ok := f.global[name]; !ok {
			f.global[name] = value
		}
		return
	}
	e := &f.entries[len(f.entries)-1]
	switch name {
	case "default_entry", "remember_last_entry": // global wherever they are
		if _, ok := f.global[name]; !ok {
			f.global[name] = value
		}
	case "protocol":
		if e.protocol == "" {
			e.protocol = value
		}
		e.after = i
	case "path", "kernel_path":
		if e.path == "" {
			e.path = value
		}
		e.after = i
	case "comment":
		// limine-entry-tool finds its entries by this.
		e.byTool = e.byTool || strings.HasPrefix(value, "kernel-id=")
	case "cmdline":
		if e.cmdline < 0 {
			e.cmdline = i
		}
	case "kernel_cmdline": // wins, wherever it is
		if e.cmdline < 0 || f.isKey(e.cmdline, "cmdline") {
			e.cmdline = i
		}
	}
}

func (f *limineFile) isKey(i int, key string) bool {
	name, _, _ := strings.Cut(strings.Trim(f.text(i), " \t"), ":")
	return strings.EqualFold(name, key)
}

// linux reports whether the entry boots a Linux kernel itself. With the protocol efi the
// image is a kernel or a unified one if it gets a command line.
func (e *limineEntry) linux() bool {
	switch strings.ToLower(e.protocol) {
	case "linux":
		return true
	case "efi", "uefi", "efi_chainload":
		return e.cmdline >= 0
	}
	return false
}

// snapshot reports whether limine-snapper-sync made the entry, from an entry of the time
// of its snapshot.
func (e *limineEntry) snapshot() bool {
	return slices.Contains(e.titles[:len(e.titles)-1], "Snapshots")
}

// value returns the command line of the entry, without its macros expanded, and the byte of
// its line where it begins.
func (f *limineFile) value(e *limineEntry) (value string, at int) {
	if e.cmdline < 0 {
		return "", 0
	}
	line := f.text(e.cmdline)
	at = strings.Index(line, ":") + 1
	for at < len(line) && (line[at] == ' ' || line[at] == '\t') {
		at++
	}
	return line[at:], at
}

// edit changes the command lines of the entries that take.
func (f *limineFile) edit(e Edit, take func(*limineEntry) bool) {
	f.editMacros(e, take)
	// From the end, as lines are put in and taken out.
	for i := len(f.entries) - 1; i >= 0; i-- {
		entry := &f.entries[i]
		if !entry.linux() || !take(entry) {
			continue
		}
		value, at := f.value(entry)
		if e.done(strings.TrimSpace(f.expand(value))) {
			continue
		}
		edited := e.applyInside(value)
		switch {
		case entry.cmdline < 0:
			f.insert(entry.after, indent(f.text(entry.after))+"cmdline: "+edited)
		case strings.TrimSpace(edited) == "":
			f.remove(entry.cmdline)
		default:
			f.replace(entry.cmdline, f.text(entry.cmdline)[:at]+edited)
		}
	}
}

// editMacros takes the parameter out of macros whose use makes a command line wrong.
func (f *limineFile) editMacros(e Edit, take func(*limineEntry) bool) {
	for _, def := range f.defs {
		used := slices.ContainsFunc(f.entries, func(entry limineEntry) bool {
			value, _ := f.value(&entry)
			return entry.linux() && take(&entry) && strings.Contains(value, "${"+def.name+"}") &&
				!e.done(strings.TrimSpace(f.expand(value)))
		})
		if !used || len(Of(def.text, e.Name)) == 0 {
			continue
		}
		text := f.text(def.line)
		f.replace(def.line, text[:strings.Index(text, "}=")+2]+e.without().applyInside(def.text))
		f.macros[def.name] = e.without().Apply(def.text)
	}
}

// boot returns what the menu offers. Entries of snapshots are left out: each is as it was
// when its snapshot was taken. image reads the command line of an entry that has none, from
// a unified image.
func (f *limineFile) boot(image func(*limineEntry) (Entry, bool)) []Entry {
	chosen := f.chosen()
	var entries []Entry
	for i := range f.entries {
		e := &f.entries[i]
		if e.snapshot() {
			continue
		}
		if !e.linux() {
			if entry, ok := image(e); ok {
				entry.Title, entry.Default = strings.Join(e.titles, "/"), i == chosen
				entries = append(entries, entry)
			}
			continue
		}
		value, _ := f.value(e)
		line := e.cmdline
		if line < 0 {
			line = e.line
		}
		entries = append(entries, Entry{
			Title:   strings.Join(e.titles, "/"),
			Source:  f.name + ":" + strconv.Itoa(line+1),
			Cmdline: strings.TrimSpace(f.expand(value)),
			Default: i == chosen,
		})
	}
	return entries
}

// chosen returns the index of the default entry, -1 if it is not known. A number counts
// the lines of the menu, in which only expanded directories show their entries.
func (f *limineFile) chosen() int {
	if strings.EqualFold(f.global["remember_last_entry"], "yes") {
		return -1
	}
	name, ok := f.global["default_entry"]
	if !ok {
		name = "1"
	}
	n, err := strconv.Atoi(name)
	if err != nil {
		return slices.IndexFunc(f.entries, func(e limineEntry) bool { return strings.Join(e.titles, "/") == name })
	}
	closed := 0 // the depth of the closed directory that the walk is in, 0 for none
	for i := range f.entries {
		depth := len(f.entries[i].titles)
		if closed > 0 && depth > closed {
			continue
		}
		closed = 0
		directory := i+1 < len(f.entries) && len(f.entries[i+1].titles) > depth
		if directory && !f.entries[i].expanded {
			closed = depth
		}
		if n--; n == 0 {
			return i
		}
	}
	return -1
}

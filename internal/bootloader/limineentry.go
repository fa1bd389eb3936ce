package bootloader

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// The files of limine-entry-tool, in the order in which it reads them (load_config in its
// limine-common-functions, 1.38). They look like shell, but are not read by one.
const (
	entryToolVendor  = "/usr/share/limine-entry-tool.d"
	entryToolConfig  = "/etc/limine-entry-tool.conf"
	entryToolDropins = "/etc/limine-entry-tool.d"
	entryToolDefault = "/etc/default/limine" // the last: it overrides the others
	kernelCmdline    = "/etc/kernel/cmdline" // taken if none of them has a command line
)

// entryToolLine matches an assignment: the name of a kernel or "default" in brackets, = to
// replace or += to add, and a value from which one quote is dropped at each end.
var entryToolLine = regexp.MustCompile(`^[ \t]*KERNEL_CMDLINE(?:\[([^\]]*)\])?[ \t]*(\+?=)[ \t]*(.*?)[ \t]*$`)

// An entryToolValue is a line that has a part of a command line.
type entryToolValue struct {
	file     *textFile
	line     int
	key      string // of the command line: "default" or the name of a kernel
	add      bool   // +=
	value    string
	from, to int // of the value, in the line
}

// entryToolValues returns the assignments of a file.
func entryToolValues(t *textFile) []entryToolValue {
	var values []entryToolValue
	for i := range t.lines {
		text := t.text(i)
		m := entryToolLine.FindStringSubmatchIndex(text)
		if m == nil {
			continue
		}
		v := entryToolValue{file: t, line: i, key: "default", add: text[m[4]:m[5]] == "+=", from: m[6], to: m[7]}
		if m[2] >= 0 {
			v.key = strings.Trim(text[m[2]:m[3]], `"'`)
		}
		if strings.HasSuffix(text[v.from:v.to], `"`) {
			v.to--
		}
		if strings.HasPrefix(text[v.from:v.to], `"`) {
			v.from++
		}
		v.value = text[v.from:v.to]
		values = append(values, v)
	}
	return values
}

// set gives the line another value. A line that only added the parameter goes.
func (v *entryToolValue) set(value string) {
	text := v.file.text(v.line)
	if v.add && strings.TrimSpace(value) == "" {
		v.file.remove(v.line)
		return
	}
	v.file.replace(v.line, text[:v.from]+value+text[v.to:])
}

// An entryTool is limine-entry-tool, which writes the configurations of Limine.
type entryTool struct {
	program string
	configs []string
	stale   bool // an entry that it wrote has other words than those to be set
}

// planEntryTool changes the command lines that limine-entry-tool writes into limine.conf.
func (s *System) planEntryTool(e Edit, tool entryTool) (*Plan, error) {
	files, values, err := s.entryToolFiles()
	if err != nil {
		return nil, err
	}
	p := new(Plan)
	if len(values) == 0 {
		return s.planKernelCmdline(e, tool)
	}
	p.Notes = editEntryTool(e, values)
	for _, f := range files {
		if err := p.add(s, f.name, f.old, f.content()); err != nil {
			return nil, err
		}
	}
	if err := s.addEntryToolDefault(p, e, files, values); err != nil {
		return nil, err
	}
	return s.runEntryTool(p, tool), nil
}

// entryToolFiles reads all files, and the assignments that have an effect.
func (s *System) entryToolFiles() ([]*textFile, []entryToolValue, error) {
	var names []string
	for _, dir := range []string{entryToolVendor, "", entryToolDropins} {
		if dir == "" {
			names = append(names, entryToolConfig)
			continue
		}
		found, err := s.matching(dir, "*.conf")
		if err != nil {
			return nil, nil, err
		}
		names = append(names, found...)
	}
	var files []*textFile
	var values []entryToolValue
	for _, name := range append(names, entryToolDefault) {
		t, err := s.textFile(name)
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		files = append(files, t)
		for _, v := range entryToolValues(t) {
			if !v.add { // replaces all before it
				values = slices.DeleteFunc(values, func(o entryToolValue) bool { return o.key == v.key })
			}
			values = append(values, v)
		}
	}
	return files, slices.DeleteFunc(values, func(v entryToolValue) bool {
		return !v.add && strings.TrimSpace(v.value) == "" // as if it were not there
	}), nil
}

// entryToolKeys returns the command lines that are assigned.
func entryToolKeys(values []entryToolValue) []string {
	var keys []string
	for _, v := range values {
		if !slices.Contains(keys, v.key) {
			keys = append(keys, v.key)
		}
	}
	return keys
}

// editEntryTool edits the command lines. The words of each go to the last line that has the
// parameter, else to the last line, and away from the others.
func editEntryTool(e Edit, values []entryToolValue) (notes []string) {
	homes := make(map[string]int)
	for i, v := range values {
		home, ok := homes[v.key]
		if !v.vendor() && (!ok || len(Of(v.value, e.Name)) > 0 || len(Of(values[home].value, e.Name)) == 0) {
			homes[v.key] = i
		}
	}
	for i := len(values) - 1; i >= 0; i-- { // from the end, as lines are taken out
		v := &values[i]
		has := len(Of(v.value, e.Name)) > 0
		home, ok := homes[v.key]
		switch {
		case v.vendor() && has:
			notes = append(notes, fmt.Sprintf("%s sets %s, too; it belongs to a package and stays.", v.file.name, e.Name))
		case v.vendor():
		case ok && i == home && !e.done(strings.TrimSpace(v.value)):
			v.set(e.applyInside(v.value))
		case i != home && has:
			v.set(e.without().applyInside(v.value))
		}
	}
	return notes
}

func (v *entryToolValue) vendor() bool { return path.Dir(v.file.name) == entryToolVendor }

// addEntryToolDefault adds lines for command lines that only packages assign.
func (s *System) addEntryToolDefault(p *Plan, e Edit, files []*textFile, values []entryToolValue) error {
	var added []string
	for _, key := range entryToolKeys(values) {
		var all []string
		own := false
		for _, v := range values {
			if v.key == key {
				all = append(all, v.value)
				own = own || !v.vendor()
			}
		}
		if own || len(e.Words) == 0 || e.done(strings.Join(all, " ")) {
			continue
		}
		added = append(added, fmt.Sprintf(`KERNEL_CMDLINE[%s]+=" %s"`, key, strings.Join(e.Words, " ")))
	}
	if len(added) == 0 {
		return nil
	}
	t := newTextFile(entryToolDefault, nil)
	if i := slices.IndexFunc(files, func(f *textFile) bool { return f.name == entryToolDefault }); i >= 0 {
		t = files[i]
	}
	for _, line := range added {
		last := len(t.lines) - 1
		if t.lines[last] == "" {
			t.lines[last] = line + "\n"
			continue
		}
		t.insert(last, line)
	}
	return p.add(s, t.name, t.old, t.content())
}

// planKernelCmdline is planEntryTool if none of the files has a command line. The tool then
// takes /etc/kernel/cmdline, or the command line of the running kernel.
func (s *System) planKernelCmdline(e Edit, tool entryTool) (*Plan, error) {
	_, err := s.stat(kernelCmdline)
	if absent(err) {
		current, err := s.read("/proc/cmdline")
		if err != nil {
			return nil, err
		}
		line := strings.TrimSpace(string(current))
		if e.done(line) {
			return new(Plan), nil
		}
		line = e.Apply(line)
		return &Plan{Manual: fmt.Sprintf("%s has no command line. Put this into it, without the words that Limine adds, "+
			"and run %s:\nKERNEL_CMDLINE[default]=\"%s\"", entryToolDefault, tool.program, line)}, nil
	}
	if err != nil {
		return nil, err
	}
	p := new(Plan)
	if err := s.planCmdlineFile(p, e); err != nil {
		return nil, err
	}
	return s.runEntryTool(p, tool), nil
}

// runEntryTool has the tool write the entries, and the unified images that have the command
// line in them.
func (s *System) runEntryTool(p *Plan, tool entryTool) *Plan {
	if len(p.Files) == 0 && !tool.stale {
		return p
	}
	writes := slices.Clone(tool.configs)
	if esp, err := s.esp(); err == nil && esp != "" {
		for _, dir := range []string{"EFI/Linux", "EFI/limine", "EFI/BOOT"} {
			writes = append(writes, path.Join(s.inESP(esp, dir), "*"))
		}
	}
	p.Commands = append(p.Commands, Command{Args: []string{tool.program}, Why: "writes " + tool.configs[0], Writes: writes})
	return p
}

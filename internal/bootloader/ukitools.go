package bootloader

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	dracutDir = "/etc/dracut.conf.d"
	dracutOwn = dracutDir + "/zz-ukdump.conf" // behind files that set the whole command line
	ukiConf   = "/etc/kernel/uki.conf"
)

// readSetting returns the value of a line KEY=value in the first of the files that has it,
// as in install.conf of kernel-install(8).
func (s *System) readSetting(key string, files ...string) (string, error) {
	for _, name := range files {
		data, err := s.readOptional(name)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(data)) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && k == key {
				return strings.Trim(v, `"'`), nil
			}
		}
	}
	return "", nil
}

func usesKernelInstall(s *System) (bool, error) {
	if s.program("kernel-install") == "" {
		return false, nil
	}
	layout, err := s.readSetting("layout", "/etc/kernel/install.conf", "/run/kernel/install.conf", "/usr/local/lib/kernel/install.conf", "/usr/lib/kernel/install.conf")
	return layout == "uki", err
}

// configureKernelInstall edits the command line that ukify(1) gets: Cmdline= in uki.conf, a
// file if it begins with @, or else /etc/kernel/cmdline.
func configureKernelInstall(s *System, p *Plan, e Edit) (bool, error) {
	t, err := s.textFile(ukiConf)
	if err != nil && !absent(err) {
		return false, err
	}
	if err == nil {
		i, value := ukiCmdline(t)
		if file, ok := strings.CutPrefix(strings.TrimSpace(value), "@"); ok {
			return true, p.editCmdline(s, file, e)
		}
		if i >= 0 {
			if i+1 < len(t.lines) && indent(t.lines[i+1]) != "" && strings.TrimSpace(t.text(i+1)) != "" {
				return false, &placeError{lineError(t.name, i+2, "a command line of several lines is not supported"), "Cmdline= of " + ukiConf, "kernel-install add-all"}
			}
			text := t.text(i)
			t.replace(i, text[:len(text)-len(value)]+e.applyInside(value))
			return true, p.add(s, ukiConf, t.old, t.content())
		}
	}
	if !s.exists(kernelCmdline) {
		return false, nil
	}
	return true, p.editCmdline(s, kernelCmdline, e)
}

// ukiCmdline returns the line with the key Cmdline of the section UKI, -1 if there is none,
// and its value.
func ukiCmdline(t *textFile) (int, string) {
	section := ""
	for i := range t.lines {
		text := strings.TrimSpace(t.text(i))
		if strings.HasPrefix(text, "[") {
			section = text
			continue
		}
		key, _, ok := strings.Cut(text, "=")
		if ok && section == "[UKI]" && strings.EqualFold(strings.TrimSpace(key), "Cmdline") {
			_, value, _ := strings.Cut(t.text(i), "=")
			return i, value
		}
	}
	return -1, ""
}

// kernelInstallCommands installs all kernels again: by add-all, which systemd has since
// 255, or one by one. add-all installs /usr/lib/modules/RELEASE/vmlinuz only
// (kernel-install(8)), and Debian has its kernels in /boot.
func kernelInstallCommands(s *System) [][]string {
	releases, _ := s.names("/usr/lib/modules")
	if len(releases) == 0 {
		releases, _ = s.names("/lib/modules")
	}
	var commands [][]string
	elsewhere := false
	for _, release := range releases {
		for _, image := range []string{path.Join("/usr/lib/modules", release, "vmlinuz"), path.Join("/lib/modules", release, "vmlinuz"), "/boot/vmlinuz-" + release} {
			if s.exists(image) {
				commands = append(commands, []string{"kernel-install", "add", release, image})
				elsewhere = elsewhere || strings.HasPrefix(image, "/boot/")
				break
			}
		}
	}
	if elsewhere {
		return commands
	}
	if data, err := s.read(s.program("kernel-install")); err == nil && bytes.Contains(data, []byte("add-all")) {
		return [][]string{{"kernel-install", "add-all"}}
	}
	return commands
}

// dracutFiles are the configuration files of dracut.conf(5), in the order in which bash
// executes them. A file in /etc replaces that of the same name in /usr/lib.
func (s *System) dracutFiles() ([]*shellFile, error) {
	byName := make(map[string]string)
	for _, dir := range []string{"/usr/lib/dracut/dracut.conf.d", dracutDir} {
		names, err := s.matching(dir, "*.conf")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			byName[path.Base(name)] = name
		}
	}
	names := []string{}
	for _, name := range byName {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	if s.exists("/etc/dracut.conf") {
		names = append([]string{"/etc/dracut.conf"}, names...)
	}
	var files []*shellFile
	for _, name := range names {
		f, err := s.readShell(name)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// dracutValue returns the value of a variable after all files.
func dracutValue(files []*shellFile, name string) string {
	env := make(map[string]string)
	for _, f := range files {
		f.expand(env)
	}
	return env[name]
}

func usesDracut(s *System) (bool, error) {
	if s.program("dracut") == "" {
		return false, nil
	}
	files, err := s.dracutFiles()
	return dracutValue(files, "uefi") == "yes", err
}

const dracutWords = "kernel_cmdline"

// dracutMake makes the images again.
var dracutMake = []string{"dracut", "--regenerate-all", "--uefi", "--force"}

// configureDracut edits kernel_cmdline. If no file sets it, dracut makes one itself, which
// a new setting would replace.
func configureDracut(s *System, p *Plan, e Edit) (bool, error) {
	files, err := s.dracutFiles()
	if err != nil {
		return false, err
	}
	value := dracutValue(files, dracutWords)
	if strings.TrimSpace(value) == "" {
		return false, nil
	}
	if e.holds(value) {
		return true, nil
	}
	changed, placed, err := editDracut(files, e)
	if err != nil {
		return false, err
	}
	if !placed {
		i := slices.IndexFunc(changed, func(f *shellFile) bool { return f.name == dracutOwn })
		if i < 0 {
			i = len(changed)
			changed = append(changed, &shellFile{name: dracutOwn, data: []byte(dracutHeader)})
		}
		text := dracutWords + `+=" ` + strings.Join(e.Words, " ") + " \"\n"
		if changed[i], err = parseShell(dracutOwn, append(slices.Clone(changed[i].data), text...)); err != nil {
			return false, err
		}
		// A new one comes in the order of the names.
		slices.SortStableFunc(changed, func(a, b *shellFile) int { return strings.Compare(dracutOrder(a.name), dracutOrder(b.name)) })
	}
	if !e.holds(dracutValue(changed, dracutWords)) {
		err := fmt.Errorf("%s in %s: another variable or command decides about it", e.Name, dracutDir)
		return false, &placeError{err, dracutWords + " of " + dracutDir, strings.Join(dracutMake, " ")}
	}
	return true, p.dracutDiff(s, files, changed)
}

// dracutOrder is a key by which the files are executed.
func dracutOrder(name string) string {
	if name == "/etc/dracut.conf" {
		return ""
	}
	return path.Base(name)
}

// dracutDiff puts the files that differ into the plan.
func (p *Plan) dracutDiff(s *System, from, to []*shellFile) error {
	for _, f := range to {
		var old []byte
		if i := slices.IndexFunc(from, func(o *shellFile) bool { return o.name == f.name }); i >= 0 {
			old = from[i].data
		}
		data := f.data
		if f.name == dracutOwn && bytes.HasPrefix(data, []byte(dracutHeader)) && emptyDracut(data) {
			data = nil
		}
		if err := p.add(s, f.name, old, data); err != nil {
			return err
		}
	}
	return nil
}

// editDracut changes the assignments that have the words: the first gets those of e. placed
// is false if none has.
func editDracut(files []*shellFile, e Edit) (changed []*shellFile, placed bool, err error) {
	placed = len(e.Words) == 0
	for _, f := range files {
		if err := f.understood(dracutWords); err != nil {
			return nil, false, thenRun(err, dracutMake...)
		}
		for k, a := range f.vars {
			if a.name != dracutWords || len(Of(a.text(), e.Name)) == 0 {
				continue
			}
			own := e.without()
			if !placed {
				own, placed = e, true
			}
			data, err := f.edit(own, k)
			if err != nil {
				return nil, false, thenRun(err, dracutMake...)
			}
			// All lines stay, and so do the indexes.
			if f, err = parseShell(f.name, data); err != nil {
				return nil, false, err
			}
		}
		changed = append(changed, f)
	}
	return changed, placed, nil
}

const dracutHeader = "# Written by kdumpctl setup.\n"

// emptyDracut reports whether a file of ours adds no words any more.
func emptyDracut(data []byte) bool {
	f, err := parseShell(dracutOwn, data)
	return err == nil && len(f.code) == 0 && !slices.ContainsFunc(f.vars, func(a assignment) bool { return strings.TrimSpace(a.text()) != "" })
}

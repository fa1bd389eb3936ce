package bootloader

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ukdump/internal/advice"
)

// raspberryPi is the firmware of the Raspberry Pi, which reads the command line from
// cmdline.txt beside config.txt.
type raspberryPi struct{}

func (raspberryPi) Name() string { return "raspberry-pi" }

const (
	raspberryModel = "/sys/firmware/devicetree/base/model"

	// raspiExtra is the part of the command line that is the user's if Debian's package
	// raspi-firmware writes cmdline.txt, which its hook does with each initramfs.
	raspiExtra = "/etc/default/raspi-extra-cmdline"
	raspiHook  = "/etc/initramfs/post-update.d/z50-raspi-firmware"
)

// raspberryDir returns the directory of config.txt: /boot/firmware since Debian 12, /boot
// before. It is "" on another machine.
func (s *System) raspberryDir() string {
	model, _ := s.read(raspberryModel)
	raspberry := strings.HasPrefix(string(model), "Raspberry Pi")
	for _, dir := range []string{"/boot/firmware", "/boot"} {
		if s.exists(dir+"/config.txt") && (raspberry || s.exists(dir+"/cmdline.txt")) {
			return dir
		}
	}
	return ""
}

// A raspberryConfig is the content of config.txt as far as it concerns the command line.
type raspberryConfig struct {
	cmdlines []string // values of cmdline=, the default first
	prefixes []string // values of os_prefix=, "" first
	kernels  []string
}

// raspberryConfig reads config.txt with the files that it includes. Conditions such as
// [pi4] are not evaluated, so each value counts that can apply.
func (s *System) raspberryConfig(dir string) (*raspberryConfig, error) {
	c := &raspberryConfig{cmdlines: []string{"cmdline.txt"}, prefixes: []string{""}}
	return c, s.readRaspberryConfig(c, dir, "config.txt", nil)
}

func (s *System) readRaspberryConfig(c *raspberryConfig, dir, name string, above []string) error {
	t, err := s.textFile(path.Join(dir, name))
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	above = append(above, name)
	never := false
	for i := range t.lines {
		line := strings.TrimSpace(t.text(i))
		if strings.HasPrefix(line, "[") {
			never = line == "[none]" || never && line != "[all]"
			continue
		}
		if include, ok := strings.CutPrefix(line, "include "); ok && !never {
			include = strings.TrimSpace(include)
			if slices.Contains(above, include) || len(above) > 8 {
				continue
			}
			if err := s.readRaspberryConfig(c, dir, include, above); err != nil {
				return err
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && !never {
			c.set(key, value)
		}
	}
	return nil
}

func (c *raspberryConfig) set(key, value string) {
	add := func(list []string) []string {
		if slices.Contains(list, value) {
			return list
		}
		return append(list, value)
	}
	switch key {
	case "cmdline":
		c.cmdlines = add(c.cmdlines)
	case "os_prefix":
		c.prefixes = add(c.prefixes)
	case "kernel":
		c.kernels = add(c.kernels)
	}
}

// raspberryFiles returns the files with a command line that the firmware can read, the most
// likely first: what config.txt names goes before the defaults.
func (s *System) raspberryFiles(dir string) ([]string, error) {
	c, err := s.raspberryConfig(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, prefix := range slices.Backward(c.prefixes) {
		for _, name := range slices.Backward(c.cmdlines) {
			file := path.Join(dir, prefix+name)
			inside := strings.HasPrefix(file, dir+"/") // the firmware reads one partition
			if inside && s.exists(file) && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}

func (raspberryPi) Find(s *System) (*Found, error) {
	dir := s.raspberryDir()
	if dir == "" {
		return nil, nil
	}
	files, err := s.raspberryFiles(dir)
	if err != nil {
		return nil, err
	}
	found := &Found{Loader: "raspberry-pi", Files: append(files, dir+"/config.txt")}
	e := s.evidence()
	if found.Booted, found.Because = e.owned("the firmware of the Raspberry Pi"); found.Booted == No {
		return found, nil // UEFI, started by the firmware
	}
	// The bootloader of the firmware since the Raspberry Pi 4 describes itself there; U-Boot
	// as the kernel of config.txt keeps that node.
	c, err := s.raspberryConfig(dir)
	if err != nil {
		return nil, err
	}
	uboot := slices.ContainsFunc(c.kernels, func(k string) bool { return strings.Contains(strings.ToLower(k), "u-boot") })
	const node = "/sys/firmware/devicetree/base/chosen/bootloader"
	if s.exists(node) && !uboot {
		found.Booted, found.Because = Yes, node+" exists"
	}
	return found, nil
}

// cmdlineText returns the line of a file that has one command line, such as cmdline.txt. A
// second line is an error, as the firmware reads only the first.
func cmdlineText(t *textFile) (string, error) {
	for i := range t.lines[1:] {
		if strings.TrimSpace(t.text(i+1)) != "" {
			err := t.fault(i+1, "a second line, which the firmware does not read")
			return "", advice.With(err, "Write all into the first line of "+t.name+".")
		}
	}
	return t.text(0), nil
}

// raspberryLine reads a cmdline.txt and returns its line, too.
func (s *System) raspberryLine(name string) (*textFile, string, error) {
	t, err := s.textFile(name)
	if err != nil {
		return nil, "", err
	}
	line, err := cmdlineText(t)
	return t, line, err
}

func (raspberryPi) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	dir := s.raspberryDir()
	files, err := s.raspberryFiles(dir)
	if err != nil {
		return nil, err
	}
	p := new(Plan)
	if len(files) == 0 {
		err := fmt.Errorf("%s has no cmdline.txt", dir)
		return nil, advice.With(err, "Write the command line of /proc/cmdline into "+dir+"/cmdline.txt.")
	}
	for _, name := range files {
		t, line, err := s.raspberryLine(name)
		if err != nil {
			return nil, err
		}
		if !e.done(strings.TrimSpace(line)) {
			t.replace(0, e.applyInside(line))
		}
		if err := p.add(s, name, t.old, t.content()); err != nil {
			return nil, err
		}
	}
	if s.exists(raspiHook) {
		if err := s.planRaspiExtra(p, e); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// planRaspiExtra has the words survive the next cmdline.txt that raspi-firmware writes.
func (s *System) planRaspiExtra(p *Plan, e Edit) error {
	old, err := s.readOptional(raspiExtra)
	if err != nil {
		return err
	}
	t := newTextFile(raspiExtra, old)
	line, err := cmdlineText(t)
	if err != nil {
		return err
	}
	if e.done(strings.TrimSpace(line)) {
		return nil
	}
	t.replace(0, e.applyInside(line))
	content := t.content()
	switch {
	case old == nil:
		content = append(content, '\n')
	case strings.TrimSpace(string(content)) == "":
		content = nil
	}
	return p.add(s, raspiExtra, old, content)
}

func (raspberryPi) Next(s *System) ([]Entry, error) {
	dir := s.raspberryDir()
	files, err := s.raspberryFiles(dir)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for i, name := range files {
		_, line, err := s.raspberryLine(name)
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Title: strings.TrimPrefix(name, dir+"/"), Source: name, Cmdline: strings.TrimSpace(line), Default: i == 0})
	}
	return entries, nil
}

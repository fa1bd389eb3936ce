package bootloader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// flashKernel is Debian's flash-kernel, which makes the script with which U-Boot boots.
type flashKernel struct{}

func (flashKernel) Name() string { return "flash-kernel" }

const (
	flashKernelDefaults = "/etc/default/flash-kernel"

	// The script has the command line "DEFAULTS ${bootargs} CMDLINE", with bootargs of
	// U-Boot's environment, so the words of the last one count.
	flashKernelLast  = "LINUX_KERNEL_CMDLINE"
	flashKernelFirst = "LINUX_KERNEL_CMDLINE_DEFAULTS"
)

// flashKernelScripts is where the script is installed (Boot-Script-Path in its database).
var flashKernelScripts = []string{"/boot/boot.scr", "/boot/firmware/boot.scr"}

// flashKernelScript returns the path of the script, "" if there is none.
func (s *System) flashKernelScript() string {
	for _, name := range flashKernelScripts {
		if s.exists(name) {
			return name
		}
	}
	return ""
}

func (flashKernel) Find(s *System) (*Found, error) {
	script := s.flashKernelScript()
	if script == "" || s.program("flash-kernel") == "" || s.raspberryDir() != "" {
		return nil, nil
	}
	found := &Found{Loader: "flash-kernel", Files: []string{flashKernelDefaults, script}}
	e := s.evidence()
	found.Booted, found.Because = e.owned("U-Boot")
	if found.Booted == Unknown && s.exists("/sys/firmware/efi") {
		found.Booted, found.Because = No, "the machine was booted by EFI, where flash-kernel does nothing"
	}
	return found, nil
}

func (flashKernel) Plan(s *System, e Edit) (*Plan, error) {
	f, err := s.readShell(flashKernelDefaults)
	if absent(err) {
		f, err = parseShell(flashKernelDefaults, nil)
	}
	if err != nil {
		return nil, err
	}
	if err := f.understood(flashKernelLast, flashKernelFirst); err != nil {
		return nil, err
	}
	env := make(map[string]string)
	f.expand(env)
	p := new(Plan)
	if e.done(env[flashKernelLast]) && e.without().done(env[flashKernelFirst]) {
		stale, err := s.stale(flashKernel{}, e)
		if err != nil || !stale {
			return p, err
		}
		return p.flashKernel(s), nil
	}
	content, err := editFlashKernel(f, e)
	if err != nil {
		return nil, err
	}
	old := f.data
	if !s.exists(flashKernelDefaults) {
		old = nil
	}
	if err := p.add(s, f.name, old, content); err != nil || len(p.Files) == 0 {
		return p, err
	}
	return p.flashKernel(s), nil
}

// flashKernel adds the command that writes the script.
func (p *Plan) flashKernel(s *System) *Plan {
	script := s.flashKernelScript()
	p.Commands = []Command{{Args: []string{s.program("flash-kernel")}, Why: "writes " + script, Writes: []string{script, script + ".bak"}}}
	return p
}

// editFlashKernel edits the last assignment of the words that count, and takes the
// parameter out of all other assignments.
func editFlashKernel(f *shellFile, e Edit) ([]byte, error) {
	last := f.last(flashKernelLast)
	var others []int
	for i, a := range f.vars {
		if i != last && (a.name == flashKernelLast || a.name == flashKernelFirst) {
			others = append(others, i)
		}
	}
	content, err := f.edit(e.without(), others...)
	if err != nil {
		return nil, err
	}
	g, err := parseShell(f.name, content)
	if err != nil {
		return nil, err
	}
	if last < 0 {
		if len(e.Words) == 0 {
			return content, nil
		}
		return g.with(flashKernelLast, strings.Join(e.Words, " ")), nil
	}
	return g.edit(e, g.last(flashKernelLast))
}

func (flashKernel) Next(s *System) ([]Entry, error) {
	name := s.flashKernelScript()
	if name == "" {
		return nil, nil
	}
	data, err := s.read(name)
	if err != nil {
		return nil, err
	}
	script, err := uBootScript(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return []Entry{{Title: "U-Boot", Source: name, Cmdline: uBootArgs(script), Default: true}}, nil
}

// uBootScript returns the text of a script in U-Boot's legacy image format: a header of 64
// bytes (include/image.h of U-Boot), the sizes of the parts, big-endian with a zero at the
// end, and the parts.
func uBootScript(data []byte) (string, error) {
	const header, magic, script = 64, 0x27051956, 6
	if len(data) < header+8 || binary.BigEndian.Uint32(data) != magic || data[30] != script {
		return "", errors.New("not a script of U-Boot")
	}
	size := binary.BigEndian.Uint32(data[header:])
	if binary.BigEndian.Uint32(data[header+4:]) != 0 || uint64(size) > uint64(len(data)-header-8) {
		return "", errors.New("damaged script of U-Boot")
	}
	return string(data[header+8:][:size]), nil
}

// uBootArgs returns the command line that a script sets last. Variables of U-Boot, such as
// ${bootargs}, are only known to it.
func uBootArgs(script string) string {
	args := ""
	for line := range strings.Lines(script) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "setenv bootargs "); ok {
			args = strings.TrimSpace(strings.Trim(strings.TrimRight(value, "; "), `"`))
		}
	}
	return args
}

package setup

import (
	"fmt"
	"os/exec"
	"strings"

	"ukdump/internal/cli"
)

// packageManagers say which package a file is from, and do this with a configuration file
// that was changed when a new version of it comes.
var packageManagers = []struct {
	query   []string
	name    func(line string) string // the package in a line of its output
	upgrade string
}{
	{[]string{"dpkg-query", "-S"}, beforeColon, "an upgrade that changes the file will ask about it"},
	{[]string{"rpm", "-q", "--qf", "%{NAME}\n", "-f"}, strings.TrimSpace, "an upgrade that changes the file puts the new one beside it, as .rpmnew"},
	{[]string{"pacman", "-Qqo"}, strings.TrimSpace, "an upgrade that changes the file puts the new one beside it, as .pacnew"},
}

// beforeColon returns the package in a line "PACKAGE: FILE" of dpkg-query(1).
func beforeColon(line string) string {
	name, _, ok := strings.Cut(line, ": ")
	if !ok || strings.HasPrefix(name, "diversion by ") {
		return ""
	}
	return name
}

// owner says which package a file is from and what its upgrades do, "" if none is known.
func owner(file string) string {
	for _, m := range packageManagers {
		program, err := exec.LookPath(m.query[0])
		if err != nil {
			continue
		}
		cmd := exec.Command(program, append(m.query[1:], file)...)
		cmd.Env = append(cmd.Environ(), "LC_ALL=C")
		out, err := cmd.Output()
		if err != nil {
			continue // of no package
		}
		for line := range strings.Lines(string(out)) {
			if name := m.name(line); name != "" {
				return fmt.Sprintf("%s is from the package %s: %s.", file, cli.Text(name, 100), m.upgrade)
			}
		}
	}
	return ""
}

// noteOwners notes which of the files that change are from packages.
func (m *Machine) noteOwners(p *Plan) {
	if m.Owner == nil {
		return
	}
	for _, f := range p.Files {
		if note := m.Owner(f.Path); note != "" && f.Old != nil {
			p.Notes = append(p.Notes, note)
		}
	}
}

package bootloader

import (
	"fmt"
	"strconv"
	"strings"
)

// nixos is NixOS, which writes the files of whatever loader it has from its configuration.
type nixos struct{}

func (nixos) Name() string { return "nixos" }

// nixosParams is the command line of the system that boots next.
const nixosParams = "/nix/var/nix/profiles/system/kernel-params"

func (nixos) Find(s *System) (*Found, error) {
	because := ""
	switch {
	case s.exists("/etc/NIXOS"): // made by the activation of NixOS
		because = "/etc/NIXOS exists"
	case s.osRelease("ID") == "nixos":
		because = "os-release has ID=nixos"
	default:
		return nil, nil
	}
	found := &Found{Loader: "nixos", Version: s.osRelease("VERSION_ID"), Booted: Yes, Because: because}
	for _, name := range []string{"/etc/nixos/flake.nix", "/etc/nixos/configuration.nix"} {
		if s.exists(name) {
			found.Files = append(found.Files, name)
		}
	}
	return found, nil
}

// osRelease returns a field of os-release(5), "" if it has none.
func (s *System) osRelease(field string) string {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := s.read(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), field+"="); ok {
				return strings.Trim(value, `"'`)
			}
		}
		return ""
	}
	return ""
}

// Plan changes nothing: the configuration is a program, and rebuilding may need a network.
func (n nixos) Plan(s *System, e Edit) (*Plan, error) {
	entries, err := n.Next(s)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 && e.done(entries[0].Cmdline) {
		return new(Plan), nil
	}
	const rebuild = "run: nixos-rebuild boot"
	if len(e.Words) == 0 {
		return &Plan{Manual: fmt.Sprintf("Remove %s from boot.kernelParams in the configuration of NixOS, "+
			"and boot.crashDump if it is enabled, and %s", e.Name, rebuild)}, nil
	}
	var list []string
	for _, w := range e.Words {
		list = append(list, nixString(w))
	}
	return &Plan{Manual: fmt.Sprintf("Put this into the configuration of NixOS, in place of other words with %s, and %s\n"+
		"boot.kernelParams = [ %s ];", e.Name, rebuild, strings.Join(list, " "))}, nil
}

// nixString returns text as a string of the Nix language.
func nixString(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", `\${`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + `"`
}

func (nixos) Next(s *System) ([]Entry, error) {
	params, err := s.read(nixosParams)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	line := strings.TrimSpace(string(params))
	title := "NixOS"
	if label, err := s.read("/nix/var/nix/profiles/system/nixos-version"); err == nil {
		title += " " + strconv.QuoteToGraphic(strings.TrimSpace(string(label)))
		title = strings.ReplaceAll(title, `"`, "")
	}
	return []Entry{{Title: title, Source: nixosParams, Cmdline: line, Default: true}}, nil
}

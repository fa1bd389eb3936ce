// Package target parses the name of a target: a directory, or a raw device as
// raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap.
package target

import (
	"errors"
	"path"
	"strings"
)

// Target is the parsed name of a target, which the machine may lack.
type Target struct {
	Kind Kind
	Name string // a path, or the value of PARTUUID= or UUID=; empty for Swap
}

// Kind is the way in which a target is named.
type Kind int

// The kinds of targets. All but the first are raw devices.
const (
	Directory Kind = iota // absolute path
	Device                // path below /dev
	PartUUID
	UUID
	Swap // the first swap partition of the machine, see fstab(5) and proc_swaps(5)
)

// prefix marks raw devices.
const prefix = "raw:"

var (
	errDirectory = errors.New("neither an absolute path of a directory nor a raw device as in raw:PARTUUID=ID")
	errRaw       = errors.New("not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap")
)

// Parse reads a target. Paths need not be clean. The error does not contain s.
func Parse(s string) (Target, error) {
	name, raw := strings.CutPrefix(s, prefix)
	switch {
	case !raw && path.IsAbs(s):
		return Target{Directory, path.Clean(s)}, nil
	case !raw:
		return Target{}, errDirectory
	case name == "swap":
		return Target{Kind: Swap}, nil
	case path.IsAbs(name):
		if name = path.Clean(name); !strings.HasPrefix(name, "/dev/") {
			return Target{}, errRaw
		}
		return Target{Device, name}, nil
	}
	key, id, _ := strings.Cut(name, "=")
	if !isID(id) {
		return Target{}, errRaw
	}
	switch key {
	case "PARTUUID":
		return Target{PartUUID, id}, nil
	case "UUID":
		return Target{UUID, id}, nil
	}
	return Target{}, errRaw
}

// isID reports whether s consists of letters and digits of ASCII, and dashes.
func isID(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return s != ""
}

// String returns the target as Parse reads it.
func (t Target) String() string {
	switch t.Kind {
	case Directory:
		return t.Name
	case PartUUID:
		return prefix + "PARTUUID=" + t.Name
	case UUID:
		return prefix + "UUID=" + t.Name
	case Swap:
		return prefix + "swap"
	}
	return prefix + t.Name
}

// Raw reports whether t is a raw device.
func (t Target) Raw() bool { return t.Kind != Directory }

// RawName returns the name in reports of a raw device of which only the kernel's name
// is known.
func RawName(kernel string) string { return prefix + kernel }

// Package target parses the name of a target: a directory, a raw device as
// raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap, or a place at a server as
// nfs:HOST:/PATH, sftp://USER@HOST/PATH, https://HOST/PATH or s3://BUCKET/PREFIX.
package target

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Target is the parsed name of a target, which the machine may lack.
type Target struct {
	Kind Kind
	Name string // a path, the value of PARTUUID= or UUID=, or all of the name at a server; empty for Swap
}

// Kind is the way in which a target is named.
type Kind int

// The kinds of targets.
const (
	Directory Kind = iota // absolute path
	Device                // path below /dev
	PartUUID
	UUID
	Swap // the first swap partition of the machine, see fstab(5) and proc_swaps(5)
	NFS
	SFTP
	HTTPS
	S3
)

// prefix marks raw devices.
const prefix = "raw:"

var (
	errDirectory = errors.New("neither an absolute path of a directory, nor a raw device as in raw:PARTUUID=ID, nor a target at a server as in sftp://USER@HOST/PATH")
	errRaw       = errors.New("not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap")
)

// Parse reads a target. Paths need not be clean. The error does not contain s.
func Parse(s string) (Target, error) {
	name, raw := strings.CutPrefix(s, prefix)
	if kind, ok := remoteKind(s); ok {
		if _, err := parseRemote(kind, s); err != nil {
			return Target{}, fmt.Errorf("not a target at a server: %w", err)
		}
		return Target{kind, s}, nil
	}
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
	case Directory, NFS, SFTP, HTTPS, S3:
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
func (t Target) Raw() bool { return t.Kind != Directory && !t.Remote() }

// Remote reports whether t is at a server.
func (t Target) Remote() bool { return t.Kind >= NFS }

// RawName returns the name in reports of a raw device of which only the kernel's name
// is known.
func RawName(kernel string) string { return prefix + kernel }

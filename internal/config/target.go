package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// RawSwap is the target that stands for the first swap partition of the machine,
// see fstab(5) and proc_swaps(5).
const RawSwap = "raw:swap"

const rawPrefix = "raw:"

// IsRaw reports whether a target is a raw device, not a directory.
func IsRaw(target string) bool { return strings.HasPrefix(target, rawPrefix) }

// Directories returns the targets that are directories, in their order. There
// may be none.
func (c *Config) Directories() []string {
	return slices.DeleteFunc(slices.Clone(c.Targets), IsRaw)
}

// CheckTarget returns a target in the form in which Config has it, and an error
// if it is neither the absolute path of a directory nor raw:PARTUUID=, raw:UUID=,
// raw:/dev/… or raw:swap. Whether the machine has it is not asked.
func CheckTarget(t string) (string, error) {
	device, raw := strings.CutPrefix(t, rawPrefix)
	if !raw {
		if !path.IsAbs(t) {
			return "", fmt.Errorf("%q is neither an absolute path of a directory nor a raw device as in raw:PARTUUID=ID", brief(t))
		}
		return path.Clean(t), nil
	}
	bad := fmt.Errorf("%q is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap", brief(t))
	if t == RawSwap {
		return t, nil
	}
	if path.IsAbs(device) {
		if device = path.Clean(device); !strings.HasPrefix(device, "/dev/") {
			return "", bad
		}
		return rawPrefix + device, nil
	}
	key, id, _ := strings.Cut(device, "=")
	if key != "PARTUUID" && key != "UUID" || !isWord(id, "-") {
		return "", bad
	}
	return t, nil
}

func setTargets(c *Config, v string) error {
	var list []string
	for _, t := range strings.Fields(v) {
		t, err := CheckTarget(t)
		if err != nil {
			return fmt.Errorf("%w; targets are separated by spaces", err)
		}
		if slices.Contains(list, t) {
			return fmt.Errorf("%s is there twice", brief(t))
		}
		list = append(list, t)
	}
	if len(list) == 0 {
		return errors.New("no directory or raw device")
	}
	c.Targets = list
	return nil
}

// Words of EVIDENCE that are not directories.
const (
	Pstore = "pstore" // the persistent store of the kernel's log
	none   = "none"
)

func setEvidence(c *Config, v string) error {
	var list []string
	for _, e := range strings.Fields(v) {
		if path.IsAbs(e) {
			e = path.Clean(e)
		} else if e != Pstore && e != none {
			return fmt.Errorf("%q is neither an absolute path of a directory, nor pstore, nor none; directories are separated by spaces", brief(e))
		}
		if slices.Contains(list, e) {
			return fmt.Errorf("%s is there twice", brief(e))
		}
		list = append(list, e)
	}
	switch {
	case slices.Equal(list, []string{none}):
		list = nil
	case len(list) == 0, slices.Contains(list, none):
		return errors.New("none stands alone")
	}
	c.Evidence = list
	return nil
}

package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"ukdump/internal/target"
)

// Directories returns the targets that are directories, in their order, perhaps none.
func (c *Config) Directories() (dirs []string) {
	for _, t := range c.Targets {
		if t.Kind == target.Directory {
			dirs = append(dirs, t.Name)
		}
	}
	return dirs
}

// ParseTarget is target.Parse with an error that names the target.
func ParseTarget(s string) (target.Target, error) {
	t, err := target.Parse(s)
	if err != nil {
		return t, fmt.Errorf("%q is %w", brief(s), err)
	}
	return t, nil
}

func setTargets(c *Config, v string) error {
	var list []target.Target
	for _, name := range strings.Fields(v) {
		t, err := ParseTarget(name)
		if err != nil {
			return fmt.Errorf("%w; targets are separated by spaces", err)
		}
		if slices.Contains(list, t) {
			return fmt.Errorf("%s is listed twice", brief(t.String()))
		}
		list = append(list, t)
	}
	if len(list) == 0 {
		return errors.New("no target")
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
			return fmt.Errorf("%s is listed twice", brief(e))
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

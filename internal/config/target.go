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
func (c *Config) Directories() []string {
	return slices.DeleteFunc(slices.Clone(c.Targets), target.IsRaw)
}

// CheckTarget returns a target in the form that Config has, or an error, see
// target.Parse. The machine may lack it.
func CheckTarget(s string) (string, error) {
	t, err := target.Parse(s)
	if err != nil {
		return "", fmt.Errorf("%q is %w", brief(s), err)
	}
	return t.String(), nil
}

func setTargets(c *Config, v string) error {
	var list []string
	for _, t := range strings.Fields(v) {
		t, err := CheckTarget(t)
		if err != nil {
			return fmt.Errorf("%w; targets are separated by spaces", err)
		}
		if slices.Contains(list, t) {
			return fmt.Errorf("%s is listed twice", brief(t))
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

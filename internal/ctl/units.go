package ctl

import (
	"errors"
	"os"
	"path/filepath"

	"ukdump/internal/advice"
	"ukdump/internal/plan"
)

// Units that status looks at.
const (
	loadUnit    = "ukdump.service"
	collectUnit = "ukdump-collect.service"
)

// unitDirs are where units lie, the first of them with a unit counts. lib is a link
// on most systems.
var unitDirs = []string{"etc", "run", "usr/local/lib", "usr/lib", "lib"}

// enabled reports whether systemd starts a unit at boot. Where systemd does not run
// (sd_booted(3)), something else does its work.
func (c *ctl) enabled(unit string) bool {
	if _, err := os.Stat(filepath.Join(c.root, "run/systemd/system")); err != nil {
		return true
	}
	return c.wanted(unit)
}

// wanted reports whether something pulls a unit in (systemd.unit(5)).
func (c *ctl) wanted(unit string) bool {
	for _, dir := range unitDirs {
		for _, by := range []string{"*.wants", "*.requires"} {
			links, _ := filepath.Glob(filepath.Join(c.root, dir, "systemd/system", by))
			for _, l := range links { // the name of a unit may have backslashes, which a pattern must not
				if _, err := os.Lstat(filepath.Join(l, unit)); err == nil {
					return true
				}
			}
		}
	}
	return false
}

// checkUnits returns an error if what is in place now will not be after the next
// boot.
func (c *ctl) checkUnits(s *status) error {
	const enable = "Run systemctl enable ukdump.service."
	if !c.enabled(loadUnit) {
		return advice.With(errors.New("no capture kernel is loaded at the next boot: "+loadUnit+" is not enabled"), enable)
	}
	for _, t := range s.Targets {
		if t.Kind == plan.Raw && !c.enabled(collectUnit) {
			return advice.With(errors.New("a dump on "+t.Dir+" is not collected after the reboot: "+collectUnit+" is not enabled"), enable)
		}
	}
	return nil
}

package ctl

import (
	"os"
	"path/filepath"

	"ukdump/internal/plan"
)

// Units that status looks at.
const (
	loadUnit    = "ukdump.service"
	collectUnit = "ukdump-collect.service"
)

// enabled reports whether systemd starts a unit at boot: something there wants it
// (systemd.unit(5)). Where systemd does not run (sd_booted(3)), something else
// does its work.
func (c *ctl) enabled(unit string) bool {
	if _, err := os.Stat(filepath.Join(c.root, "run/systemd/system")); err != nil {
		return true
	}
	for _, dir := range []string{"etc", "run", "usr/local/lib", "usr/lib", "lib"} {
		links, _ := filepath.Glob(filepath.Join(c.root, dir, "systemd/system/*.wants", unit))
		if len(links) > 0 {
			return true
		}
	}
	return false
}

// checkUnits returns an error if what is in place now will not be after the next
// boot.
func (c *ctl) checkUnits(s *status) error {
	const enable = "Run systemctl enable ukdump.service."
	if !c.enabled(loadUnit) {
		return &statusError{"no capture kernel is loaded at the next boot: " + loadUnit + " is not enabled", enable}
	}
	for _, t := range s.Targets {
		if t.Kind == plan.Raw && !c.enabled(collectUnit) {
			return &statusError{"a dump on " + t.Dir + " is not collected after the reboot: " + collectUnit + " is not enabled", enable}
		}
	}
	return nil
}

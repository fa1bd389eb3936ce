package host

import (
	"os"
	"path/filepath"
)

// unitDirs are where units lie, the first of them with a unit counts. lib is a link
// on most systems.
var unitDirs = []string{"etc", "run", "usr/local/lib", "usr/lib", "lib"}

// UnitEnabled reports whether systemd starts a unit at boot. Where systemd does not run
// (sd_booted(3)), something else does its work.
func UnitEnabled(root, unit string) bool {
	if _, err := os.Stat(filepath.Join(root, "run/systemd/system")); err != nil {
		return true
	}
	return UnitWanted(root, unit)
}

// UnitWanted reports whether something pulls a unit in (systemd.unit(5)).
func UnitWanted(root, unit string) bool {
	for _, dir := range unitDirs {
		for _, by := range []string{"*.wants", "*.requires"} {
			links, _ := filepath.Glob(filepath.Join(root, dir, "systemd/system", by))
			for _, l := range links { // the name of a unit may have backslashes, which a pattern must not
				if _, err := os.Lstat(filepath.Join(l, unit)); err == nil {
					return true
				}
			}
		}
	}
	return false
}

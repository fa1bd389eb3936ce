package host

import (
	"os"
	"path/filepath"
	"slices"
)

// BootUnitDirs are the directories in which systemd finds units at each boot
// (systemd.unit(5)). /lib is a link on most systems.
var BootUnitDirs = []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// unitDirs are those of the system that runs, where /run is not empty yet. The first
// that has a unit counts.
var unitDirs = slices.Insert(slices.Clone(BootUnitDirs), 1, "/run/systemd/system")

// UnitEnabled reports whether systemd starts a unit at the next boot, so /run does
// not count. Where systemd does not run (sd_booted(3)), something else does its work.
func UnitEnabled(root, unit string) bool {
	if _, err := os.Stat(filepath.Join(root, "run/systemd/system")); err != nil {
		return true
	}
	return unitWanted(root, unit, BootUnitDirs)
}

// unitWanted reports whether something in one of the directories pulls a unit in
// (systemd.unit(5)).
func unitWanted(root, unit string, dirs []string) bool {
	for _, dir := range dirs {
		for _, by := range []string{"*.wants", "*.requires"} {
			links, _ := filepath.Glob(filepath.Join(root, dir, by))
			for _, l := range links { // the name of a unit may have backslashes, which a pattern must not
				if _, err := os.Lstat(filepath.Join(l, unit)); err == nil {
					return true
				}
			}
		}
	}
	return false
}

package host

import (
	"os"
	"path/filepath"
)

// BootUnitDirs are the directories in which systemd finds units at each boot
// (systemd.unit(5)). /lib is a link on most systems.
var BootUnitDirs = []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// unitDirs are those of the running system, with /run and the units of generators for
// fstab(5) and GPT partitions. The first directory that has a unit counts.
var unitDirs = []string{
	"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early",
	"/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
}

// SystemdRuns reports whether systemd is PID 1, see sd_booted(3).
func SystemdRuns(root string) bool {
	_, err := os.Stat(filepath.Join(root, "run/systemd/system"))
	return err == nil
}

// UnitEnabled reports whether systemd starts a unit at the next boot, so /run does
// not count. Where systemd does not run, something else does its work.
func UnitEnabled(root, unit string) bool {
	if !SystemdRuns(root) {
		return true
	}
	return wantedUnits(root, BootUnitDirs)[unit]
}

// wantedUnits returns the units that something in one of the directories pulls in
// (systemd.unit(5)).
func wantedUnits(root string, dirs []string) map[string]bool {
	wanted := make(map[string]bool)
	for _, dir := range dirs {
		for _, by := range []string{"*.wants", "*.requires"} {
			lists, _ := filepath.Glob(filepath.Join(root, dir, by)) // our own pattern cannot be bad
			for _, l := range lists {
				entries, _ := os.ReadDir(l)
				for _, e := range entries {
					wanted[e.Name()] = true
				}
			}
		}
	}
	return wanted
}

package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ukdump/internal/crashdir"
)

// kdumpUnits are the units of other tools that load a capture kernel at boot: those of
// kdump-utils, openSUSE's kdump, kdump-tools, kdumpst, kdump-steamos and simple-kdump.
var kdumpUnits = []string{
	"kdump.service", "kdump-early.service", "kdump-tools.service", "kdumpst-init.service", "kdump-init.service",
	"kdump-steamos.service", "simple-kdump-setup.service",
}

// maxUnit bounds the file of a unit, in bytes.
const maxUnit = 256 << 10

// KdumpTools returns the units that load another capture kernel at the next boot: those
// of known tools, and any unit that runs kexec(8) with -p. Where systemd does not run
// (sd_booted(3)) it returns the scripts of known tools.
func KdumpTools(root string) []string {
	if !SystemdRuns(root) {
		return kdumpScripts(root)
	}
	var units []string
	for _, dir := range BootUnitDirs {
		links, _ := filepath.Glob(filepath.Join(root, dir, "*.wants", "*.service"))
		required, _ := filepath.Glob(filepath.Join(root, dir, "*.requires", "*.service"))
		for _, l := range append(links, required...) {
			unit := filepath.Base(l)
			if !slices.Contains(units, unit) && loadsCaptureKernel(root, unit) {
				units = append(units, unit)
			}
		}
	}
	slices.Sort(units)
	return units
}

// kdumpScripts returns the scripts of other tools in the runlevels of OpenRC and
// sysvinit.
func kdumpScripts(root string) (names []string) {
	for _, pattern := range []string{"etc/runlevels/*/kdump*", "etc/rc[2-5S].d/S*kdump*"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern))
		for _, f := range found {
			if name := filepath.Base(f); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// loadsCaptureKernel reports whether a unit loads a capture kernel that is not ours.
func loadsCaptureKernel(root, unit string) bool {
	if strings.HasPrefix(unit, "ukdump") {
		return false
	}
	text, ok := unitFile(root, unit)
	switch {
	case !ok:
		return false // masked, or left behind by a package
	case unit == "kdump-tools.service" && kdumpToolsOff(root):
		return false
	}
	return slices.Contains(kdumpUnits, unit) || runsKexecPanic(text)
}

// unitFile returns the text of the first file of a unit. ok is false if there is none,
// or if the unit is masked by a link to /dev/null (systemd.unit(5)).
func unitFile(root, unit string) (text string, ok bool) {
	for _, dir := range BootUnitDirs {
		file := filepath.Join(root, dir, unit)
		fi, err := os.Lstat(file)
		if err != nil {
			continue
		}
		if fi.Mode()&os.ModeSymlink != 0 {
			to, err := os.Readlink(file)
			if err != nil || to == "/dev/null" {
				return "", false
			}
			if filepath.IsAbs(to) {
				file = filepath.Join(root, to)
			}
		}
		b, err := crashdir.ReadFile(file, maxUnit)
		return string(b), err == nil
	}
	return "", false
}

// runsKexecPanic reports whether a unit runs kexec(8) with the option that loads a
// capture kernel.
func runsKexecPanic(text string) bool {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		key, command, _ := strings.Cut(strings.TrimSpace(line), "=")
		if !strings.HasPrefix(strings.TrimSpace(key), "ExecStart") {
			continue
		}
		words := strings.FieldsFunc(command, func(r rune) bool { return strings.ContainsRune(" \t\"'", r) })
		i := slices.IndexFunc(words, func(w string) bool { return filepath.Base(strings.TrimLeft(w, "-@:+!")) == "kexec" })
		if i < 0 {
			continue
		}
		for _, w := range words[i+1:] {
			if w == "--load-panic" || len(w) > 1 && w[0] == '-' && w[1] != '-' && strings.ContainsRune(w, 'p') && !strings.Contains(w, "=") {
				return true
			}
		}
	}
	return false
}

// kdumpToolsOff reports whether USE_KDUMP of kdump-tools is 0: its unit then loads
// nothing.
func kdumpToolsOff(root string) bool {
	b, err := crashdir.ReadFile(filepath.Join(root, "etc/default/kdump-tools"), maxUnit)
	if err != nil {
		return false
	}
	off := false
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "USE_KDUMP="); ok {
			off = strings.Trim(value, `"'`) == "0"
		}
	}
	return off
}

// UnitStarted returns when systemd last started a unit in this boot, the zero time if
// it did not: it then makes the link of the unit's invocation ID (since systemd 236).
func UnitStarted(root, unit string) time.Time {
	fi, err := os.Lstat(filepath.Join(root, "run/systemd/units", "invocation:"+unit))
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

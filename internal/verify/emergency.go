package verify

import (
	"path/filepath"

	"ukdump/internal/load"
	"ukdump/internal/state"
)

// emergency reports whether the image is the distribution's own initramfs.
func (v *Run) emergency() bool { return v.conf.Emergency() }

// checkSystem checks the replacements of our own modules and programs in
// emergency mode: those of the installed system.
func (v *Run) checkSystem() {
	v.note("drivers", "MODE=emergency: %s opens the storage as at every boot; its content was not checked", v.Image.Path)
	if v.build != nil && v.build.Plan.LogOnly {
		v.skipMakedumpfile()
		return
	}
	if !v.CanForecast() {
		v.note("makedumpfile", "not tried on the running kernel")
		return
	}
	program, err := state.ReadFile(filepath.Join(v.Root, v.build.Makedumpfile), load.MaxProgram)
	if v.Problem("makedumpfile", err) {
		return
	}
	v.tryMakedumpfile(v.build.Makedumpfile, program, v.build.Makedumpfile)
}

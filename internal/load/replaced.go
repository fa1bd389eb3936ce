package load

import (
	"os"
	"time"

	"ukdump/internal/host"
	"ukdump/internal/kexec"
	"ukdump/internal/state"
)

// mark records the traces that a later load by another program would change.
func (ld *Loader) mark(l *state.LoadRecord, kernel *kexec.Kernel, initrd *os.File) {
	l.Pieces = nil
	// Of a file that cannot be read nothing is found.
	var copied kexec.Content
	if from, ok := kernel.Copied(ld.Slot.Arch); ok {
		copied, _ = kexec.ReadContent(kernel.File, from)
	}
	image, _ := kexec.ReadContent(initrd, 0)
	for _, p := range ld.Slot.Locate(copied, image, l.Cmdline) {
		l.Pieces = append(l.Pieces, state.Piece(p))
	}
	l.Updates, l.LoadsLeft = ld.kernelUpdates(), max(0, ld.Slot.LoadLimit())
}

// Replaced returns the problem that something else was loaded over the set of rec, nil
// if nothing shows that. proved says that the reserved memory has the parts of rec.Pieces,
// one at least. The kernel itself only tells that something is loaded.
func (ld *Loader) Replaced(rec *state.LoadRecord) (proved bool, err error) {
	const over = "another program has loaded another capture kernel over this one: "
	var pieces []kexec.Piece
	for _, p := range rec.Pieces {
		pieces = append(pieces, kexec.Piece(p))
	}
	if len(pieces) > 0 {
		part, err := ld.Slot.Overwritten(pieces)
		if err == nil && part != "" {
			return false, NeedsReload(over+"the reserved memory has another %s", part)
		}
		if err == nil {
			return true, nil
		}
	}
	if rec.Updates && !ld.kernelUpdates() {
		return false, NeedsReload(over + "the kernel no longer updates the ELF header (crash_hotplug)")
	}
	if left := ld.Slot.LoadLimit(); left >= 0 && left < rec.LoadsLeft {
		return false, NeedsReload(over + "the sysctl kernel.kexec_load_limit_panic has decreased")
	}
	for _, unit := range host.KdumpTools(ld.Root) {
		if at := host.UnitStarted(ld.Root, unit); at.After(rec.Time) {
			return false, NeedsReload("another program may have loaded another capture kernel over this one: %s was started at %s", unit, at.UTC().Format(time.RFC3339))
		}
	}
	return false, nil
}

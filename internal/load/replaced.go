package load

import (
	"io"
	"os"
	"time"

	"ukdump/internal/host"
	"ukdump/internal/kexec"
	"ukdump/internal/state"
)

// mark records the traces that a later load by another program would change.
func (ld *Loader) mark(l *state.LoadRecord, kernel *kexec.Kernel, initrd *os.File) {
	l.Pieces = nil
	var copied []byte // of the kernel
	from, ok := kernel.Copied(ld.Slot.Arch)
	if ok {
		copied = piece(kernel.File, from)
	}
	for _, p := range ld.Slot.Locate(copied, piece(initrd, 0), l.Cmdline) {
		l.Pieces = append(l.Pieces, state.Piece(p))
	}
	l.Updates, l.LoadsLeft = ld.kernelUpdates(), max(0, ld.Slot.LoadLimit())
}

// piece reads as much of an open file as Locate compares, nil if it cannot be read.
func piece(f *os.File, from int64) []byte {
	b := make([]byte, kexec.MaxPiece)
	n, err := f.ReadAt(b, from)
	if err != nil && err != io.EOF {
		return nil
	}
	return b[:n]
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

package capture

import (
	"errors"
	"fmt"

	"ukdump/internal/plan"
)

// assembleAll assembles the layers of a target, one step each, and returns the kernel
// names of the devices of the top layer. Another target, or a worker that died, may
// have assembled some of them before.
func (w *worker) assembleAll(t *plan.Target) (names []string, err error) {
	w.degraded, w.made = false, nil
	for i := range t.Layers {
		l := &t.Layers[i]
		// Twice: the wait for the members, then the assembly.
		err := w.step(stepAssemble, 2*w.plan.Deadlines.Device, func() (err error) {
			names, err = w.assemble(l)
			if err != nil {
				return fmt.Errorf("%s %s: %w", l.Kind, l.Name, err)
			}
			w.made = append(w.made, names...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// assemble assembles one layer and returns the kernel names of its devices.
func (w *worker) assemble(l *plan.Layer) (names []string, err error) {
	switch l.Kind {
	case plan.Crypt:
		return w.assembleCrypt(l)
	case plan.LVM:
		return w.volume(l)
	case plan.MD:
		return w.assembleMD(l)
	case plan.Btrfs:
		return w.assembleBtrfs(l)
	case plan.Bcache:
		return w.assembleBcache(l)
	default:
		return nil, errors.New("cannot be assembled by this program")
	}
}

package capture

import (
	"errors"
	"fmt"
	"time"

	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// assembleAll brings up the layers of a target, one step each, and returns the
// kernel names of the devices of the topmost one. Another target, or a worker
// that died, may have brought some of them up before.
func (w *worker) assembleAll(t *plan.Target) (names []string, err error) {
	w.degraded, w.made = false, nil
	for i := range t.Layers {
		l := &t.Layers[i]
		// The layer waits for its members, and then has to do something with them.
		err := w.step("assemble "+l.Name, 2*w.plan.Deadlines.Device, func() (err error) {
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

// assemble brings up one layer and returns the kernel names of its devices.
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
		return nil, errors.New("this program cannot assemble it")
	}
}

// waitMembers waits until n different members of a layer have appeared and
// returns their kernel names by their keys. member returns the key of a device
// that is one, by what is on it, and "" for any other; it is the plan's ID of one that was there
// at build time. Of several devices with
// one key, as the paths of one disk are, the first one counts. After the deadline
// it returns those that are there: what that is good for is for the caller to
// say.
func (w *worker) waitMembers(l *plan.Layer, n int, member func(fsid.ID) (key string)) map[string]string {
	s := w.newScan()
	w.log.printf("waiting up to %d s for %d of %s %s", w.plan.Deadlines.Device, n, l.Kind, l.Name)
	for end := uptime() + seconds(w.plan.Deadlines.Device); ; time.Sleep(50 * time.Millisecond) {
		found := s.members(l, member)
		if len(found) >= n {
			return found
		}
		if uptime() > end {
			w.warn("%s %s: only %d of %d members appeared within %d s; block devices: %s",
				l.Kind, l.Name, len(found), n, w.plan.Deadlines.Device, s)
			return found
		}
	}
}

// members returns the devices that are members, by their keys.
func (s *scan) members(l *plan.Layer, member func(fsid.ID) (key string)) map[string]string {
	found := make(map[string]string)
	for _, name := range s.names(l.Members...) {
		d := s.device(name, false)
		if d.err != nil {
			continue
		}
		if key := member(d.id); key != "" && found[key] == "" && s.takes(name, key, l, false) {
			found[key] = name
		}
	}
	return found
}

package host

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// swap is a place for swap.
type swap struct {
	name      string // path of the device or the file, or as in fstab(5)
	partition bool   // a block device, which need not be a partition
	active    bool   // the running kernel swaps to it
}

// swaps returns the swap devices of fstab(5), and all others that the running kernel
// swaps to. Both count: a load may happen while swap is being turned on, and must
// find the same devices as a later one.
func (h *Host) swaps() ([]swap, error) {
	list, err := h.table("/etc/fstab")
	if err != nil {
		return nil, err
	}
	var swaps []swap
	for _, l := range list {
		if len(l) > 2 && l[2] == "swap" && !slices.Contains(options(l, 3), "noauto") {
			swaps = append(swaps, swap{name: l[0], partition: !strings.HasPrefix(l[0], "/") || strings.HasPrefix(l[0], "/dev/")})
		}
	}
	data, err := h.read("/proc/swaps")
	if errors.Is(err, fs.ErrNotExist) {
		return swaps, nil // CONFIG_SWAP is not set
	}
	return append(swaps, parseSwaps(data)...), err
}

// parseSwaps reads proc_swaps(5):
//
//	Filename                Type            Size            Used            Priority
//	/dev/sda2               partition       1048572         0               -2
func parseSwaps(data string) []swap {
	var list []swap
	for line := range strings.Lines(data) {
		// Blanks in a name are escaped.
		f := strings.Fields(line)
		if len(f) >= 5 && strings.HasPrefix(f[0], "/") {
			list = append(list, swap{unescape(f[0]), f[1] == "partition", true})
		}
	}
	return list
}

// isSwap reports whether b is one of swaps, and whether it is turned on.
func (h *Host) isSwap(swaps []swap, b BlockDevice) (is, active bool) {
	for _, s := range swaps {
		if !s.partition {
			continue
		}
		if on, err := h.blockBySpec(s.name); err == nil && on.Path == b.Path {
			is, active = true, active || s.active
		}
	}
	return is, active
}

// rawSwap returns the first block device for swap that can take a dump. Nothing
// permits one that holds something else: nobody has named it.
func (h *Host) rawSwap(target string) (*Raw, error) {
	swaps, err := h.swaps()
	if err != nil {
		return nil, &RawError{Target: target, Err: err}
	}
	none := &NoSwapError{Target: target}
	tried := make(map[string]bool) // file or path in sysfs
	for _, s := range swaps {
		if !s.partition {
			if tried[s.name] {
				continue
			}
			tried[s.name] = true
			none.Tried = append(none.Tried, &RawError{Target: target, Device: s.name, Err: errors.New("a file on another file system")})
			continue
		}
		var r *Raw
		b, err := h.blockBySpec(s.name)
		if err == nil {
			if tried[b.Path] {
				continue
			}
			tried[b.Path] = true
			r, err = h.raw(target, b, false)
		}
		if err == nil {
			return r, nil
		}
		none.Tried = append(none.Tried, err)
	}
	return nil, none
}

// NoSwapError says that there is no swap partition for a dump.
type NoSwapError struct {
	Target string
	Tried  []error // why each swap cannot be used
}

func (e *NoSwapError) Error() string {
	if len(e.Tried) == 0 {
		return e.Target + ": nothing is used for swap"
	}
	s := make([]string, len(e.Tried))
	for i, err := range e.Tried {
		s[i] = err.Error()
		if r, ok := err.(interface{ reason() string }); ok {
			s[i] = r.reason() // each is about the same target
		}
	}
	return e.Target + ": no swap can take a dump: " + strings.Join(s, "; ")
}

// Unwrap returns the errors of the candidates.
func (e *NoSwapError) Unwrap() []error { return e.Tried }

// Advice returns the remedy.
func (e *NoSwapError) Advice() string {
	return "Turn a swap partition on, name another raw device, or leave raw:swap out of TARGET=."
}

package host

import (
	"errors"
	"io/fs"
	"strings"
)

// swap is a line of proc_swaps(5).
type swap struct {
	name      string // path of the device or the file
	partition bool   // a block device, which need not be a partition
}

// swaps returns where the running kernel swaps to.
func (h *Host) swaps() ([]swap, error) {
	data, err := h.read("/proc/swaps")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // CONFIG_SWAP is not set
	}
	return parseSwaps(data), err
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
			list = append(list, swap{unescape(f[0]), f[1] == "partition"})
		}
	}
	return list
}

// isSwap reports whether the running kernel swaps to b.
func (h *Host) isSwap(swaps []swap, b BlockDevice) bool {
	for _, s := range swaps {
		if !s.partition {
			continue
		}
		if on, err := h.blockBySource(s.name); err == nil && on.Path == b.Path {
			return true
		}
	}
	return false
}

// rawSwap returns the first block device for swap that can take a dump.
func (h *Host) rawSwap(target string, overwrite bool) (*Raw, error) {
	swaps, err := h.swaps()
	if err != nil {
		return nil, &RawError{Target: target, Err: err}
	}
	none := &NoSwapError{Target: target}
	for _, s := range swaps {
		if !s.partition {
			none.Tried = append(none.Tried, &RawError{Target: target, Device: s.name, Err: errors.New("it is a file on another file system")})
			continue
		}
		var r *Raw
		b, err := h.blockBySource(s.name)
		if err == nil {
			r, err = h.raw(target, b, overwrite)
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
		s[i] = strings.TrimPrefix(strings.TrimPrefix(err.Error(), "storage of "), e.Target+": ")
	}
	return e.Target + ": no swap can take a dump: " + strings.Join(s, "; ")
}

// Unwrap returns what was tried.
func (e *NoSwapError) Unwrap() []error { return e.Tried }

// Advice returns what to do about it.
func (e *NoSwapError) Advice() string {
	return "Turn a swap partition on, name another raw device, or leave raw:swap out of TARGET=."
}

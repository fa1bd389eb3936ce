package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// MountOf returns the mount that the absolute path dir lies on, and dir without
// symbolic links. The directory may be missing: it belongs to what its nearest
// parent lies on. How its devices are put together is not looked at. The error is
// an *UnsupportedError if nothing would be left there after a reboot.
func (h *Host) MountOf(dir string) (Mount, string, error) {
	m, resolved, err := h.mountOf(dir)
	if err == nil && (lost[m.FSType] || readOnly[m.FSType]) {
		return m, "", refuseType(dir, m)
	}
	if err != nil {
		return m, "", fmt.Errorf("storage of %s: %w", dir, err)
	}
	return m, resolved, nil
}

func (h *Host) mountOf(dir string) (Mount, string, error) {
	dir, err := h.resolve(path.Clean(dir))
	if err != nil {
		return Mount{}, "", err
	}
	// Reading it makes autofs(5) mount what belongs there.
	switch _, err := os.ReadDir(h.path(dir)); {
	case err == nil || errors.Is(err, fs.ErrNotExist):
	default:
		return Mount{}, "", err
	}
	data, err := os.ReadFile(h.path("/proc/self/mountinfo"))
	if err != nil {
		return Mount{}, "", err
	}
	mounts, err := parseMounts(string(data))
	if err != nil {
		return Mount{}, "", err
	}
	m, ok := holding(mounts, dir)
	if !ok {
		return Mount{}, "", errors.New("nothing is mounted on / according to /proc/self/mountinfo")
	}
	return m, dir, nil
}

// Remote reports whether a mount's file system is on another machine.
func (m *Mount) Remote() bool { return network[m.FSType] }

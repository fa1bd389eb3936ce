package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// MountOf returns the mount of the absolute path dir, and dir without symbolic links.
// If the directory is missing, its nearest existing parent counts. MountOf does not
// look at the devices. doubt says why files there may not survive a reboot, "" if
// they certainly do. The error is an *UnsupportedError if they certainly do not.
func (h *Host) MountOf(dir string) (m Mount, resolved, doubt string, err error) {
	m, mounts, resolved, err := h.mountOf(dir)
	if err == nil && (lost[m.FSType] || readOnly[m.FSType]) {
		return m, "", "", refuseType(dir, m)
	}
	if err == nil && m.FSType == "overlay" {
		var certain bool
		if certain, err = h.upperLost(dir, m, mounts); !certain {
			option, _ := m.option("upperdir")
			doubt = "the file system of the upper directory " + option + " of the overlay on " + m.Point + " is unknown"
		}
	}
	if unsupported := (*UnsupportedError)(nil); errors.As(err, &unsupported) {
		return m, "", "", err
	}
	if err != nil {
		return m, "", "", fmt.Errorf("storage of %s: %w", dir, err)
	}
	if err := h.checkDirectory(dir, resolved, m.FSType); err != nil {
		return m, "", "", err
	}
	return m, resolved, doubt, nil
}

// mountOf also returns all mounts.
func (h *Host) mountOf(name string) (Mount, []Mount, string, error) {
	dir, err := h.resolve(path.Clean(name))
	if err != nil {
		return Mount{}, nil, "", err
	}
	// Reading it makes autofs(5) mount the file system that belongs there.
	switch _, err := os.ReadDir(h.path(dir)); {
	case err == nil || errors.Is(err, fs.ErrNotExist):
	default:
		return Mount{}, nil, "", err
	}
	data, err := readFile(h.path("/proc/self/mountinfo"))
	if err != nil {
		return Mount{}, nil, "", err
	}
	mounts, err := parseMounts(string(data))
	if err != nil {
		return Mount{}, nil, "", err
	}
	if err := h.checkMounted(mounts, name, dir); err != nil {
		return Mount{}, nil, "", err
	}
	m, ok := holding(mounts, dir)
	if !ok {
		return Mount{}, nil, "", errors.New("nothing is mounted on / according to /proc/self/mountinfo")
	}
	return m, mounts, dir, nil
}

// Remote reports whether a mount's file system is on another machine.
func (m *Mount) Remote() bool { return network[m.FSType] }

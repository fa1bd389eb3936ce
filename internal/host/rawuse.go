package host

import (
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"
)

// usedBy returns the user of b on this machine, such as a mount; "" for none. Swap
// does not count.
func (h *Host) usedBy(b BlockDevice) (string, error) {
	data, err := readFile(h.path("/proc/self/mountinfo"))
	if err != nil {
		return "", err
	}
	mounts, err := parseMounts(string(data))
	if err != nil {
		return "", err
	}
	return h.userOf(b, mounts, 0)
}

// maxStack is how many devices can lie on each other.
const maxStack = 32

func (h *Host) userOf(b BlockDevice, mounts []Mount, depth int) (string, error) {
	if depth > maxStack {
		return "", errors.New("the devices in /sys are made of each other")
	}
	for _, m := range mounts {
		if h.isOn(m, b) {
			return fmt.Sprintf("a file system on it is mounted on %s", m.Point), nil
		}
	}
	// Other devices of a btrfs are in no mount.
	pools, err := h.names("/sys/fs/btrfs")
	if err != nil {
		return "", err
	}
	for _, p := range pools {
		if h.exists(path.Join("/sys/fs/btrfs", p, "devices", b.Name)) {
			return "part of the mounted btrfs " + p, nil
		}
	}
	holders, err := h.names(path.Join(b.Path, "holders"))
	if err != nil {
		return "", err
	}
	if len(holders) == 0 {
		return "", nil
	}
	name := holders[0]
	for _, n := range holders {
		above, err := h.block("/sys/class/block/" + n)
		if err != nil {
			return "", err
		}
		if user, err := h.userOf(above, mounts, depth+1); user != "" || err != nil {
			return user, err
		}
	}
	if n := h.attr("/sys/class/block/"+name, "dm/name"); n != "" {
		name = n + " (" + name + ")"
	}
	return "part of " + name, nil
}

// isOn reports whether m is a mount of the file system on b.
func (h *Host) isOn(m Mount, b BlockDevice) bool {
	if m.Major != 0 {
		return m.Major == b.Major && m.Minor == b.Minor
	}
	if !path.IsAbs(m.Source) {
		return false
	}
	on, err := h.blockBySource(m.Source)
	return err == nil && on.Path == b.Path
}

// openExclusive fails if anything in the kernel has claimed b: mounts of other
// namespaces, md, ZFS (open(2), EBUSY).
func (h *Host) openExclusive(b BlockDevice) error {
	f, err := h.openBlockFlags(b, os.O_EXCL)
	if errors.Is(err, syscall.EBUSY) {
		return errors.New("in use")
	}
	if err == nil {
		f.Close()
	}
	return err
}

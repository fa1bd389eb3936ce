package host

import (
	"fmt"
	"path"
	"slices"
)

// btrfsMembers returns the devices of the mounted btrfs that b belongs to, b
// first (Documentation/ABI/testing/sysfs-fs-btrfs has them by name): only b if
// the kernel does not tell.
func (h *Host) btrfsMembers(b BlockDevice) ([]BlockDevice, error) {
	const dir = "/sys/fs/btrfs"
	all := []BlockDevice{b}
	ids, err := h.names(dir)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		names, err := h.names(path.Join(dir, id, "devices"))
		if err != nil {
			continue // a file
		}
		if !slices.Contains(names, b.Name) {
			continue
		}
		for _, name := range names {
			if name == b.Name {
				continue
			}
			m, err := h.block("/sys/class/block/" + name)
			if err != nil {
				return nil, fmt.Errorf("device %s of the btrfs: %w", name, err)
			}
			all = append(all, m)
		}
	}
	return all, nil
}

// identifyMembers fills in Members, of a file system that has n devices according
// to its superblock, 0 if that could not be read.
func (h *Host) identifyMembers(s *Storage, devices []BlockDevice, n uint64) error {
	if len(devices) == 1 && n <= 1 {
		return nil
	}
	for _, d := range devices {
		m := Member{Name: d.Name}
		if id, err := h.probe(s, d); err == nil {
			if id.UUID != s.UUID {
				return &UnsupportedError{Dir: s.Dir, What: "btrfs file system", Name: "on " + s.Stack[0].Name, Why: d.Name + " is a seed device or belongs to another one"}
			}
			m.ID = id.Member
		}
		s.Members = append(s.Members, m)
	}
	s.Missing = max(0, int(min(n, 1<<20))-len(devices))
	return nil
}

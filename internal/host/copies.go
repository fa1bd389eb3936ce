package host

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"ukdump/internal/fsid"
)

// serial returns the serial number of the disk that b is, or is a partition of.
func (h *Host) serial(b BlockDevice) string {
	switch b.Kind {
	case Disk:
		return fsid.Serial(h.path(b.Path))
	case Partition:
		return fsid.Serial(h.path(path.Dir(b.Path)))
	}
	return ""
}

// copies returns the names of other devices that hold a file system with the UUID
// of the one on the first device of s, as far as udev knows: clones of its disk,
// snapshots. Devices of the stack and other paths to the same disk are no copies.
func (h *Host) copies(s *Storage) ([]string, error) {
	names, err := h.names("/sys/class/block")
	if err != nil {
		return nil, err
	}
	self := s.Stack[0]
	sub := h.udev(self)["ID_FS_UUID_SUB"]
	var copies []string
	for _, n := range names {
		b, err := h.block("/sys/class/block/" + n)
		if err != nil || slices.ContainsFunc(s.Stack, func(o BlockDevice) bool { return o.Name == n }) {
			continue // it may be gone by now
		}
		props := h.udev(b)
		// The devices of one btrfs differ in UUID_SUB.
		if !strings.EqualFold(props["ID_FS_UUID"], s.UUID) || family(props["ID_FS_TYPE"]) != family(s.FSType) || props["ID_FS_UUID_SUB"] != sub {
			continue
		}
		if serial := h.serial(b); serial != "" && serial == self.Serial && (self.Kind == Multipath || h.partUUID(b) == self.PartUUID) {
			continue
		}
		if id := h.wwid(b); id != "" && slices.ContainsFunc(s.Stack, func(o BlockDevice) bool { return h.wwid(o) == id }) &&
			(self.Kind == Multipath || b.Partition == self.Partition) {
			continue
		}
		copies = append(copies, n)
	}
	return copies, nil
}

// wwid returns the running kernel's identifier of a disk (sysfs(5), wwid). Several
// paths to one disk share it, and some disks have it but no serial number. Another
// kernel may give the disk another one.
func (h *Host) wwid(b BlockDevice) string {
	dir := b.Path
	switch b.Kind {
	case Disk:
	case Partition:
		dir = path.Dir(dir)
	default:
		return ""
	}
	return cmp.Or(h.attr(dir, "wwid"), h.attr(dir, "device/wwid"))
}

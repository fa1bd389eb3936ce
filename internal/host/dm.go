package host

import (
	"path"
	"slices"
)

// sameGroup reports whether both devices are logical volumes of one volume
// group: "LVM-" and its UUID of 32 characters begin that of the device.
func sameGroup(a, b BlockDevice) bool {
	const n = len("LVM-") + 32
	return a.Kind == LVM && b.Kind == LVM && len(a.DMUUID) >= n && len(b.DMUUID) >= n && a.DMUUID[:n] == b.DMUUID[:n]
}

// Hidden reports whether a logical volume is a part of another one in the stack.
func (b *BlockDevice) Hidden(stack []BlockDevice) bool {
	for _, above := range stack {
		if sameGroup(above, *b) && slices.Contains(above.Below, b.Name) {
			return true
		}
	}
	return false
}

// snapshots returns the names of the snapshots of b, if it is a logical volume
// that has some. What is written to it goes by way of them, so they have to be
// there too: they are made of the same hidden "-real" as b
// (Documentation/admin-guide/device-mapper/snapshot.rst).
func (h *Host) snapshots(b BlockDevice) ([]string, error) {
	var list []string
	for _, name := range b.Below {
		if b.DMUUID == "" {
			break
		}
		dir, err := h.resolve("/sys/class/block/" + name)
		if err != nil {
			return nil, err
		}
		if h.attr(dir, "dm/uuid") != b.DMUUID+"-real" {
			continue
		}
		holders, err := h.names(path.Join(dir, "holders"))
		if err != nil {
			return nil, err
		}
		for _, holder := range holders {
			if holder != b.Name {
				list = append(list, holder)
			}
		}
	}
	return list, nil
}

package lvm

import (
	"errors"
	"slices"
	"strings"
)

// VG is a volume group.
type VG struct {
	*section
	ID         string
	Seqno      uint64   // counts the changes
	ExtentSize uint64   // in sectors of 512 bytes
	pvs, lvs   *section // in a section of its own each
}

// LV is a logical volume, also a hidden one.
type LV struct{ *section }

// ID returns a UUID of LVM with its dashes.
func ID(s string) string {
	if len(s) != pvIDSize {
		return s
	}
	return s[:6] + "-" + s[6:10] + "-" + s[10:14] + "-" + s[14:18] + "-" + s[18:22] + "-" + s[22:26] + "-" + s[26:]
}

// Parse reads the text of a volume group's metadata.
func Parse(text string) (*VG, error) {
	all, err := parse(text)
	if err != nil {
		return nil, err
	}
	if len(all.parts) != 1 || all.Text("contents") != "Text Format Volume Group" {
		return nil, errors.New("LVM metadata: not one volume group")
	}
	g := all.parts[0]
	vg := &VG{
		section: g, ID: g.Text("id"), Seqno: g.number("seqno"), ExtentSize: g.number("extent_size"),
		pvs: g.part("physical_volumes"), lvs: g.part("logical_volumes"),
	}
	if vg.ID == "" || vg.ExtentSize == 0 {
		return nil, errors.New("LVM metadata: the volume group has no id or no extent_size")
	}
	return vg, nil
}

// SystemID returns the ID of the only machine that may use the group, "" if any may
// (lvmsystemid(7)).
func (vg *VG) SystemID() string { return vg.Text("system_id") }

// Shared reports whether several machines use the group, with locks between them
// (lvmlockd(8), clvmd).
func (vg *VG) Shared() bool {
	lock := vg.Text("lock_type")
	return lock != "" && lock != "none" || slices.Contains(vg.list("status"), "CLUSTERED")
}

// mapperUUID returns the beginning of a mapped device's UUID for UUIDs of LVM. It has
// no dashes.
func mapperUUID(ids string) string { return "LVM-" + strings.ReplaceAll(ids, "-", "") }

// Owns reports whether the mapped device with this UUID belongs to the group. An ID that
// is only the beginning of another one does not count: a group with such an ID could take
// the place of any other.
func (vg *VG) Owns(uuid string) bool {
	prefix := mapperUUID(vg.ID)
	return len(prefix) == len(mapperUUID(""))+pvIDSize && strings.HasPrefix(uuid, prefix)
}

// Volume returns the logical volume of a mapped device by its UUID, nil if the group
// has no such volume. The UUIDs of hidden devices have a suffix.
func (vg *VG) Volume(uuid string) *LV {
	for _, lv := range vg.lvs.parts {
		want := mapperUUID(vg.ID + lv.Text("id"))
		if strings.HasPrefix(uuid, want) && (len(uuid) == len(want) || uuid[len(want)] == '-') {
			return &LV{lv}
		}
	}
	return nil
}

// Complete reports whether all physical volumes are present. device returns "" for the
// UUID of a missing one.
func (vg *VG) Complete(device func(pv string) string) bool {
	for _, pv := range vg.pvs.parts {
		if device(pv.Text("id")) == "" {
			return false
		}
	}
	return true
}

// segments returns the parts of a volume's section, in their order.
func (s *section) segments() (list []*section) {
	for _, s := range s.parts {
		if strings.HasPrefix(s.Name, "segment") {
			list = append(list, s)
		}
	}
	return list
}

// Type returns the type of a volume or of a part of one: striped, raid1, thin. If the
// parts differ it is that of the first.
func (lv *LV) Type() string {
	for _, s := range lv.segments() {
		return s.segmentType()
	}
	return ""
}

// segmentType returns the type of a segment without the flags that follow it.
func (s *section) segmentType() string {
	typ, _, _ := strings.Cut(s.Text("type"), "+")
	return typ
}

// Size returns the size of a volume in sectors of 512 bytes.
func (vg *VG) Size(lv *LV) (sectors uint64) {
	for _, s := range lv.segments() {
		sectors += s.number("extent_count") * vg.ExtentSize
	}
	return sectors
}

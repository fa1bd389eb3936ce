package host

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/dm"
	"ukdump/internal/lvm"
)

// Volume is a logical volume with everything that it is made of.
type Volume struct {
	Name     string // VG/LV
	UUID     string // in device-mapper
	SystemID string // of its volume group, if only this machine may use that
	Devices  []VolumeDevice
	Members  []Member // the physical volumes that it is on, with their UUIDs
}

// VolumeDevice is one device of device-mapper; plan.LVMDevice explains the
// fields. The last one is the volume, the others come before those that they
// are for.
type VolumeDevice struct {
	Name, UUID, Layout, Type, Params string
	Length                           uint64
}

// targets are the types that the capture kernel can be given as they are, beside
// linear and striped.
var targets = map[string]bool{
	"thin": true, "thin-pool": true, "cache": true, "raid": true, "snapshot": true, "snapshot-origin": true,
}

// Volume finds the parts of the logical volume top of a stack. dir is for
// messages. The error is an *UnsupportedError if the capture kernel could not
// bring it up.
func (h *Host) Volume(dir string, stack []BlockDevice, top BlockDevice) (*Volume, error) {
	v := &Volume{UUID: top.DMUUID}
	refuse := func(why string) error {
		return &UnsupportedError{Dir: dir, What: "LVM volume", Name: fmt.Sprintf("%s (%s)", top.DMName, top.Name), Why: why}
	}
	parts, members := volumeParts(stack, top)
	vg, pvs, err := h.group(v, members, top)
	if err != nil {
		return nil, fmt.Errorf("LVM volume %s: %w", top.DMName, err)
	}
	if vg.Shared() {
		return nil, refuse("its volume group is shared with other machines, which may have taken it over")
	}
	v.SystemID = vg.SystemID()
	index := make(map[string]string) // of Devices, by the number of the device; "" for one on a missing disk
	for _, b := range parts {
		lv := vg.Volume(b.DMUUID)
		if lv == nil {
			return nil, refuse("the metadata of its volume group has no volume with the UUID of " + b.DMName)
		}
		if b.Name == top.Name {
			v.Name = vg.Name + "/" + lv.Name
		}
		table, err := h.Table(b)
		if err != nil {
			return nil, fmt.Errorf("LVM volume %s: %w", top.DMName, err)
		}
		if onMissing(table, index) {
			if b.Name == top.Name {
				return nil, refuse("a disk that it needs is missing")
			}
			index[number(b)] = ""
			continue
		}
		d := VolumeDevice{Name: b.DMName, UUID: b.DMUUID}
		if why := d.describe(vg, lv, table, pvs, index); why != "" {
			return nil, refuse(b.DMName + " " + why)
		}
		index[number(b)] = strconv.Itoa(len(v.Devices))
		v.Devices = append(v.Devices, d)
	}
	return v, nil
}

// onMissing reports whether an optional device of a RAID lies on a missing disk:
// LVM puts the error target in its place.
func onMissing(table []dm.Target, devices map[string]string) bool {
	for _, t := range table {
		if t.Type == "error" {
			return true
		}
		for _, w := range strings.Fields(t.Params) {
			if n, ok := devices[w]; ok && n == "" && t.Type != "raid" {
				return true
			}
		}
	}
	return false
}

// volumeParts returns the parts of top in its volume group, lowest first, and the
// devices below them:
//
//	vg0-crash                          top, RAID1
//	vg0-crash_rimage_0, _rmeta_0, …    parts
//	sda2, md0                          members: PVs of vg0
func volumeParts(stack []BlockDevice, top BlockDevice) (parts, members []BlockDevice) {
	needed := map[string]bool{top.Name: true}
	for _, b := range stack { // each before its parts
		switch {
		case !needed[b.Name]:
		case sameGroup(b, top):
			parts = append(parts, b)
			for _, name := range b.Below {
				needed[name] = true
			}
		default:
			members = append(members, b)
		}
	}
	slices.Reverse(parts)
	return parts, members
}

// group reads the metadata of the volume group of top from its physical volumes,
// and fills in v.Members. pvs are the numbers of these devices by their UUIDs.
func (h *Host) group(v *Volume, members []BlockDevice, top BlockDevice) (vg *lvm.VG, pvs map[string]string, err error) {
	pvs = make(map[string]string)
	for _, b := range members {
		f, err := h.openBlock(b)
		if err != nil {
			return nil, nil, err
		}
		pv, got, err := lvm.Read(f)
		f.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", b.Name, err)
		}
		pvs[pv] = number(b)
		v.Members = append(v.Members, Member{Name: b.Name, ID: pv})
		if got != nil && got.Owns(top.DMUUID) && (vg == nil || got.Seqno > vg.Seqno) {
			vg = got
		}
	}
	if vg == nil {
		return nil, nil, errors.New("no device below has the metadata of its volume group")
	}
	return vg, pvs, nil
}

// number returns the device number of b as tables have it.
func number(b BlockDevice) string { return fmt.Sprintf("%d:%d", b.Major, b.Minor) }

// describe fills in how to make the device of lv that has this table, or returns
// why that is not possible. devices are the words for those that come before it,
// by their numbers.
func (d *VolumeDevice) describe(vg *lvm.VG, lv *lvm.LV, table []dm.Target, pvs, devices map[string]string) (why string) {
	// The table made from the metadata on the disks must be the one in use. Then
	// it is also right if the metadata are different at the time of the crash.
	if vg.Plain(lv) {
		plain, err := vg.Table(lv, func(pv string) string { return pvs[pv] })
		if err == nil && slices.Equal(plain, table) {
			return ""
		}
	}
	if len(table) != 1 {
		return "has a table that does not match the metadata of its volume group"
	}
	t := table[0]
	if t.Type != "linear" && !targets[t.Type] {
		return "is of the type " + t.Type
	}
	d.Type, d.Layout = t.Type, vg.Layout(lv)
	if t.Length != vg.Size(lv) || t.Type == "linear" {
		d.Length = t.Length
	}
	words := strings.Fields(t.Params)
	if t.Type == "raid" {
		if words, why = raidParams(words); why != "" {
			return why
		}
	}
	for i, w := range words {
		if n, ok := devices[w]; ok && n == "" {
			words[i] = ""
		} else if ok {
			words[i] = "%" + n
		} else if isNumber(w) {
			return "is made of a device outside of its volume group, " + w
		}
	}
	if t.Type == "raid" {
		lvm.WithoutMissing(words)
	}
	d.Params = strings.Join(words, " ")
	return ""
}

// isNumber reports whether a word of a table is MAJOR:MINOR.
func isNumber(word string) bool {
	major, minor, ok := strings.Cut(word, ":")
	_, err1 := strconv.ParseUint(major, 10, 32)
	_, err2 := strconv.ParseUint(minor, 10, 32)
	return ok && err1 == nil && err2 == nil
}

// raidParams returns the parameters of a raid target without those that start an
// operation when it is loaded: the disks record how far that has come
// (Documentation/admin-guide/device-mapper/dm-raid.rst).
func raidParams(words []string) (kept []string, why string) {
	n, err := 0, error(nil)
	if len(words) > 2 {
		n, err = strconv.Atoi(words[1])
	}
	if n < 1 || err != nil || len(words) < 2+n {
		return nil, "has unknown parameters: " + strings.Join(words, " ")
	}
	params := words[2 : 2+n]
	out := params[:1:1] // the size of a chunk
	for i := 1; i < n; i++ {
		switch params[i] {
		case "sync":
		case "rebuild":
			i++
		case "delta_disks", "data_offset":
			return nil, "has a reshape in progress"
		default:
			out = append(out, params[i])
		}
	}
	kept = append([]string{words[0], strconv.Itoa(len(out))}, out...)
	return append(kept, words[2+n:]...), ""
}

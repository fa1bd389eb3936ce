package lvm

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/dm"
)

// MissingError names the missing physical volumes that a logical volume needs.
type MissingError struct {
	LV  string
	PVs []string // their UUIDs, some perhaps more than once
}

func (e *MissingError) Error() string {
	return e.LV + " is on physical volumes that are not there: " + strings.Join(e.PVs, ", ")
}

// Plain is the Layout of a volume whose whole table Table can make.
const Plain = "striped"

// Plain reports whether a volume consists of parts of physical volumes and nothing
// else, so that Table can make its table. A volume with snapshots is not plain: writes
// must not bypass the snapshots.
func (vg *VG) Plain(lv *LV) bool {
	segments := lv.segments()
	for _, s := range segments {
		stripes := s.list("stripes")
		if typ := s.segmentType(); typ != "striped" && typ != "linear" || len(stripes) == 0 || len(stripes)%2 != 0 {
			return false
		}
		for i := 0; i < len(stripes); i += 2 {
			if vg.pvs.part(stripes[i]).Name == "" {
				return false // another volume, while pvmove(8) is at work
			}
		}
	}
	return len(segments) > 0
}

// snapshots returns the segments of the snapshots of lv. Each write to lv has to pass
// through them.
func (vg *VG) snapshots(lv *LV) (list []*section) {
	for _, other := range vg.lvs.parts {
		for _, s := range other.segments() {
			if s.segmentType() == "snapshot" && s.Text("origin") == lv.Name {
				list = append(list, s)
			}
		}
	}
	return list
}

// Table returns device-mapper's table of a plain volume. device returns the
// MAJOR:MINOR of a physical volume by its UUID, "" if it is missing. The error is a
// *MissingError if a physical volume that is needed is missing or stale.
//
// The parameters are those of Documentation/admin-guide/device-mapper/linear.rst
// and striped.rst.
func (vg *VG) Table(lv *LV, device func(pv string) string) (table []dm.Target, err error) {
	var at uint64
	missing := &MissingError{LV: lv.Name}
	for _, s := range lv.segments() {
		count := s.number("extent_count")
		stripes := s.list("stripes")
		n := len(stripes) / 2
		if s.number("start_extent")*vg.ExtentSize != at || n == 0 {
			return nil, errExtents
		}
		t := dm.Target{Start: at, Length: count * vg.ExtentSize, Type: "linear"}
		var words []string
		if n > 1 {
			t.Type = "striped"
			words = append(words, strconv.Itoa(n), s.Text("stripe_size"))
		}
		for i := 0; i < len(stripes)-1; i += 2 {
			pv := vg.pvs.part(stripes[i])
			id := pv.Text("id")
			from, err := strconv.ParseUint(stripes[i+1], 10, 32)
			if err != nil || from+count/uint64(n) > pv.number("pe_count") {
				return nil, errExtents
			}
			dev := device(id)
			if dev == "" || slices.Contains(pv.list("flags"), "MISSING") {
				missing.PVs = append(missing.PVs, id)
			}
			words = append(words, dev, strconv.FormatUint(pv.number("pe_start")+from*vg.ExtentSize, 10))
		}
		t.Params = strings.Join(words, " ")
		table = append(table, t)
		at += t.Length
	}
	if len(missing.PVs) > 0 {
		return nil, missing
	}
	return table, nil
}

var errExtents = errors.New("LVM metadata: extents of a volume do not exist")

// Layout describes the structure of a volume. If it changes, a table that was taken
// from the kernel is out of date. Sizes, places on physical volumes and counters of
// changes are not in it; names of volumes are replaced by their UUIDs.
func (vg *VG) Layout(lv *LV) string {
	list := vg.snapshots(lv)
	var words []string
	if vg.Plain(lv) {
		words = append(words, Plain)
	} else {
		list = append(lv.segments(), list...)
	}
	for _, s := range list {
		words = append(words, s.segmentType()+":")
		for _, v := range s.values {
			switch v.name {
			case "type", "start_extent", "extent_count", "transaction_id":
				continue
			}
			words = append(words, v.name)
			for _, w := range v.words {
				if id := vg.lvs.part(w).Text("id"); id != "" {
					w = id
				}
				words = append(words, w)
			}
		}
	}
	return strings.Join(words, " ")
}

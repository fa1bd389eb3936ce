package capture

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// settleTime is how long the search waits for the recorded device before it uses
// another one: two devices with one UUID may appear one after the other.
const settleTime = 2 * time.Second

// find returns the name of the target's block device, "" for none. It is sure if the
// device is at its recorded place or on its recorded disk.
//
// After a disk or a partition was copied, several devices hold the same file system:
//
//	/dev/vda2  xfs 1234  serial number A, as recorded: the target
//	/dev/vdb2  xfs 1234  serial number B: a copy, never written to
//
// A copy differs in the serial number of its disk or in its PARTUUID. A device at the
// recorded place wins. If several devices remain, the target is ambiguous and find
// returns none of them.
func (s *scan) find(t *plan.Target) (name string, sure bool) {
	var found []string
	s.several = ""
	for _, n := range s.names(t.Device) {
		// The member of a mirror shows the same file system and must not be
		// written to.
		if !s.within(n, s.layers) || s.held(n) {
			continue
		}
		if t.Device.Volume != "" && slices.Contains(s.layers, n) {
			return n, true // with any content
		}
		raw := t.Kind == plan.Raw && t.Device.PartUUID != ""
		d := s.device(n, raw)
		if !d.holds(t) {
			continue
		}
		if len(t.Layers) > 0 {
			return n, true // it was assembled of the right members
		}
		switch j := s.compare(n, &t.Device); {
		case j.mismatch != "":
		case j.match || s.rank(n, []plan.Device{t.Device}) == 0:
			return n, true
		case !slices.ContainsFunc(found, func(o string) bool { return s.path(n) == s.path(o) }):
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
	case 1:
		name = found[0]
	default:
		s.several = strings.Join(found, ", ")
	}
	return name, false
}

// comparison is the result of comparing a device with the plan. The zero value is
// unknown.
type comparison struct {
	mismatch string // the difference, "" if none was seen
	match    bool   // the disk is the recorded one
}

// noPartition is the mismatch of a disk whose last partition is wanted: a superblock
// at the end of it, such as md metadata 0.90, shows in both.
const noPartition = "not a partition"

// compare compares the identity of a device with want. The contents are the same.
func (s *scan) compare(name string, want *plan.Device) comparison {
	d := s.seen[name]
	if d.compared || want.PartUUID == "" && want.Serial == "" {
		return d.comparison
	}
	if s.reading != nil {
		s.reading(name) // the disk may be asked for its serial number
		defer s.reading("")
	}
	disk, serial := s.disk(name), ""
	if want.PartUUID != "" && d.partUUID == "" {
		d.partUUID = s.partUUID(name)
	}
	if want.Serial != "" {
		serial = fsid.Serial(disk)
	}
	switch {
	case want.PartUUID != "" && !fileExists(filepath.Join(s.sys, name, "partition")):
		d.mismatch = noPartition
	case want.PartUUID != "" && d.partUUID != "" && !strings.EqualFold(d.partUUID, want.PartUUID):
		d.mismatch = "PARTUUID " + d.partUUID + ", not " + want.PartUUID
	case serial != "" && serial != want.Serial:
		d.mismatch = "serial number of " + filepath.Base(disk) + ": " + serial + ", not " + want.Serial
	default:
		d.match = serial != ""
	}
	d.compared = true
	return d.comparison
}

// takes reports whether a device with the content of a member may be used as that
// member. A copy may not, as in find, and an unknown device only after the settle
// time. late is set if no better device appeared: a mismatch may then be the
// replacement of a disk, which has the same number. A member that was itself
// assembled must be that device: a leg of a mirror shows the same content.
func (s *scan) takes(name, id string, l *plan.Layer, late bool) bool {
	for i := range l.Members {
		m := &l.Members[i]
		if id == "" || m.ID != id {
			continue
		}
		switch j := s.compare(name, m); {
		case j.mismatch != "":
			return late && j.mismatch != noPartition
		case j.match:
			return true
		case strings.HasPrefix(m.Path, "virtual/block/"):
			return s.within(name, s.made)
		}
		return s.rank(name, l.Members[i:i+1]) == 0 || uptime() > s.begun+settleTime
	}
	return true // a new member
}

// path returns the identity that all paths to one disk or partition share (wwid in
// sysfs), or else the name.
func (s *scan) path(name string) string {
	disk := s.disk(name)
	for _, file := range []string{"/wwid", "/device/wwid"} {
		if b, _ := os.ReadFile(disk + file); len(b) > 1 {
			return string(b) + strconv.FormatInt(readInt(filepath.Join(s.sys, name, "partition")), 10)
		}
	}
	return name
}

// disk returns the sysfs directory of a partition's disk, or of the device itself.
func (s *scan) disk(name string) string {
	dir := filepath.Join(s.sys, name)
	if link, err := os.Readlink(dir); err == nil && fileExists(filepath.Join(dir, "partition")) {
		return filepath.Dir(filepath.Join(s.sys, link)) // ../../devices/.../block/vda/vda2
	}
	return dir
}

// copies lists the copies that were seen, each with its mismatch.
func (s *scan) copies() string {
	var list []string
	for name, d := range s.seen {
		if d.mismatch != "" {
			list = append(list, name+" ("+d.mismatch+")")
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

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

// grace is for how long after the beginning of the search a device that is not in
// the target's place is not taken: two with one UUID need not appear at once.
const grace = 2 * time.Second

// find looks at the block devices and returns the name of the one that is the
// target's, "" for none. It is sure if the device is where it was when the image
// was built, or its disk is known to be the same.
//
// Where a disk or a partition was copied, several hold the same file system, and
// a copy must not be written to. It differs in the serial number of its disk or in
// its PARTUUID; a device in the target's place comes before one in another.
// Several that none of this tells apart are noted, and none is taken.
func (s *scan) find(t *plan.Target) (name string, sure bool) {
	var found []string
	s.several = ""
	for _, n := range s.names(t.Device) {
		// A member that shows the file system of its mirror must never
		// be written to.
		if !s.within(n, s.layers) || s.held(n) {
			continue
		}
		if t.Device.Volume != "" && slices.Contains(s.layers, n) {
			return n, true // whatever is on it
		}
		raw := t.Kind == plan.Raw && t.Device.PartUUID != ""
		d := s.device(n, raw)
		if !d.holds(t) {
			continue
		}
		if len(t.Layers) > 0 {
			return n, true // it was assembled of the right members
		}
		switch j := s.judge(n, &t.Device); {
		case j.other != "":
		case j.same || s.rank(n, []plan.Device{t.Device}) == 0:
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

// judgement is the evidence by which a device is the target or a copy of it.
type judgement struct {
	other string // why it is another one, "" if nothing says so
	same  bool   // its disk is the same
}

// noPartition tells a disk from the partition at its end: a superblock
// that lies there, as that of metadata 0.90, is seen in both.
const noPartition = "it is no partition"

// judge looks at the identity of a device beside its content, which is that of
// want.
func (s *scan) judge(name string, want *plan.Device) judgement {
	d := s.seen[name]
	if d.judged || want.PartUUID == "" && want.Serial == "" {
		return d.judgement
	}
	if s.reading != nil {
		s.reading(name) // a serial number may be asked of the disk
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
		d.other = noPartition
	case want.PartUUID != "" && d.partUUID != "" && !strings.EqualFold(d.partUUID, want.PartUUID):
		d.other = "its PARTUUID is " + d.partUUID + ", not " + want.PartUUID
	case serial != "" && serial != want.Serial:
		d.other = "the serial number of " + filepath.Base(disk) + " is " + serial + ", not " + want.Serial
	default:
		d.same = serial != ""
	}
	d.judged = true
	return d.judgement
}

// takes reports whether a device with the content of a member of a layer may be
// taken for that member. A copy may not, as with the device of a target, and an
// unknown device waits for the one in its place. But a replacement of a disk can have
// its number, too: late says that no better device came. A device that was assembled
// before has to be that device: a leg of a mirror shows the same content.
func (s *scan) takes(name, id string, l *plan.Layer, late bool) bool {
	for i := range l.Members {
		m := &l.Members[i]
		if id == "" || m.ID != id {
			continue
		}
		switch j := s.judge(name, m); {
		case j.other != "":
			return late && j.other != noPartition
		case j.same:
			return true
		case strings.HasPrefix(m.Path, "virtual/block/"):
			return s.within(name, s.made)
		}
		return s.rank(name, l.Members[i:i+1]) == 0 || uptime() > s.begun+grace
	}
	return true // it is new
}

// path returns the identity that several paths to one disk, or to one partition of
// it, have in common (wwid in sysfs): where there is nothing of the kind, the name.
func (s *scan) path(name string) string {
	disk := s.disk(name)
	for _, file := range []string{"/wwid", "/device/wwid"} {
		if b, _ := os.ReadFile(disk + file); len(b) > 1 {
			return string(b) + strconv.FormatInt(readInt(filepath.Join(s.sys, name, "partition")), 10)
		}
	}
	return name
}

// disk returns the directory in sysfs of the disk that a partition belongs to, or
// of the device itself.
func (s *scan) disk(name string) string {
	dir := filepath.Join(s.sys, name)
	if link, err := filepath.EvalSymlinks(dir); err == nil && fileExists(filepath.Join(dir, "partition")) {
		return filepath.Dir(link) // .../block/vda/vda2
	}
	return dir
}

// others lists the copies that were seen, with the reason.
func (s *scan) others() string {
	var list []string
	for name, d := range s.seen {
		if d.other != "" {
			list = append(list, name+" ("+d.other+")")
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

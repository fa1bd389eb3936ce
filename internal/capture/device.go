package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/evidence"
	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// waitDevice waits for the block device that holds the target's file system and
// returns its kernel name. The file system is known by its type and UUID: names
// change from boot to boot. Where layers were assembled for it, it is on one of
// those devices. After the deadline the error lists the devices that were seen.
func (w *worker) waitDevice(t *plan.Target, layers []string) (string, error) {
	limit := seconds(w.plan.Deadlines.Device)
	what := t.Filesystem.Type + " file system " + t.Filesystem.UUID
	if t.Kind == plan.Raw {
		what = rawName(t)
	}
	w.log.printf("waiting up to %d s for %s (%s when the image was built)", w.plan.Deadlines.Device, what, t.Device.Name)
	s := w.newScan()
	s.layers = layers
	since := uptime()
	for end := since + limit; ; time.Sleep(50 * time.Millisecond) {
		name, sure := s.find(t)
		// One in another place waits for the one in its place.
		if name != "" && (sure || uptime() > since+grace) {
			w.log.printf("found on %s", name)
			if list := s.others(); list != "" {
				w.warn("left alone, though they hold the same: %s", list)
			}
			return name, nil
		}
		if uptime() > end {
			if s.several != "" {
				return "", fmt.Errorf("%s is on several devices, none of them where it was: %s: nothing tells which is a copy", what, s.several)
			}
			return "", fmt.Errorf("%s did not appear within %d s; block devices: %s", what, w.plan.Deadlines.Device, s)
		}
	}
}

// scan looks for a file system on the block devices and remembers the content of
// each, because reading them all again and again would be slow and could hang on
// one that has nothing to do with the dump.
type scan struct {
	sys, dev string // /sys/class/block and /dev
	seen     map[string]*seenDevice
	begun    time.Duration     // uptime at its beginning
	layers   []string          // if there are any, only these devices and their partitions
	made     []string          // devices that were assembled for the target so far
	several  string            // devices that find could not decide between
	reading  func(name string) // called before a device is read, and with "" after it; may be nil
}

func (w *worker) newScan() *scan {
	s := &scan{sys: "/sys/class/block", dev: "/dev", seen: map[string]*seenDevice{}, begun: uptime(), made: w.made, reading: w.reading}
	for _, name := range w.state.Avoid {
		s.seen[name] = &seenDevice{err: errHung}
	}
	return s
}

// errHung is the error of a device in whose reading a worker ended.
var errHung = errors.New("does not answer")

// reading notes which device is about to be read: a worker that gets stuck in one
// which has nothing to do with the dump must not cost the target.
func (w *worker) reading(name string) {
	w.state.Reading = name
	w.save()
}

type seenDevice struct {
	size     int64
	id       fsid.ID
	err      error
	partUUID string // only looked for where a target is known by it
	judged   bool
	judgement
}

// names returns all block devices, those that are most like one of the hints
// first.
func (s *scan) names(hints ...plan.Device) []string {
	ents, _ := os.ReadDir(s.sys)
	var ranks [3][]string
	for _, e := range ents {
		r := s.rank(e.Name(), hints)
		ranks[r] = append(ranks[r], e.Name())
	}
	return append(append(ranks[0], ranks[1]...), ranks[2]...)
}

// device returns the content of a device. It is read only if it is new, could not be
// read before, or has another size.
func (s *scan) device(name string, partUUID bool) *seenDevice {
	d, ok := s.seen[name]
	if d != nil && d.err == errHung {
		return d
	}
	size := blockSize(filepath.Join(s.sys, name))
	if size == 0 { // a loop device or a drive without medium
		return &seenDevice{err: fsid.ErrUnknown}
	}
	if !ok || d.size != size || d.err != nil && !errors.Is(d.err, fsid.ErrUnknown) {
		d = s.look(name, size, partUUID)
		s.seen[name] = d
	}
	return d
}

// within reports whether a device is one of list or a partition of one. It is true
// if the list is empty.
func (s *scan) within(name string, list []string) bool {
	if len(list) == 0 || slices.Contains(list, name) {
		return true
	}
	link, _ := os.Readlink(filepath.Join(s.sys, name))
	return slices.Contains(list, filepath.Base(filepath.Dir(link)))
}

// held reports whether another device is made of this one
// (Documentation/ABI/testing/sysfs-block, holders).
func (s *scan) held(name string) bool {
	ents, _ := os.ReadDir(filepath.Join(s.sys, name, "holders"))
	return len(ents) > 0
}

// look reads a device.
func (s *scan) look(name string, size int64, partUUID bool) *seenDevice {
	if s.reading != nil {
		s.reading(name)
		defer s.reading("")
	}
	d := &seenDevice{size: size}
	d.id, d.err = probe(filepath.Join(s.dev, name), size)
	if partUUID {
		d.partUUID = s.partUUID(name)
	}
	return d
}

// holds reports whether this is the device of t.
func (d *seenDevice) holds(t *plan.Target) bool {
	if t.Kind == plan.Raw && t.Device.PartUUID != "" {
		return strings.EqualFold(d.partUUID, t.Device.PartUUID)
	}
	return d.err == nil && strings.EqualFold(d.id.UUID, t.Filesystem.UUID) && sameType(d.id.Type, t.Filesystem.Type)
}

// partUUID returns the PARTUUID of a partition, or "".
func (s *scan) partUUID(name string) string {
	n := readInt(filepath.Join(s.sys, name, "partition"))
	if n <= 0 {
		return ""
	}
	disk := filepath.Base(s.disk(name))
	f, err := os.Open(filepath.Join(s.dev, disk))
	if err != nil {
		return ""
	}
	defer f.Close()
	sector := max(readInt(filepath.Join(s.sys, disk, "queue/logical_block_size")), 512)
	uuid, err := fsid.PartUUID(f, blockSize(filepath.Join(s.sys, disk)), int(sector), int(n))
	if err != nil {
		return ""
	}
	return uuid
}

// rank orders block devices: those at the same place as at build time, those
// with the same name, the others.
func (s *scan) rank(name string, hints []plan.Device) int {
	link, _ := os.Readlink(filepath.Join(s.sys, name))
	rank := 2
	for _, h := range hints {
		switch {
		case h.Path != "" && strings.HasSuffix(link, "/devices/"+h.Path):
			return 0
		case name == h.Name:
			rank = 1
		}
	}
	return rank
}

// String lists the devices that were seen, for a person who wonders which one is
// missing.
func (s *scan) String() string {
	if len(s.seen) == 0 {
		return "none"
	}
	var list []string
	for name, d := range s.seen {
		what := d.id.Type + " " + d.id.UUID
		if d.err != nil {
			what = d.err.Error()
		}
		if d.other != "" {
			what += ", a copy: " + d.other
		}
		list = append(list, name+" ("+what+")")
	}
	slices.Sort(list)
	if n := len(list) - mostListed; n > 0 {
		list = append(list[:mostListed], fmt.Sprintf("and %d more", n))
	}
	return evidence.Printable(strings.Join(list, ", ")) // a UUID may be any bytes
}

// mostListed limits messages on machines that see thousands of disks.
const mostListed = 50

// blockSize returns the size of a block device in bytes from its sysfs
// directory; "size" counts sectors of 512 bytes whatever the device's own are
// (Documentation/ABI/stable/sysfs-block).
func blockSize(dir string) int64 {
	return readInt(dir+"/size") * 512
}

// readInt reads a number from sysfs, 0 if there is none.
func readInt(name string) int64 {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// probe identifies the content of a block device.
func probe(path string, size int64) (fsid.ID, error) {
	f, err := os.Open(path)
	if err != nil {
		return fsid.ID{}, err
	}
	defer f.Close()
	return fsid.Probe(f, size)
}

// sameType compares a type from the superblock with the one that mounts it: the
// ext4 driver mounts all of ext2, ext3 and ext4.
func sameType(onDisk, mounted string) bool {
	return onDisk == mounted || strings.HasPrefix(onDisk, "ext") && strings.HasPrefix(mounted, "ext") && len(onDisk) == len(mounted)
}

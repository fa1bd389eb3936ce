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

// waitDevice waits for the target's block device and returns its kernel name. It
// finds the file system by type and UUID, because names change from boot to boot. If
// layers were assembled, only their devices count. After the deadline the error lists
// the devices that were seen.
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
		// A device at another place is used after the settle time.
		if name != "" && (sure || uptime() > since+settleTime) {
			w.log.printf("found on %s", name)
			if list := s.copies(); list != "" {
				w.warn("skipped copies: %s", list)
			}
			return name, nil
		}
		if uptime() > end {
			if s.several != "" {
				return "", fmt.Errorf("%s is ambiguous: it is on %s, and none of these is at the recorded place", what, s.several)
			}
			return "", fmt.Errorf("%s did not appear within %d s; block devices: %s", what, w.plan.Deadlines.Device, s)
		}
	}
}

// scan searches the block devices and remembers the content of each. Reading them
// again and again would be slow, and could hang on an unrelated device.
type scan struct {
	sys, dev string // /sys/class/block and /dev
	seen     map[string]*seenDevice
	begun    time.Duration     // uptime at its beginning
	layers   []string          // if there are any, only these devices and their partitions
	made     []string          // devices that were assembled for the target so far
	several  string            // ambiguous devices that find saw
	reading  func(name string) // called before a device is read, and with "" after it; may be nil
}

func (w *worker) newScan() *scan {
	s := &scan{sys: "/sys/class/block", dev: "/dev", seen: map[string]*seenDevice{}, begun: uptime(), made: w.made, reading: w.reading}
	for _, name := range w.state.Avoid {
		s.seen[name] = &seenDevice{err: errHung}
	}
	return s
}

// errHung is the error of a device that a worker hung on.
var errHung = errors.New("does not answer")

// reading saves the name of the device that is about to be read. If it hangs, the next
// worker skips that device, not the target.
func (w *worker) reading(name string) {
	w.state.Reading = name
	w.save()
}

type seenDevice struct {
	size     int64
	id       fsid.ID
	err      error
	partUUID string // only read if a target has one
	compared bool
	comparison
}

// names returns all block devices, the most similar to one of the hints first.
func (s *scan) names(hints ...plan.Device) []string {
	ents, _ := os.ReadDir(s.sys)
	var ranks [3][]string
	for _, e := range ents {
		r := s.rank(e.Name(), hints)
		ranks[r] = append(ranks[r], e.Name())
	}
	return append(append(ranks[0], ranks[1]...), ranks[2]...)
}

// device returns the content of a device. It reads the device if it is new, was not
// readable before, or has changed its size.
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

// String lists the devices that were seen, so that a person sees which is missing.
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
		if d.mismatch != "" {
			what += ", a copy: " + d.mismatch
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
// directory; "size" counts sectors of 512 bytes on every device
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

// sameType compares a type from a superblock with that of a mount: the ext4 driver
// mounts ext2, ext3 and ext4.
func sameType(onDisk, mounted string) bool {
	return onDisk == mounted || strings.HasPrefix(onDisk, "ext") && strings.HasPrefix(mounted, "ext") && len(onDisk) == len(mounted)
}

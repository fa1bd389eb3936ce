package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"ukdump/internal/fsid"
	"ukdump/internal/kmod"
	"ukdump/internal/rawdump"
	"ukdump/internal/target"
)

// Raw is a partition or a disk that takes a dump without a file system.
type Raw struct {
	Target string `json:"target"` // as it was asked for

	// Type and UUID describe its content, as blkid(8) does. If that is a dump, they
	// describe the content after the dump was collected. Both are empty for a device that
	// holds nothing.
	Type string `json:"type,omitempty"`
	UUID string `json:"uuid,omitempty"`
	// PartUUID is that of the partition, as blkid(8) prints it; empty for a
	// whole disk.
	PartUUID string `json:"partuuid,omitempty"`
	// Dump says that there is one, which keeps the next one out.
	Dump bool `json:"dump,omitempty"`

	Stack   []BlockDevice `json:"stack"`   // the device itself and all that it is made of, down to the disks
	Devices []Device      `json:"devices"` // controllers and buses of the disks; each after those that it needs
}

// Requests returns the modules that a kernel needs to reach the device: drivers,
// but no file system.
func (r *Raw) Requests() []kmod.Request { return deviceRequests(r.Devices) }

// minRaw is the smallest device in bytes on which a dump has a chance to fit.
const minRaw = 64 << 20

// swapType is the type of fsid that needs no permission to be overwritten,
// besides that of a dump that was not collected yet.
const swapType = "swap"

// Raw finds the device of a target: raw:/dev/…, raw:PARTUUID=…, raw:UUID=… or
// raw:swap. overwrite permits one that holds something else than swap or zeros;
// nothing permits one that is in use for something else than swap.
//
// The error is a *RawError or an *UnsupportedError if the device cannot be used,
// and a *NoSwapError if raw:swap has nothing to stand for.
func (h *Host) Raw(t target.Target, overwrite bool) (*Raw, error) {
	name := t.String()
	if t.Kind == target.Swap {
		return h.rawSwap(name)
	}
	b, err := h.rawDevice(t)
	if err != nil {
		return nil, &RawError{Target: name, Err: err, Remedy: "lsblk -o NAME,SIZE,FSTYPE,UUID,PARTUUID,MOUNTPOINTS shows the devices of this machine."}
	}
	return h.raw(name, b, overwrite)
}

// rawDevice returns the device of a raw target that names one.
func (h *Host) rawDevice(t target.Target) (BlockDevice, error) {
	switch t.Kind {
	case target.Device:
		return h.blockBySource(t.Name)
	case target.PartUUID:
		return h.findBlock("PARTUUID", t.Name)
	case target.UUID:
		return h.findBlock("UUID", t.Name)
	}
	return BlockDevice{}, errors.New("not a raw device")
}

// RawAbsent reports whether the device of a raw target has not appeared yet: for
// raw:swap, whether no swap can be used and one of fstab(5) is not there.
func (h *Host) RawAbsent(t target.Target) bool {
	if t.Kind != target.Swap {
		_, err := h.rawDevice(t)
		return errors.Is(err, fs.ErrNotExist)
	}
	swaps, err := h.swaps()
	if err != nil {
		return false
	}
	if _, err := h.rawSwap(t.String()); err == nil {
		return false
	}
	return slices.ContainsFunc(swaps, func(s swap) bool {
		_, err := h.blockBySpec(s.name)
		return s.partition && errors.Is(err, fs.ErrNotExist)
	})
}

// raw checks whether b can be used and finds its parts.
func (h *Host) raw(name string, b BlockDevice, overwrite bool) (*Raw, error) {
	r := &Raw{Target: name}
	var err error
	if r.Stack, r.Devices, err = h.disk(name, b); err != nil {
		return nil, refusedRaw(err)
	}
	const another = "Choose another partition."
	bad := func(why, remedy string) (*Raw, error) {
		return nil, &RawError{Target: name, Device: b.Name, Err: errors.New(why), Remedy: remedy}
	}
	if b.Partition == 0 && h.hasPartitions(b) {
		return bad("a whole disk with partitions", "Name one of its partitions.")
	}
	user, err := h.usedBy(b)
	if err != nil {
		return nil, &RawError{Target: name, Device: b.Name, Err: fmt.Errorf("look for its users: %w", err), Remedy: another}
	}
	over, err := h.overwrittenAtBoot(b)
	if err != nil {
		return nil, &RawError{Target: name, Err: err, Remedy: another}
	}
	kind := systemPartitions[h.partType(b)]
	switch {
	case user != "":
		return bad(user, "Only a partition that nothing uses, or one for swap, can be a raw device.")
	case over != "":
		return bad(over+", before a dump there could be collected", another)
	case kind != "":
		return bad("its partition type is that of "+kind, another)
	case h.attr(b.Path, "ro") == "1":
		return bad("read-only", "Choose another device.")
	case b.Size < minRaw:
		return bad(fmt.Sprintf("%d KiB, but a dump needs at least %d MiB", b.Size>>10, minRaw>>20), "Choose a larger partition.")
	}
	id, blank, err := h.content(b)
	if err != nil {
		return nil, &RawError{Target: name, Device: b.Name, Err: err, Remedy: "Choose another device."}
	}
	if id.Type != swapType && id.Type != fsid.RawDump {
		what := id.Type
		switch what {
		case "":
			what = "data of an unknown kind"
		case "swsuspend":
			what = "a hibernated system"
		}
		if b.Partition == 0 && b.Kind != LVM {
			// After the first dump there would be nothing to know it by.
			return bad("a whole disk without swap on it", "Make a partition on it, and name that as raw:PARTUUID=ID.")
		}
		if !blank && !overwrite {
			return bad("it holds "+what, "If nobody needs that any more, set RAW_OVERWRITE=yes; otherwise name another partition.")
		}
	}
	if id.Type == fsid.RawDump {
		r.Dump, id = true, h.held(b)
	}
	r.Type, r.UUID = id.Type, id.UUID
	r.PartUUID = h.partUUID(b)
	if r.PartUUID == "" && r.UUID == "" && b.Kind != LVM {
		return bad("neither a PARTUUID nor a UUID identifies it", "Name another partition.")
	}
	return r, nil
}

// refusedRaw completes the refusal of a raw device. Swap with a random key has no
// header, but that is not why it is of no use.
func refusedRaw(err error) error {
	var u *UnsupportedError
	if !errors.As(err, &u) {
		return err
	}
	u.Raw = true
	if u.Obstacle == NoHeader {
		u.Why = "its key is lost with the kernel that crashes"
	}
	return err
}

// content identifies the content of b. blank means no known signature and zeros
// in the first MiB.
func (h *Host) content(b BlockDevice) (id fsid.ID, blank bool, err error) {
	swaps, err := h.swaps()
	if err != nil {
		return id, false, err
	}
	isSwap, active := h.isSwap(swaps, b)
	f, err := h.openBlock(b)
	if err != nil {
		// udev probed the device when it appeared. That is no evidence that it is
		// still blank.
		if id = h.udevID(b); id.Type == swapType {
			return id, false, nil
		}
		return fsid.ID{}, false, err
	}
	defer f.Close()
	id, err = fsid.Probe(f, b.Size)
	unknown := errors.Is(err, fsid.ErrUnknown)
	if err != nil && !unknown {
		return fsid.ID{}, false, err
	}
	// Swap that is about to be turned on, and a dump that is being collected,
	// must not be in the way of that.
	if !active && !(isSwap && id.Type == swapType) && id.Type != fsid.RawDump {
		if err := h.openExclusive(b); err != nil {
			return fsid.ID{}, false, err
		}
	}
	if !unknown {
		return id, false, nil
	}
	first := make([]byte, 1<<20)
	if _, err := f.ReadAt(first, 0); err != nil {
		return fsid.ID{}, false, err
	}
	for _, c := range first {
		if c != 0 {
			return fsid.ID{}, false, nil
		}
	}
	return fsid.ID{}, true, nil
}

// held returns the content of b after the dump on it was collected: swap if it was
// swap before, else nothing (rawdump.Restore).
func (h *Host) held(b BlockDevice) fsid.ID {
	f, err := h.openBlock(b)
	if err != nil {
		return fsid.ID{}
	}
	defer f.Close()
	d, err := rawdump.Open(f, b.Size)
	if err != nil || d.Header.Held.Type != swapType {
		return fsid.ID{}
	}
	return d.Header.Held
}

// RawError says why a device cannot take a raw dump.
type RawError struct {
	Target string // as it was asked for
	Device string // the kernel's name, "" if none was found
	Err    error
	Remedy string
}

func (e *RawError) Error() string { return e.Target + ": " + e.reason() }

// reason is the message without the target.
func (e *RawError) reason() string {
	if e.Device == "" {
		return e.Err.Error()
	}
	return e.Device + ": " + e.Err.Error()
}

func (e *RawError) Unwrap() error { return e.Err }

// Advice returns the remedy.
func (e *RawError) Advice() string { return e.Remedy }

// hasPartitions reports whether the disk b is divided.
func (h *Host) hasPartitions(b BlockDevice) bool {
	names, err := h.names(b.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true // not to be taken for a free disk
	}
	for _, n := range names {
		if strings.HasPrefix(n, b.Name) && h.exists(path.Join(b.Path, n, "partition")) {
			return true
		}
	}
	return false
}

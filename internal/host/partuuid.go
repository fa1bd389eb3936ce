package host

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"ukdump/internal/fsid"
)

// partUUID returns the PARTUUID of a partition as blkid(8) prints it, "" if it
// is not known.
func (h *Host) partUUID(b BlockDevice) string {
	if b.Partition == 0 {
		return ""
	}
	for _, source := range []func(BlockDevice) string{
		func(b BlockDevice) string { return h.udev(b)["ID_PART_ENTRY_UUID"] },
		h.ueventPartUUID,
		h.tablePartUUID,
	} {
		if id := source(b); id != "" {
			return strings.ToLower(id)
		}
	}
	return ""
}

// ueventPartUUID returns what newer kernels tell (block/partitions/core.c).
func (h *Host) ueventPartUUID(b BlockDevice) string {
	for line := range strings.Lines(h.attr(b.Path, "uevent")) {
		if v, ok := strings.CutPrefix(line, "PARTUUID="); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

var readPartUUID = fsid.PartUUID // replaced in tests

// tablePartUUID asks the partition table, where neither udev nor the kernel told.
func (h *Host) tablePartUUID(b BlockDevice) string {
	disk, err := h.block(path.Dir(b.Path))
	if err != nil {
		return ""
	}
	sector, err := strconv.Atoi(h.attr(disk.Path, "queue/logical_block_size"))
	if err != nil {
		sector = 512
	}
	f, err := h.openBlock(disk)
	if err != nil {
		return ""
	}
	defer f.Close()
	id, err := readPartUUID(f, disk.Size, sector, b.Partition)
	if err != nil {
		return ""
	}
	return id
}

// findBlock returns the one block device whose PARTUUID or UUID (the key) is id.
func (h *Host) findBlock(key, id string) (BlockDevice, error) {
	names, err := h.names("/sys/class/block")
	if err != nil {
		return BlockDevice{}, err
	}
	of := func(b BlockDevice) string { return h.udevID(b).UUID }
	if key == "PARTUUID" {
		of = h.partUUID
	}
	found, err := h.blocksWith(names, of, id)
	if len(found) == 0 && err == nil && key == "UUID" {
		found, err = h.blocksWith(names, h.probedUUID, id)
	}
	switch {
	case err != nil:
		return BlockDevice{}, err
	case len(found) == 0:
		return BlockDevice{}, errors.New("no block device of this machine has it")
	case len(found) > 1:
		return BlockDevice{}, fmt.Errorf("both %s and %s have it", found[0].Name, found[1].Name)
	}
	return found[0], nil
}

func (h *Host) blocksWith(names []string, of func(BlockDevice) string, id string) ([]BlockDevice, error) {
	var found []BlockDevice
	for _, n := range names {
		b, err := h.block("/sys/class/block/" + n)
		if err != nil {
			return nil, err
		}
		if b.Size > 0 && strings.EqualFold(of(b), id) {
			found = append(found, b)
		}
	}
	return found, nil
}

// probedUUID returns the UUID that is on b, "" if there is none to be read.
func (h *Host) probedUUID(b BlockDevice) string {
	f, err := h.openBlock(b)
	if err != nil {
		return ""
	}
	defer f.Close()
	id, err := fsid.Probe(f, b.Size)
	if err != nil {
		return ""
	}
	return id.UUID
}

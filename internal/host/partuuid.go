package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"

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

// ueventPartUUID returns the PARTUUID of newer kernels (block/partitions/core.c).
func (h *Host) ueventPartUUID(b BlockDevice) string {
	for line := range strings.Lines(h.attr(b.Path, "uevent")) {
		if v, ok := strings.CutPrefix(line, "PARTUUID="); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

var readPartition = fsid.ReadPartition // replaced in tests

// tablePartUUID asks the partition table, where neither udev nor the kernel told.
func (h *Host) tablePartUUID(b BlockDevice) string { return h.tablePartition(b).UUID }

// tablePartition returns the entry of b in the partition table, empty if the table
// cannot be read.
func (h *Host) tablePartition(b BlockDevice) fsid.Partition {
	disk, err := h.block(path.Dir(b.Path))
	if err != nil {
		return fsid.Partition{}
	}
	sector, err := strconv.Atoi(h.attr(disk.Path, "queue/logical_block_size"))
	if err != nil {
		sector = 512
	}
	f, err := h.openBlock(disk)
	if err != nil {
		return fsid.Partition{}
	}
	defer f.Close()
	p, err := readPartition(f, disk.Size, sector, b.Partition)
	if err != nil {
		return fsid.Partition{}
	}
	return p
}

// partType returns the type of a partition as blkid(8) prints it as
// PART_ENTRY_TYPE, "" if it is not known.
func (h *Host) partType(b BlockDevice) string {
	if b.Partition == 0 {
		return ""
	}
	if typ := h.udev(b)["ID_PART_ENTRY_TYPE"]; typ != "" {
		return strings.ToLower(typ)
	}
	return h.tablePartition(b).Type
}

// partTable returns the kind of the partition table that b is a partition of, as
// blkid(8) prints it as PTTYPE, "" if it is not known or b is none. The kernel asks its
// command line first (block/partitions/core.c), which is "cmdline" here.
func (h *Host) partTable(b BlockDevice) string {
	if b.Partition == 0 {
		return ""
	}
	disk, err := h.block(path.Dir(b.Path))
	if err != nil {
		return ""
	}
	if line, err := h.CommandLine(); err == nil && definesPartitions(line, disk.Name) {
		return "cmdline"
	}
	if scheme := h.udev(b)["ID_PART_ENTRY_SCHEME"]; scheme != "" {
		return scheme
	}
	f, err := h.openBlock(disk)
	if err != nil {
		return ""
	}
	defer f.Close()
	return fsid.PartTable(f)
}

// definesPartitions reports whether a command line has partitions for a disk
// (Documentation/block/cmdline-partition.rst): blkdevparts=DISK:PARTS;DISK:PARTS.
func definesPartitions(line, disk string) bool {
	for word := range strings.FieldsSeq(line) {
		value, ok := strings.CutPrefix(strings.Trim(word, `"`), "blkdevparts=")
		if !ok {
			continue
		}
		for one := range strings.SplitSeq(strings.Trim(value, `"`), ";") {
			if name, _, _ := strings.Cut(one, ":"); name == disk {
				return true
			}
		}
	}
	return false
}

// systemPartitions are the types of partitions that others than Linux look for,
// whatever they hold: GUIDs of a GPT, numbers of an MBR (gdisk and sfdisk list
// them).
var systemPartitions = map[string]string{
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "an EFI system partition",
	"bc13c2ff-59e6-4262-a352-b275fd6f7172": "a boot loader's partition",
	"21686148-6449-6e6f-744e-656564454649": "a BIOS boot partition",
	"e3c9e316-0b5c-4db8-817d-f92df00215ae": "a partition of Windows",
	"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3": "a partition of Windows", // LDM
	"af9b60a0-1431-4f62-bc68-3311714a69ad": "a partition of Windows", // LDM
	"de94bba4-06d1-4d40-a16a-bfd50179d6ac": "a partition of Windows", // recovery
	"e75caf8f-f680-4cee-afa3-b001e56efc2d": "a partition of Windows", // Storage Spaces
	"0xef":                                 "an EFI system partition",
	"0x27":                                 "a partition of Windows", // recovery
	"0x42":                                 "a partition of Windows", // LDM
}

// findBlock returns the one block device whose PARTUUID or UUID (the key) is id.
func (h *Host) findBlock(key, id string) (BlockDevice, error) {
	return only(h.findBlocks(key, id))
}

func only(found []BlockDevice, err error) (BlockDevice, error) {
	switch {
	case err != nil:
		return BlockDevice{}, err
	case len(found) > 1:
		return BlockDevice{}, fmt.Errorf("both %s and %s have it", found[0].Name, found[1].Name)
	}
	return found[0], nil
}

// findBlocks returns all of them, at least one.
func (h *Host) findBlocks(key, id string) ([]BlockDevice, error) {
	names, err := h.names("/sys/class/block")
	if err != nil {
		return nil, err
	}
	of := func(b BlockDevice) string { return h.udevID(b).UUID }
	if key == "PARTUUID" {
		of = h.partUUID
	}
	found, err := h.blocksWith(names, of, id)
	if len(found) == 0 && err == nil && key == "UUID" {
		found, err = h.blocksWith(names, h.probedUUID, id)
	}
	if len(found) == 0 && err == nil && key == "UUID" {
		found, err = h.blocksWith(names, func(b BlockDevice) string { return h.held(b).UUID }, id)
	}
	if len(found) == 0 && err == nil {
		err = noDevice("no block device of this machine has it")
	}
	return found, err
}

func (h *Host) blocksWith(names []string, of func(BlockDevice) string, id string) ([]BlockDevice, error) {
	var found []BlockDevice
	for _, n := range names {
		b, err := h.block("/sys/class/block/" + n)
		// Some are not for use and have no number, as the paths below an NVMe disk with
		// multipath (GENHD_FL_HIDDEN); others are gone by now.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			continue
		}
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

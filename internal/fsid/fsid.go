// Package fsid identifies the content of a block device with a few small reads of its
// superblocks: the type, UUID and label that blkid(8) would print.
//
// PID 1 of the capture kernel uses it to find the file system that the plan names, the
// builder to refuse devices that cannot be mounted.
package fsid

import (
	"errors"
	"io"
	"strconv"
)

// ErrUnknown reports content of no known type.
var ErrUnknown = errors.New("no known file system or container")

// ID identifies the content of a device. Strings that the format does not have, and
// UUIDs of zeros, are empty.
type ID struct {
	Type string // TYPE of blkid(8): ext4, vfat, linux_raid_member
	// UUID is spelled as blkid(8) does: lower case with dashes, but ABCD-1234
	// for vfat and exfat, and LVM2's own alphabet for LVM2_member.
	UUID string
	// Label holds the bytes found on the device up to the first NUL: they may
	// contain control characters.
	Label string

	// Only for members of several: linux_raid_member, btrfs, bcache.
	Member     string // identifies the member: its number, of btrfs its UUID (UUID_SUB of blkid(8))
	Members    uint64 // number of members, of an array those that are Active
	Generation uint64 // counts the changes: a device with a lower number is stale

	// Only for linux_raid_member:
	Version string // of the format: 0.90, 1.0, 1.1, 1.2; empty if the array cannot be run as it is, because it is being reshaped
	Active  string // the numbers of all members that hold its data, each between two blanks
}

// ReadError is a read that failed for another reason than the end of the
// device.
type ReadError struct {
	Offset int64 // in bytes
	Err    error
}

func (e *ReadError) Error() string {
	return "read superblock at byte " + strconv.FormatInt(e.Offset, 10) + ": " + e.Err.Error()
}

func (e *ReadError) Unwrap() error { return e.Err }

// Probe identifies the content of r, a block device of size bytes.
//
// Members of RAID arrays whose metadata is at the end of the device are
// recognised only if size is given (0 means that it is not known); without it
// they look like the file system inside.
//
// The error is ErrUnknown, or a *ReadError if any read failed: then the device is not
// identified, because the unreadable part may have held a container's metadata.
func Probe(r io.ReaderAt, size int64) (ID, error) {
	d := &device{r: r, size: size}
	for _, probe := range probes {
		id, ok := probe(d)
		if d.err != nil {
			return ID{}, d.err
		}
		if ok {
			return id, nil
		}
	}
	return ID{}, ErrUnknown
}

// probes are in the order in which they are tried. Containers come before file
// systems, because a mirror's member shows the file system inside at its usual
// place. A raw dump comes before everything whose superblock may be left below
// it. ZFS comes last: nothing clears its far-flung labels when another file
// system takes the disk, while a real ZFS disk has no other signature.
var probes = []func(*device) (ID, bool){
	md, fakeRAID, rawDump, luks, lvm, bcache,
	xfs, btrfs, ext, f2fs, exfat, squashfs, erofs, vfat,
	swap, iso9660, zfs,
}

// device remembers the first read that failed.
type device struct {
	r    io.ReaderAt
	size int64 // bytes, 0 if unknown
	err  error
}

// at returns the n bytes at off, or nil if the device ends before or the read
// fails.
func (d *device) at(off int64, n int) []byte {
	if d.err != nil || off < 0 || d.size > 0 && off > d.size-int64(n) {
		return nil
	}
	b := make([]byte, n)
	got, err := d.r.ReadAt(b, off)
	if got == n {
		return b
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		d.err = &ReadError{off, err}
	}
	return nil
}

// has reports whether the device holds magic at off.
func (d *device) has(off int64, magic string) bool {
	return string(d.at(off, len(magic))) == magic
}

// Package lvm reads the metadata of volume groups from their physical volumes and
// makes device-mapper's tables of logical volumes. It is used on both sides: the
// builder checks that it understands a machine's volumes, PID 1 detects their places
// after the crash.
//
// The layout on disk is that of lib/format_text/layout.h and lib/label/label.h of
// LVM2; lvm.conf(5), lvmsystemid(7) and vgcfgbackup(8) describe the rest.
package lvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// ErrNone reports a device that is not a physical volume.
var ErrNone = errors.New("not an LVM physical volume")

const (
	sector    = 512
	labelSize = 32
	pvIDSize  = 32
	headerLen = 512 // of a metadata area's header
	mdaMagic  = " LVM2 x[5A%r0N*>"

	maxAreas = 16      // of each kind on one physical volume; LVM2 makes two
	maxText  = 1 << 20 // of the metadata in bytes
)

var le = binary.LittleEndian

// area is a part of a device in bytes.
type area struct{ start, size int64 }

// Read returns the UUID of a physical volume, spelled as blkid(8) does, and the
// metadata of the volume group that it belongs to: nil if the volume has none, because
// it is in no group or another volume keeps it. The error is ErrNone or names the
// damaged part; if only the metadata is damaged, the UUID is returned, too.
func Read(r io.ReaderAt) (pv string, vg *VG, err error) {
	pv, areas, err := readLabel(r)
	if err != nil {
		return "", nil, err
	}
	var damage error
	for _, a := range areas {
		got, err := readArea(r, a)
		switch {
		case err != nil:
			damage = err
		case got != nil && (vg == nil || got.Seqno > vg.Seqno):
			vg = got
		}
	}
	if vg != nil {
		damage = nil // there is a second copy for that
	}
	return pv, vg, damage
}

// readLabel finds the label in one of the first four sectors. It returns the volume's
// UUID and the areas of its metadata.
func readLabel(r io.ReaderAt) (pv string, areas []area, err error) {
	b := make([]byte, 4*sector)
	if _, err := r.ReadAt(b, 0); err != nil {
		return "", nil, err
	}
	for n := range 4 {
		s := b[n*sector : (n+1)*sector]
		if string(s[:8]) != "LABELONE" || string(s[24:32]) != "LVM2 001" || le.Uint64(s[8:]) != uint64(n) {
			continue
		}
		if le.Uint32(s[16:]) != sum(s[20:]) {
			return "", nil, errors.New("the label of the physical volume is damaged")
		}
		at := int(le.Uint32(s[20:]))
		if at < labelSize || at > sector-pvIDSize-8 {
			return "", nil, errors.New("the label of the physical volume is malformed")
		}
		at += pvIDSize + 8 // behind the size of the device
		pv = ID(string(s[at-pvIDSize-8 : at-8]))
		// The data areas, ended by one of zeros, and then those of metadata.
		_, at = locations(s, at)
		areas, _ = locations(s, at)
		return pv, areas, nil
	}
	return "", nil, ErrNone
}

// locations decodes a list of struct disk_locn, which one of zeros ends, and
// returns where the next one begins.
func locations(s []byte, at int) (list []area, next int) {
	for ; at+16 <= len(s) && len(list) < maxAreas; at += 16 {
		a := area{int64(le.Uint64(s[at:])), int64(le.Uint64(s[at+8:]))}
		if a.start <= 0 {
			return list, at + 16
		}
		list = append(list, a)
	}
	return list, len(s)
}

// readArea returns the valid metadata of an area, nil without any.
func readArea(r io.ReaderAt, a area) (*VG, error) {
	h := make([]byte, headerLen)
	if _, err := r.ReadAt(h, a.start); err != nil {
		return nil, err
	}
	if string(h[4:20]) != mdaMagic || le.Uint32(h) != sum(h[4:]) || le.Uint32(h[20:]) != 1 {
		return nil, errors.New("the header of the LVM metadata is damaged")
	}
	// The first struct raw_locn is that of the metadata in force.
	offset, size := int64(le.Uint64(h[40:])), int64(le.Uint64(h[48:]))
	length := int64(le.Uint64(h[32:]))
	const ignored = 1 // RAW_LOCN_IGNORED
	if offset == 0 || le.Uint32(h[60:])&ignored != 0 {
		return nil, nil
	}
	if size <= 0 || size > maxText || offset < headerLen || offset >= length || size > length-headerLen {
		return nil, errors.New("the LVM metadata is at an impossible place, or longer than 1 MiB")
	}
	text := make([]byte, size)
	// Text that does not fit before the end of the area continues behind its header.
	n := min(size, length-offset)
	if _, err := r.ReadAt(text[:n], a.start+offset); err != nil {
		return nil, err
	}
	if _, err := r.ReadAt(text[n:], a.start+headerLen); n < size && err != nil {
		return nil, err
	}
	if le.Uint32(h[56:]) != sum(text) {
		return nil, errors.New("the LVM metadata is damaged: its checksum is wrong")
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	return Parse(string(text))
}

// sum is LVM2's checksum (lib/misc/crc.c): CRC-32 with its own initial value and
// without the final inversion.
func sum(b []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b) }

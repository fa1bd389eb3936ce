package fsid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrNoPartUUID reports that no partition table of the disk gives the partition an
// identity.
var ErrNoPartUUID = errors.New("no PARTUUID")

const (
	gptEntryMax = 4096    // bytes of one entry; 128 in practice
	gptTableMax = 1 << 20 // bytes of all entries; 16 KiB in practice

	mbrEntry     = 446 // where the four entries are
	mbrEntrySize = 16
)

// Partition is the entry of one partition in a partition table, spelled as by
// blkid(8).
type Partition struct {
	// UUID is the PARTUUID: of a GPT the partition's own GUID, of an MBR the
	// signature of the disk and the number.
	UUID string
	// Type is a GUID, of an MBR a number as in 0x82, empty for its logical
	// partitions.
	Type string
}

// PartUUID returns the UUID of ReadPartition.
func PartUUID(r io.ReaderAt, size int64, sector int, n int) (string, error) {
	p, err := ReadPartition(r, size, sector, n)
	return p.UUID, err
}

// ReadPartition looks up partition number n (1 is the first) of a disk of size
// bytes in logical sectors of 512 or 4096 bytes.
//
// Like the kernel (block/partitions) it accepts a GPT only if the protective MBR
// announces it, and uses the copy at the end of the disk if the first is damaged. The
// error is ErrNoPartUUID, or a *ReadError.
func ReadPartition(r io.ReaderAt, size int64, sector int, n int) (Partition, error) {
	d := &device{r: r, size: size}
	var p Partition
	if (sector == 512 || sector == 4096) && n > 0 {
		p = d.partition(int64(sector), n)
	}
	switch {
	case d.err != nil:
		return Partition{}, d.err
	case p.UUID == "":
		return Partition{}, ErrNoPartUUID
	}
	return p, nil
}

func (d *device) partition(sector int64, n int) (p Partition) {
	mbr := d.at(0, 512)
	if mbr == nil || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return p
	}
	typ := func(i int) byte { return mbr[mbrEntry+i*mbrEntrySize+4] }
	extended := false
	for i := range 4 {
		switch typ(i) {
		case 0xee: // "GPT protective", UEFI 5.2.3
			return d.gpt(sector, n)
		case 0x05, 0x0f, 0x85:
			extended = true
		}
	}
	signature := le.Uint32(mbr[440:])
	switch {
	case signature == 0:
		return p
	case n <= 4 && typ(n-1) == 0: // not used
		return p
	case n <= 4:
		p.Type = fmt.Sprintf("0x%x", typ(n-1))
	case !extended || n > 255:
		return p
	}
	p.UUID = fmt.Sprintf("%08x-%02x", signature, n)
	return p
}

// PartTable returns the kind of a disk's partition table, "gpt" or "dos" as blkid(8)
// prints them, or "".
func PartTable(r io.ReaderAt) string {
	d := &device{r: r}
	mbr := d.at(0, 512)
	if mbr == nil || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return ""
	}
	for i := range 4 {
		if mbr[mbrEntry+i*mbrEntrySize+4] == 0xee {
			return "gpt"
		}
	}
	return "dos"
}

// gpt reads the GPT, UEFI 5.3.
func (d *device) gpt(sector int64, n int) Partition {
	p, ok := d.gptAt(sector, sector, n)
	if !ok && d.size > sector && d.err == nil {
		p, _ = d.gptAt(d.size/sector*sector-sector, sector, n)
	}
	return p
}

// gptAt returns false if there is no sound GPT whose header is at off.
func (d *device) gptAt(off, sector int64, n int) (p Partition, ok bool) {
	h := d.at(off, 512)
	if h == nil || string(h[:8]) != "EFI PART" {
		return p, false
	}
	length := le.Uint32(h[12:])
	if length < 92 || length > 512 || le.Uint64(h[24:]) != uint64(off/sector) {
		return p, false
	}
	sum := le.Uint32(h[16:])
	clear(h[16:20])
	if crc32.ChecksumIEEE(h[:length]) != sum {
		return p, false
	}
	lba, count, size := le.Uint64(h[72:]), int64(le.Uint32(h[80:])), int64(le.Uint32(h[84:]))
	if size < 128 || size > gptEntryMax || count*size > gptTableMax || lba > 1<<50 {
		return p, false
	}
	table, crc := int64(lba)*sector, uint32(0)
	for at := int64(0); at < count*size; at += 4096 {
		b := d.at(table+at, int(min(4096, count*size-at)))
		if b == nil {
			return p, false
		}
		crc = crc32.Update(crc, crc32.IEEETable, b)
	}
	if crc != le.Uint32(h[88:]) {
		return p, false
	}
	if int64(n) > count {
		return p, true
	}
	e := d.at(table+int64(n-1)*size, 32)
	if e == nil || zero(e[:16]) { // the type of one that is not used
		return p, true
	}
	return Partition{UUID: guid(e[16:]), Type: guid(e)}, true
}

// guid spells a GUID, whose first three fields are little-endian: UEFI appendix A.
func guid(b []byte) string {
	var u [16]byte
	copy(u[8:], b[8:16])
	be := binary.BigEndian
	be.PutUint32(u[:], le.Uint32(b))
	be.PutUint16(u[4:], le.Uint16(b[4:]))
	be.PutUint16(u[6:], le.Uint16(b[6:]))
	return uuid(u[:])
}

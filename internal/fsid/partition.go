package fsid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrNoPartUUID says that a disk has no partition table that gives the partition
// an identity.
var ErrNoPartUUID = errors.New("no PARTUUID")

const (
	gptEntryMax = 4096    // bytes of one entry; 128 in practice
	gptTableMax = 1 << 20 // bytes of all entries; 16 KiB in practice

	mbrEntry     = 446 // where the four entries are
	mbrEntrySize = 16
)

// PartUUID returns the PARTUUID of partition number n (1 is the first) of a disk
// of size bytes in logical sectors of 512 or 4096 bytes, spelled as blkid(8)
// does: of a GPT the partition's own GUID, of an MBR the signature of the disk
// and the number.
//
// Like the kernel (block/partitions) it believes a GPT only if the MBR beside it
// says that there is one, and takes the one at the end of the disk if the first
// is damaged. The error is ErrNoPartUUID, or a *ReadError.
func PartUUID(r io.ReaderAt, size int64, sector int, n int) (string, error) {
	d := &device{r: r, size: size}
	id := ""
	if (sector == 512 || sector == 4096) && n > 0 {
		id = d.partUUID(int64(sector), n)
	}
	switch {
	case d.err != nil:
		return "", d.err
	case id == "":
		return "", ErrNoPartUUID
	}
	return id, nil
}

func (d *device) partUUID(sector int64, n int) string {
	mbr := d.at(0, 512)
	if mbr == nil || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return ""
	}
	extended := false
	for i := range 4 {
		switch mbr[mbrEntry+i*mbrEntrySize+4] { // type
		case 0xee: // "GPT protective", UEFI 5.2.3
			return d.gptUUID(sector, n)
		case 0x05, 0x0f, 0x85:
			extended = true
		}
	}
	signature := le.Uint32(mbr[440:])
	switch {
	case signature == 0:
		return ""
	case n <= 4 && mbr[mbrEntry+(n-1)*mbrEntrySize+4] == 0: // not used
		return ""
	case n > 4 && (!extended || n > 255):
		return ""
	}
	return fmt.Sprintf("%08x-%02x", signature, n)
}

// gptUUID reads the GPT, UEFI 5.3.
func (d *device) gptUUID(sector int64, n int) string {
	id, ok := d.gptAt(sector, sector, n)
	if !ok && d.size > sector && d.err == nil {
		id, _ = d.gptAt(d.size/sector*sector-sector, sector, n)
	}
	return id
}

// gptAt returns false if there is no sound GPT whose header is at off.
func (d *device) gptAt(off, sector int64, n int) (string, bool) {
	h := d.at(off, 512)
	if h == nil || string(h[:8]) != "EFI PART" {
		return "", false
	}
	length := le.Uint32(h[12:])
	if length < 92 || length > 512 || le.Uint64(h[24:]) != uint64(off/sector) {
		return "", false
	}
	sum := le.Uint32(h[16:])
	clear(h[16:20])
	if crc32.ChecksumIEEE(h[:length]) != sum {
		return "", false
	}
	lba, count, size := le.Uint64(h[72:]), int64(le.Uint32(h[80:])), int64(le.Uint32(h[84:]))
	if size < 128 || size > gptEntryMax || count*size > gptTableMax || lba > 1<<50 {
		return "", false
	}
	table, crc := int64(lba)*sector, uint32(0)
	for at := int64(0); at < count*size; at += 4096 {
		b := d.at(table+at, int(min(4096, count*size-at)))
		if b == nil {
			return "", false
		}
		crc = crc32.Update(crc, crc32.IEEETable, b)
	}
	if crc != le.Uint32(h[88:]) {
		return "", false
	}
	if int64(n) > count {
		return "", true
	}
	e := d.at(table+int64(n-1)*size, 32)
	if e == nil || zero(e[:16]) { // the type of one that is not used
		return "", true
	}
	return guid(e[16:]), true
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

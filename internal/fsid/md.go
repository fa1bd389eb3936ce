package fsid

import (
	"encoding/binary"
	"strconv"
)

// Features of arrays that cannot be run as they are: MD_FEATURE_RESHAPE_ACTIVE and
// MD_FEATURE_CLUSTERED.
const mdNotAlone = 4 | 256

const (
	mdMagic   = 0xa92b4efc
	mdMaxRole = 0xff00 // MD_DISK_ROLE_MAX: above are spares and failed members
	mdJournal = 0xfffd // MD_DISK_ROLE_JOURNAL
)

// md recognises members of Linux software RAID: struct mdp_superblock_1 and
// mdp_superblock_s, include/uapi/linux/raid/md_p.h. Version 1.1 is at the start,
// 1.2 at 4 KiB, 1.0 and 0.90 near the end of the device.
func md(d *device) (ID, bool) {
	for i, off := range []int64{(d.size>>9 - 16) &^ 7 << 9, 0, 4096} {
		if i == 0 && d.size == 0 {
			continue
		}
		b := d.at(off, 256)
		// The superblock knows its own place, in sectors.
		if b == nil || le.Uint32(b) != mdMagic || le.Uint32(b[4:]) != 1 || le.Uint64(b[144:]) != uint64(off>>9) {
			continue
		}
		id := ID{
			Type: "linux_raid_member", UUID: uuid(b[16:32]), Label: text(b[32:64]),
			Member: strconv.Itoa(int(le.Uint32(b[160:]))), Generation: le.Uint64(b[200:]),
		}
		if le.Uint32(b[8:])&mdNotAlone == 0 {
			id.Version = "1." + strconv.Itoa(i)
		}
		// The kernel takes no more roles than fit into 4 KiB.
		roles := d.at(off+256, 2*int(min(le.Uint32(b[220:]), (4096-256)/2)))
		for n := 0; 2*n < len(roles); n++ {
			if r := le.Uint16(roles[2*n:]); r < mdMaxRole || r == mdJournal {
				id.activate(n)
			}
		}
		return id, true
	}
	if d.size > 0 {
		return md090(d)
	}
	return ID{}, false
}

// activate adds a member to the active ones, which hold the data.
func (id *ID) activate(number int) {
	if id.Active == "" {
		id.Active = " "
	}
	id.Active += strconv.Itoa(number) + " "
	id.Members++
}

// md090 lies in the last whole 64 KiB but one, in the byte order of the machine that
// made it. Its UUID is four words; the first is not next to the others.
func md090(d *device) (ID, bool) {
	b := d.at(d.size&^0xffff-0x10000, 4096)
	if b == nil {
		return ID{}, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	low, high := 39, 40 // the halves of the events
	if le.Uint32(b) != mdMagic {
		order = binary.BigEndian
		low, high = 40, 39
	}
	word := func(n int) uint32 { return order.Uint32(b[4*n:]) }
	minor := word(2) // 91 is one that is being reshaped
	if word(0) != mdMagic || word(1) != 0 || minor != 90 && minor != 91 {
		return ID{}, false
	}
	var u [16]byte
	for i, n := range []int{5, 13, 14, 15} {
		binary.BigEndian.PutUint32(u[4*i:], word(n))
	}
	id := ID{
		Type: "linux_raid_member", UUID: uuid(u[:]),
		Member: strconv.Itoa(int(word(992))), Generation: uint64(word(high))<<32 | uint64(word(low)),
	}
	if minor == 90 {
		id.Version = "0.90"
	}
	// mdp_disk_t: MD_DISK_ACTIVE and MD_DISK_SYNC, not MD_DISK_FAULTY nor
	// MD_DISK_REMOVED.
	for n := range 27 {
		if word(128+32*n+4)&0xf == 0x6 {
			id.activate(n)
		}
	}
	return id, true
}

package fsid

// Entries of a FAT and an exFAT directory are of the same length, in bytes. A
// volume label is among the first ones that mkfs writes, so one sector of the
// root directory is enough.
const (
	dirEntry  = 32
	dirSector = 512
)

// vfat: the BIOS parameter block, "Microsoft FAT Specification" 3.1-3.3. FAT
// has no reliable magic number: the boot sector's signature is that of any
// boot sector, so every field that has to make sense is checked.
func vfat(d *device) (ID, bool) {
	b := d.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return ID{}, false
	}
	var (
		sector   = int64(le.Uint16(b[11:]))
		cluster  = int64(b[13]) // sectors
		reserved = int64(le.Uint16(b[14:]))
		fats     = int64(b[16])
		rootDir  = le.Uint16(b[17:]) // entries; 0 on FAT32
		media    = b[21]
		fatLen   = int64(le.Uint16(b[22:])) // sectors; 0 on FAT32
		fat32Len = int64(le.Uint32(b[36:]))
	)
	if !powerOf2(sector) || sector < 512 || sector > 4096 || !powerOf2(cluster) ||
		reserved == 0 || fats == 0 || fats > 2 || media != 0xf0 && media < 0xf8 {
		return ID{}, false
	}
	id := ID{Type: "vfat"}
	var dir int64 // sector of the root directory
	var label []byte
	switch {
	case fatLen != 0 && rootDir != 0:
		dir = reserved + fats*fatLen
		id.UUID, label = serial(b[39:43]), b[43:54]
	case fatLen == 0 && fat32Len != 0 && rootDir == 0:
		dir = reserved + fats*fat32Len + (int64(le.Uint32(b[44:]))-2)*cluster
		id.UUID, label = serial(b[67:71]), b[71:82]
	default:
		return ID{}, false
	}
	id.Label = fatLabel(d.at(dir*sector, dirSector))
	if id.Label == "" && string(label) != "NO NAME    " {
		id.Label = text(label)
	}
	return id, true
}

// fatLabel finds the volume label among directory entries. The attribute byte
// at 11 is 8 for it and has more bits in pieces of long names.
func fatLabel(dir []byte) string {
	for ; len(dir) >= dirEntry && dir[0] != 0; dir = dir[dirEntry:] {
		if dir[0] != 0xe5 && dir[11]&0x3f == 8 {
			return text(dir[:11])
		}
	}
	return ""
}

// exfat: the boot sector and the volume label entry, "exFAT file system
// specification" 3.1 and 7.3.
func exfat(d *device) (ID, bool) {
	b := d.at(0, 512)
	if b == nil || string(b[3:11]) != "EXFAT   " || b[108] < 9 || b[108] > 12 || b[109] > 25-b[108] {
		return ID{}, false
	}
	id := ID{Type: "exfat", UUID: serial(b[100:104])}
	heap, root := int64(le.Uint32(b[88:])), int64(le.Uint32(b[96:]))
	dir := d.at((heap+(root-2)<<b[109])<<b[108], dirSector)
	for ; len(dir) >= dirEntry && dir[0] != 0; dir = dir[dirEntry:] {
		if n := int(dir[1]); dir[0] == 0x83 && n <= 11 {
			id.Label = text16(dir[2 : 2+2*n])
			break
		}
	}
	return id, true
}

func powerOf2(n int64) bool { return n > 0 && n&(n-1) == 0 }

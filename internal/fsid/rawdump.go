package fsid

// The head of a dump on a raw device: rawdump(5). Package rawdump writes it.
const (
	RawDump      = "ukdump_raw"        // its type
	RawDumpMagic = "UKDUMP-RAW-DUMP\n" // at the start of the device
	RawDumpID    = 48                  // offset of its ID, in bytes
	RawDumpIDLen = 48                  // bytes, padded with NULs
)

// rawDump recognises a dump by its magic alone: a device with a damaged header must
// not be taken for an empty one.
func rawDump(d *device) (ID, bool) {
	if !d.has(0, RawDumpMagic) {
		return ID{}, false
	}
	return ID{Type: RawDump, UUID: text(d.at(RawDumpID, RawDumpIDLen))}, true
}

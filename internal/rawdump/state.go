package rawdump

import (
	"io"

	"ukdump/internal/fsid"
)

// state is the record of everything that has been written and is durable.
type state struct {
	seq      uint64 // the higher of two states counts
	finished bool
	files    [nFiles]file
	stream   Stream
}

// file is a file that is on the device, or nothing if at is 0.
type file struct {
	at, size int64
	crc      uint32
	partial  bool // only its beginning could be written
}

// Stream is where the flattened dump lies, in bytes.
type Stream struct {
	Start  int64 // offset of its beginning, 0 without a stream
	Limit  int64 // offset of its end at most: the end of the device
	Length int64 // bytes known to be on the device
	// Ended says that Length bytes were read back and their checksum recorded.
	// Otherwise it was cut: they were written, but nobody has read them since.
	Ended bool
	// Complete says that the collector succeeded and all of its output is on the
	// device.
	Complete bool

	crc uint32
}

// A state has one sector. Where its fields are:
const (
	sMagic   = "ukdump raw state"
	sVersion = 16
	sCRC     = 20 // of the sector, with zeros here
	sSeq     = 24
	sFlags   = 32
	sCRCData = 36 // of the stream
	sStart   = 40
	sLength  = 48
	sID      = 56
	sFiles   = sID + fsid.RawDumpIDLen
	sFile    = 24 // size of an entry: offset, length, checksum, flags

	flagFinished = 1 // in sFlags
	flagEnded    = 2
	flagComplete = 4
	flagPartial  = 1 // of a file
)

func (s *state) encode(id string) []byte {
	b := make([]byte, stateSize)
	copy(b, sMagic)
	le.PutUint32(b[sVersion:], version)
	le.PutUint64(b[sSeq:], s.seq)
	le.PutUint32(b[sFlags:], flag(s.finished, flagFinished)|flag(s.stream.Ended, flagEnded)|flag(s.stream.Complete, flagComplete))
	le.PutUint32(b[sCRCData:], s.stream.crc)
	le.PutUint64(b[sStart:], uint64(s.stream.Start))
	le.PutUint64(b[sLength:], uint64(s.stream.Length))
	copy(b[sID:sFiles], id)
	for i, f := range s.files {
		e := b[sFiles+i*sFile:]
		le.PutUint64(e, uint64(f.at))
		le.PutUint64(e[8:], uint64(f.size))
		le.PutUint32(e[16:], f.crc)
		le.PutUint32(e[20:], flag(f.partial, flagPartial))
	}
	le.PutUint32(b[sCRC:], checksum(b[:sector]))
	return b
}

func flag(set bool, bit uint32) uint32 {
	if set {
		return bit
	}
	return 0
}

// decodeState returns false for anything that is not a state of the dump h, and for a
// state with impossible places.
func decodeState(b []byte, h *Header) (state, bool) {
	b = b[:sector]
	if string(b[:len(sMagic)]) != sMagic || !sumOK(b, sCRC) || le.Uint32(b[sVersion:]) != version || text(b[sID:sFiles]) != h.ID {
		return state{}, false
	}
	flags := le.Uint32(b[sFlags:])
	s := state{
		seq:      le.Uint64(b[sSeq:]),
		finished: flags&flagFinished != 0,
		stream: Stream{
			Start:    int64(le.Uint64(b[sStart:])),
			Limit:    h.Size,
			Length:   int64(le.Uint64(b[sLength:])),
			Ended:    flags&flagEnded != 0,
			Complete: flags&(flagEnded|flagComplete) == flagEnded|flagComplete,
			crc:      le.Uint32(b[sCRCData:]),
		},
	}
	if !inside(s.stream.Start, s.stream.Length, h.Size) {
		return state{}, false
	}
	for i := range s.files {
		e := b[sFiles+i*sFile:]
		f := file{int64(le.Uint64(e)), int64(le.Uint64(e[8:])), le.Uint32(e[16:]), le.Uint32(e[20:])&flagPartial != 0}
		ok := inside(f.at, f.size, h.Size)
		if slots[i] != 0 && f.at != 0 {
			ok = (f.at == slots[i] || f.at == slots[i]+FileLimit) && f.size >= 0 && f.size <= FileLimit
		}
		if !ok {
			return state{}, false
		}
		s.files[i] = f
	}
	return s, true
}

// inside reports whether a range lies behind the fixed places on the device, or is
// empty.
func inside(at, length, size int64) bool {
	return at == 0 && length == 0 || at >= areaAt && at <= size && length >= 0 && length <= size-at
}

// readState returns the newer of the two states.
func readState(dev io.ReaderAt, h *Header) (state, error) {
	var newest state
	found := false
	var readErr error
	b := make([]byte, stateSize)
	for i := range int64(2) {
		if err := readFull(dev, b, stateAt+i*stateSize); err != nil {
			readErr = err
			continue
		}
		if s, ok := decodeState(b, h); ok && (!found || s.seq > newest.seq) {
			newest, found = s, true
		}
	}
	if !found {
		return state{}, &DamagedError{"the state", readErr}
	}
	return newest, nil
}

package rawdump

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"ukdump/internal/fsid"
)

// Restore ends the dump on a device of size bytes. A swap area gets its own head back,
// to the byte. Any other device gets zeros, since the content that its head described
// is overwritten. So does a swap area if the copy of its head is damaged. original
// reports whether the device got its own head back.
//
// Without a dump the error is ErrNone and nothing is written. A damaged dump is ended
// as well, also on a device that has become smaller. The header stays until the head
// behind it is durable, so an interrupted Restore can be repeated.
func Restore(dev Device, size int64) (original bool, err error) {
	head := make([]byte, headSize)
	h, err := readHeader(dev, size)
	var damaged *DamagedError
	if err != nil && !errors.As(err, &damaged) {
		return false, err
	}
	original = h.Held.Type == "swap" && savedHead(dev, &h, head) == nil
	if !original {
		clear(head)
	}
	for _, part := range []struct{ from, to int64 }{{sector, max(sector, min(headSize, size))}, {0, sector}} {
		if err := writeSync(dev, head[part.from:part.to], part.from); err != nil {
			return false, fmt.Errorf("put back the head of the device: %w", err)
		}
	}
	if !original { // or the remains look like data in use
		if err = clearOwn(dev, min(areaAt, size)); err != nil {
			return false, fmt.Errorf("clear the remains of the dump: %w", err)
		}
	}
	return original, nil
}

// clearOwn clears everything that was written in front of end, the beginning of the log.
func clearOwn(dev Device, end int64) error {
	zeros := make([]byte, bufferSize)
	for at := int64(savedAt); at < end; {
		b := zeros[:min(int64(len(zeros)), end-at)]
		if _, err := dev.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return dev.Sync()
}

// savedHead reads the copy of the device's own head. A copy that is the head of a raw
// dump cannot be one: Create writes to no such device, and restoring it would end
// nothing.
func savedHead(dev io.ReaderAt, h *Header, b []byte) error {
	if err := readFull(dev, b, savedAt); err != nil {
		return err
	}
	if checksum(b) != h.savedCRC || bytes.HasPrefix(b, []byte(fsid.RawDumpMagic)) {
		return &DamagedError{What: "the copy of the device's head"}
	}
	return nil
}

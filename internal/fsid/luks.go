package fsid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// maxLUKS is the largest header of LUKS2 in bytes (LUKS2 On-Disk Format
// Specification, 2.2: 4 MiB), minLUKS that of its binary part.
const (
	maxLUKS = 4 << 20
	minLUKS = 4096
)

// LUKSText returns the JSON in the LUKS header at the beginning of r, which describes
// the encryption of the data; "" for LUKS1, where that never changes.
func LUKSText(r io.ReaderAt) ([]byte, error) {
	b := make([]byte, 16)
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(b[:6]) != "LUKS\xba\xbe" {
		return nil, ErrUnknown
	}
	if binary.BigEndian.Uint16(b[6:]) == 1 {
		return nil, nil
	}
	size := binary.BigEndian.Uint64(b[8:]) // of both parts
	if size <= minLUKS || size > maxLUKS {
		return nil, errors.New("the LUKS header has an impossible size")
	}
	text := make([]byte, size-minLUKS)
	if _, err := r.ReadAt(text, minLUKS); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	return text, nil
}

package fsid

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLUKS is the largest header of LUKS2 in bytes (LUKS2 On-Disk Format
// Specification, 2.2: 4 MiB), minLUKS that of its binary part.
const (
	maxLUKS = 4 << 20
	minLUKS = 4096
)

// LUKSSegments returns what the LUKS header at the beginning of r says of where
// and how the data is encrypted: of LUKS2 the object "segments" of its JSON, byte
// for byte, and "" of LUKS1, where that never changes. While a volume is
// re-encrypted it is different from before.
func LUKSSegments(r io.ReaderAt) (string, error) {
	b := make([]byte, minLUKS)
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if string(b[:6]) != "LUKS\xba\xbe" {
		return "", ErrUnknown
	}
	if binary.BigEndian.Uint16(b[6:]) == 1 {
		return "", nil
	}
	size := binary.BigEndian.Uint64(b[8:]) // of both parts
	if size <= minLUKS || size > maxLUKS {
		return "", fmt.Errorf("LUKS header of %d bytes", size)
	}
	text := make([]byte, size-minLUKS)
	if _, err := r.ReadAt(text, minLUKS); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	var header struct {
		Segments json.RawMessage `json:"segments"`
	}
	if err := json.Unmarshal(text, &header); err != nil {
		return "", fmt.Errorf("LUKS header: %w", err)
	}
	if len(header.Segments) == 0 {
		return "", errors.New("LUKS header without segments")
	}
	return string(header.Segments), nil
}

package fsid

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"unicode/utf16"
)

// uuid spells 16 bytes as RFC 9562 does.
func uuid(b []byte) string {
	if zero(b) {
		return ""
	}
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// serial spells the little-endian volume serial number of the FAT family.
func serial(b []byte) string {
	if zero(b) {
		return ""
	}
	h := bytes.ToUpper([]byte(hex.EncodeToString([]byte{b[3], b[2], b[1], b[0]})))
	return string(h[:4]) + "-" + string(h[4:])
}

// text returns b up to its first NUL, without spaces at the end.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(bytes.TrimRight(b, " "))
}

// text16 is text for UTF-16LE.
func text16(b []byte) string {
	var u []uint16
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

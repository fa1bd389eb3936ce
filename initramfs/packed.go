package initramfs

import (
	"bytes"
	"strconv"
)

// Packed returns the rest of an image from its first archive that is not plain cpio, in
// whatever compression: behind microcode, for example. It is empty if all are plain, or
// a plain one is damaged.
func Packed(image []byte) []byte {
	for rest := image; ; {
		rest = bytes.TrimLeft(rest, "\x00")
		if !isNewc(rest) {
			return rest
		}
		n := newcLength(rest)
		if n <= 0 || n > int64(len(rest)) {
			return nil
		}
		rest = rest[n:]
	}
}

// newcLength returns the length of the entry at the beginning of b, with its padding;
// 0 if it is damaged.
func newcLength(b []byte) int64 {
	if len(b) < headerSize {
		return 0
	}
	// filesize and namesize, the seventh and the twelfth field
	size, err := strconv.ParseUint(string(b[54:62]), 16, 32)
	name, err2 := strconv.ParseUint(string(b[94:102]), 16, 32)
	if err != nil || err2 != nil || name > pathMax {
		return 0
	}
	head := headerSize + int64(name)
	return head + padding(head) + int64(size) + padding(int64(size))
}

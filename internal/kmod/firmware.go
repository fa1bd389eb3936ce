package kmod

import (
	"bytes"

	"ukdump/internal/crashdir"
)

// Compressions are the extensions of firmware files, "" for plain ones, in the
// order in which the kernel tries them (CONFIG_FW_LOADER_COMPRESS,
// drivers/base/firmware_loader/main.c).
var Compressions = []string{"", ".zst", ".xz"}

// Unpack returns the plain content of a firmware file with one of the
// Compressions. It fails if the data are damaged or have more than MaxSize
// bytes.
func Unpack(data []byte, ext string) ([]byte, error) {
	if ext == "" {
		return data, nil
	}
	r, err := unpack(bytes.NewReader(data), ext)
	if err != nil {
		return nil, packedOtherwise(err)
	}
	defer r.Close()
	data, err = crashdir.ReadAll(r, MaxSize)
	return data, packedOtherwise(err)
}

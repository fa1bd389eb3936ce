package unseal

import (
	"fmt"
	"path/filepath"

	"ukdump/internal/crashdir"
)

// Describe returns to how many keys the vmcore of a dump is encrypted, for people, and ""
// for a dump whose vmcore is not encrypted.
func Describe(d *crashdir.Dump) string {
	if !d.Sealed() {
		return ""
	}
	info, err := OfDump(d)
	if info.Recipients == 0 {
		return fmt.Sprintf("encrypted, but %v", err)
	}
	return "encrypted to " + Keys(info.Recipients)
}

// OfDump describes the encrypted vmcore of a dump.
func OfDump(d *crashdir.Dump) (Info, error) {
	f, err := d.Open(filepath.Base(d.Vmcore))
	if err != nil {
		return Info{}, crashdir.WithoutPath(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	return Inspect(f, fi.Size())
}

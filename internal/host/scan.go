package host

import (
	"os"
	"path/filepath"
	"strings"

	"ukdump/internal/rawdump"
)

// RawDevice is a block device that can hold a raw dump.
type RawDevice struct {
	Name string // the kernel's
	Path string // below /dev
	Size int64  // bytes
}

// mapperDevices returns the names of the devices of device-mapper by their dm/uuid.
func mapperDevices(root string) map[string]string {
	devices := make(map[string]string)
	dirs, _ := filepath.Glob(filepath.Join(root, "sys/class/block/dm-*/dm")) // our own pattern cannot be bad
	for _, dir := range dirs {
		uuid, err := readFile(filepath.Join(dir, "uuid"))
		if err != nil {
			continue // it may be gone by now
		}
		name, _ := readFile(filepath.Join(dir, "name"))
		devices[strings.TrimSpace(string(uuid))] = strings.TrimSpace(string(name))
	}
	return devices
}

// MissingVolumes returns those of the volumes that are not there, by dm/uuid.
func MissingVolumes(root string, uuids []string) (missing []string) {
	there := mapperDevices(root)
	for _, id := range uuids {
		if _, ok := there[id]; !ok {
			missing = append(missing, id)
		}
	}
	return missing
}

// CryptName returns the name of the open LUKS volume with that UUID, "" if there
// is none.
func CryptName(root, uuid string) string {
	for dmUUID, name := range mapperDevices(root) {
		if id, ok := luksUUID(dmUUID); ok && strings.EqualFold(id, uuid) {
			return name
		}
	}
	return ""
}

// BlockDevices returns the block devices that can hold a dump: not those that
// another one is built on, because the dump is on that, and no drives that take
// seconds to find out that they are empty.
func BlockDevices(root string) ([]RawDevice, error) {
	class := filepath.Join(root, "sys/class/block")
	ents, err := os.ReadDir(class)
	if err != nil {
		return nil, err
	}
	var list []RawDevice
	for _, e := range ents {
		name := e.Name()
		if strings.HasPrefix(name, "sr") || strings.HasPrefix(name, "fd") || strings.HasPrefix(name, "ram") {
			continue
		}
		if holders, _ := os.ReadDir(filepath.Join(class, name, "holders")); len(holders) > 0 {
			continue
		}
		b, _ := readFile(filepath.Join(class, name, "size"))
		size, err := parseSectors(string(b))
		if err != nil || size < rawdump.MinSize {
			continue
		}
		list = append(list, RawDevice{name, filepath.Join(root, "dev", nodeName(name)), size})
	}
	return list, nil
}

package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ukdump/internal/cryptkeys"
)

// LoadRecord is the set that kdumpctl loaded; the kernel itself only says that something is.
type LoadRecord struct {
	Kernel      string          `json:"kernel"`      // path of its image
	Release     string          `json:"release"`     // as uname -r prints it
	Image       string          `json:"image"`       // path of the initramfs
	Fingerprint string          `json:"fingerprint"` // of the image, see builder.Contents
	KernelID    string          `json:"kernel_sha256,omitempty"`
	ImageID     string          `json:"image_sha256,omitempty"`
	Cmdline     string          `json:"cmdline"`
	KernelBytes int64           `json:"kernel_bytes"` // memory the kernel takes to start
	ImageBytes  int64           `json:"image_bytes"`  // packed
	Unpacked    int64           `json:"unpacked_bytes,omitempty"`
	Emergency   bool            `json:"emergency,omitempty"`          // the image is the distribution's own
	Seeded      bool            `json:"seeded,omitempty"`             // the kernel got random bytes for encryption before the image
	Servers     []string        `json:"servers,omitempty"`            // targets at servers, by plan.Target.Dir
	LogOnly     bool            `json:"log_only,omitempty"`           // it saves no vmcore: DUMP=log
	Memory      int64           `json:"memory_bytes,omitempty"`       // that the capture kernel can use
	Needed      int64           `json:"memory_needed,omitempty"`      // estimate, in bytes
	Unreachable string          `json:"memory_unreachable,omitempty"` // the problem that a disk cannot use that memory
	Time        time.Time       `json:"time"`
	BootID      string          `json:"boot_id"`            // of the kernel that it was loaded into
	Fallback    string          `json:"fallback,omitempty"` // why it is the fallback set that was loaded
	Forecast    *Forecast       `json:"forecast,omitempty"`
	Words       []string        `json:"words,omitempty"`          // of a forecast, at the beginning of Cmdline
	Keys        []cryptkeys.Key `json:"keys,omitempty"`           // volume keys that it has, by their descriptions
	Pieces      []Piece         `json:"pieces,omitempty"`         // its parts in the reserved memory, if the kernel shows that
	Updates     bool            `json:"kernel_updates,omitempty"` // the kernel kept its ELF header up to date
	LoadsLeft   int             `json:"loads_left,omitempty"`     // that a sysctl allowed afterwards; 0 if it set no limit, or none was left
	Volumes     []string        `json:"volumes,omitempty"`        // dm/uuid of the logical volumes that are raw targets
}

// Piece is a kexec.Piece.
type Piece struct {
	Part    string `json:"part"`
	Address uint64 `json:"address"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"`
}

// String names the loaded kernel and image in messages.
func (l *LoadRecord) String() string { return l.Release + " with " + filepath.Base(l.Image) }

// Matches reports whether the set is the one with these IDs, command line without the words of a
// forecast, and descriptions of volume keys.
func (l *LoadRecord) Matches(kernelID, imageID, bare string, keys []string) bool {
	return l.KernelID == kernelID && l.ImageID == imageID && l.Bare() == bare && slices.Equal(l.KeyDescriptions(), keys)
}

// KeyDescriptions returns the descriptions of the volume keys.
func (l *LoadRecord) KeyDescriptions() (list []string) {
	for _, k := range l.Keys {
		list = append(list, k.Description)
	}
	return list
}

const (
	loadedFile = "loaded.json"
	// loadedBeforeFile is loaded.json as an earlier boot has left it.
	loadedBeforeFile = "loaded-before.json"
)

// SaveLoaded records the set that is loaded now.
func (st Store) SaveLoaded(l *LoadRecord) error { return writeJSON(st.file(loadedFile), l) }

// ForgetLoaded removes the record. That of an earlier boot is set aside, because
// announce may need it, see WasLoaded.
func (st Store) ForgetLoaded() error {
	if l := st.LastLoaded(); l != nil && l.BootID != st.BootID() {
		return os.Rename(st.file(loadedFile), st.file(loadedBeforeFile))
	}
	err := os.Remove(st.file(loadedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Loaded returns the set that was loaded in this boot, nil if that is not known.
func (st Store) Loaded() *LoadRecord {
	if l := st.LastLoaded(); l != nil && l.BootID == st.BootID() {
		return l
	}
	return nil
}

// LastLoaded returns the set that was loaded last, in this boot or an earlier one, nil if
// that is not known or it was unloaded.
func (st Store) LastLoaded() *LoadRecord { return readLoaded(st.file(loadedFile)) }

func readLoaded(path string) *LoadRecord {
	l := new(LoadRecord)
	if readJSON(path, 1<<20, l) != nil {
		return nil
	}
	return l
}

// LoadedIn returns the set that was loaded at the end of an earlier boot, nil if none
// was.
func (st Store) LoadedIn(boot string) *LoadRecord {
	for _, name := range []string{loadedFile, loadedBeforeFile} {
		if l := readLoaded(st.file(name)); l != nil && l.BootID == boot {
			return l
		}
	}
	return nil
}

// LoadedEarlier returns the set that was loaded in the last boot before this one in
// which one was, nil if that is not known.
func (st Store) LoadedEarlier() *LoadRecord {
	for _, name := range []string{loadedFile, loadedBeforeFile} {
		if l := readLoaded(st.file(name)); l != nil && l.BootID != st.BootID() {
			return l
		}
	}
	return nil
}

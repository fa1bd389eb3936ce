package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

// Set is everything that one load hands to the kernel. The last one that could
// be loaded is kept in a directory, for the case that a later load fails:
// set.json, and its two files named by their content. set.json is replaced last
// and in one step, so whoever is interrupted leaves the old set or the new one.
type Set struct {
	LoadRecord     // as it was loaded
	PageSize   int `json:"page_size"` // of the kernel that it was loaded into
}

// Names of the directory of the fallback set, and in it.
const (
	fallbackDir = "last-good"
	setFile     = "set.json"
	kernelFiles = "kernel-" // and its ID
	imageFiles  = "image-"
)

// MaxImage is the largest image that is read, in bytes.
const MaxImage = 1 << 30

// Limits of the other files that are read back, in bytes.
const (
	maxSetFile = 1 << 20
	maxKernel  = 256 << 20 // as in kimage
)

// ID returns the SHA-256 of data in hexadecimal digits.
func ID(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// SaveFallback keeps a set that was loaded. If it is there and whole already,
// nothing is written.
func (st Store) SaveFallback(s *Set, kernel, image []byte) error {
	s.PageSize = os.Getpagesize()
	dir := st.file(fallbackDir)
	old, _, _, err := st.Fallback()
	if err == nil && old.same(s) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := s.write(dir, kernel, image); err != nil {
		now, _, _, _ := st.Fallback()
		keepOnly(dir, now) // a full disk gets its space back
		return err
	}
	keepOnly(dir, s)
	return nil
}

// write writes the files of s into dir, the one that makes them a set last.
func (s *Set) write(dir string, kernel, image []byte) error {
	for name, data := range map[string][]byte{kernelFiles + s.KernelID: kernel, imageFiles + s.ImageID: image} {
		if have, err := ReadFile(filepath.Join(dir, name), int64(len(data))); err == nil && ID(have) == ID(data) {
			continue
		}
		err := crashdir.WriteFile(dir, name, func(w io.Writer) error { _, err := w.Write(data); return err })
		if err != nil {
			return err
		}
	}
	if err := crashdir.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return crashdir.WriteFile(dir, setFile, func(w io.Writer) error { return cli.WriteJSON(w, s) })
}

// keepOnly removes everything from dir that is not of the set, which may be nil.
func keepOnly(dir string, s *Set) {
	ents, _ := os.ReadDir(dir)
	for _, e := range ents {
		if s != nil && (e.Name() == setFile || e.Name() == kernelFiles+s.KernelID || e.Name() == imageFiles+s.ImageID) {
			continue
		}
		os.Remove(filepath.Join(dir, e.Name()))
	}
}

// same reports whether loading either set does the same.
func (s *Set) same(o *Set) bool {
	return s.KernelID == o.KernelID && s.ImageID == o.ImageID && s.Cmdline == o.Cmdline && s.PageSize == o.PageSize &&
		s.Kernel == o.Kernel && s.Image == o.Image && s.Unreachable == o.Unreachable && slices.Equal(s.Keys, o.Keys) && slices.Equal(s.Volumes, o.Volumes)
}

// Is reports whether s is the set of a record.
func (s *Set) Is(l *LoadRecord) bool {
	return s.KernelID == l.KernelID && s.ImageID == l.ImageID && s.Cmdline == l.Cmdline
}

// ErrNoFallback is the error of Fallback where nothing was kept yet.
var ErrNoFallback = errors.New("no fallback set exists")

// Fallback returns the fallback set, its kernel and its image, all of them proven
// to be whole. The error is ErrNoFallback if there is none.
func (st Store) Fallback() (s *Set, kernel, image []byte, err error) {
	s, kernel, image, err = st.readFallback()
	switch {
	case errors.Is(err, ErrNoFallback):
		return nil, nil, nil, err
	case err != nil:
		return nil, nil, nil, fmt.Errorf("read the fallback set: %w", err)
	}
	return s, kernel, image, nil
}

func (st Store) readFallback() (s *Set, kernel, image []byte, err error) {
	b, err := ReadFile(filepath.Join(st.file(fallbackDir), setFile), maxSetFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, ErrNoFallback
	}
	if err != nil {
		return nil, nil, nil, err
	}
	s = new(Set)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, nil, nil, err
	}
	if !IsID(s.KernelID) || !IsID(s.ImageID) { // they become names of files
		return nil, nil, nil, errors.New("it names no checksums")
	}
	if s.PageSize != os.Getpagesize() {
		return nil, nil, nil, fmt.Errorf("it is from a kernel with pages of %d bytes", s.PageSize)
	}
	if kernel, err = readWhole(st.KernelCopy(s.KernelID), maxKernel, s.KernelID); err != nil {
		return nil, nil, nil, err
	}
	if image, err = readWhole(st.ImageCopy(s.ImageID), MaxImage, s.ImageID); err != nil {
		return nil, nil, nil, err
	}
	return s, kernel, image, nil
}

// KernelCopy returns the path of the kernel with that ID in the fallback set.
func (st Store) KernelCopy(id string) string {
	return filepath.Join(st.file(fallbackDir), kernelFiles+id)
}

// ImageCopy returns the path of the image with that ID in the fallback set.
func (st Store) ImageCopy(id string) string {
	return filepath.Join(st.file(fallbackDir), imageFiles+id)
}

// LoadedVolumes returns the logical volumes that the last loads had as raw targets,
// by dm/uuid. A load that goes on at the same time takes loaded.json away for a
// moment, but never the fallback set.
func (st Store) LoadedVolumes() []string {
	var volumes []string
	if l := st.LastLoaded(); l != nil {
		volumes = l.Volumes
	}
	good := new(Set)
	if readJSON(filepath.Join(st.file(fallbackDir), setFile), maxSetFile, good) == nil {
		volumes = append(volumes, good.Volumes...)
	}
	slices.Sort(volumes)
	return slices.Compact(volumes)
}

// readWhole reads a file that must have that checksum.
func readWhole(path string, limit int64, want string) ([]byte, error) {
	data, err := ReadFile(path, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if ID(data) != want {
		return nil, fmt.Errorf("%s: it is damaged", path)
	}
	return data, nil
}

// IsID reports whether s can be an ID.
func IsID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// ReadFile reads a regular file of at most limit bytes. Its error does not name
// the file.
func ReadFile(path string, limit int64) ([]byte, error) {
	data, err := crashdir.ReadFile(path, limit)
	return data, crashdir.WithoutPath(err)
}

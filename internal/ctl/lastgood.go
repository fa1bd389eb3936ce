package ctl

import (
	"bytes"
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

	"ukdump/initramfs"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/plan"
)

// set is everything that one load hands to the kernel. The last one that could
// be loaded is kept in a directory, for the case that a later load fails:
// set.json, and its two files named by their content. set.json is replaced last
// and in one step, so whoever is interrupted leaves the old set or the new one.
type set struct {
	loaded         // as it was loaded
	Unpacked int64 `json:"unpacked_bytes"` // image, unpacked
	PageSize int   `json:"page_size"`      // of the kernel that it was loaded into
}

// Names in the directory of the last good set.
const (
	setFile     = "set.json"
	kernelFiles = "kernel-" // and its ID
	imageFiles  = "image-"
)

// Limits of what is read back, in bytes.
const (
	maxSetFile = 1 << 20
	maxKernel  = 256 << 20 // as in kimage
)

func (c *ctl) lastGoodDir() string { return filepath.Join(c.root, builder.StateDir, "last-good") }

func id(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// saveLastGood keeps a set that was loaded. If it is there and whole already,
// nothing is written.
func (c *ctl) saveLastGood(s *set, kernel, image []byte) error {
	s.PageSize = os.Getpagesize()
	dir := c.lastGoodDir()
	old, _, _, err := c.readLastGood()
	if err == nil && old.same(s) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := s.write(dir, kernel, image); err != nil {
		now, _, _, _ := c.readLastGood()
		keepOnly(dir, now) // a full disk gets its space back
		return err
	}
	keepOnly(dir, s)
	return nil
}

// write writes the files of s into dir, the one that makes them a set last.
func (s *set) write(dir string, kernel, image []byte) error {
	for name, data := range map[string][]byte{kernelFiles + s.KernelID: kernel, imageFiles + s.ImageID: image} {
		if have, err := readFile(filepath.Join(dir, name), int64(len(data))); err == nil && id(have) == id(data) {
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
func keepOnly(dir string, s *set) {
	ents, _ := os.ReadDir(dir)
	for _, e := range ents {
		if s != nil && (e.Name() == setFile || e.Name() == kernelFiles+s.KernelID || e.Name() == imageFiles+s.ImageID) {
			continue
		}
		os.Remove(filepath.Join(dir, e.Name()))
	}
}

// same reports whether loading either set does the same.
func (s *set) same(o *set) bool {
	return s.KernelID == o.KernelID && s.ImageID == o.ImageID && s.Cmdline == o.Cmdline && s.PageSize == o.PageSize &&
		s.Kernel == o.Kernel && s.Image == o.Image && slices.Equal(s.Keys, o.Keys) && slices.Equal(s.Volumes, o.Volumes)
}

var errNoLastGood = errors.New("there is no last good set")

// readLastGood returns the last good set, its kernel and its image, all of them
// proven to be whole. The error is errNoLastGood if there is none.
func (c *ctl) readLastGood() (s *set, kernel, image []byte, err error) {
	dir := c.lastGoodDir()
	b, err := readFile(filepath.Join(dir, setFile), maxSetFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, errNoLastGood
	}
	if err == nil {
		s = new(set)
		err = json.Unmarshal(b, s)
	}
	if err == nil && (!isID(s.KernelID) || !isID(s.ImageID)) { // they become names of files
		err = errors.New("it names no checksums")
	}
	if err == nil && s.PageSize != os.Getpagesize() {
		err = fmt.Errorf("it is from a kernel with pages of %d bytes", s.PageSize)
	}
	if err == nil {
		kernel, err = readWhole(filepath.Join(dir, kernelFiles+s.KernelID), maxKernel, s.KernelID)
	}
	if err == nil {
		image, err = readWhole(filepath.Join(dir, imageFiles+s.ImageID), maxImage, s.ImageID)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read the last good set: %w", err)
	}
	return s, kernel, image, nil
}

// readWhole reads a file that must have that checksum.
func readWhole(path string, limit int64, want string) ([]byte, error) {
	data, err := readFile(path, limit)
	if err == nil && id(data) != want {
		err = errors.New("it is damaged")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

func isID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// loadLastGood loads the last good set because of what failed.
func (c *ctl) loadLastGood(failed string) (*set, error) {
	s, kernelData, imageData, err := c.readLastGood()
	if err != nil {
		return nil, err
	}
	s.Fallback = failed
	if c.keys.Check(s.Keys, c.takenKeys()) != nil {
		if s.Keys, err = c.keysLeft(imageData); err != nil {
			return nil, err
		}
	}
	// The file in place of a copy in memory, for a policy which looks at it. It
	// was read just now, and nobody else writes here.
	kernel, err := os.Open(filepath.Join(c.lastGoodDir(), kernelFiles+s.KernelID))
	if err != nil {
		if kernel, err = memfd(s.Kernel, kernelData); err != nil {
			return nil, err
		}
	}
	defer kernel.Close()
	initrd, err := memfd(s.Image, imageData)
	if err != nil {
		return nil, err
	}
	defer initrd.Close()
	return s, c.put(s, kernel, initrd)
}

// keysLeft chooses among the keys of an image when one has gone.
func (c *ctl) keysLeft(image []byte) ([]cryptkeys.Key, error) {
	contents, err := builder.Inspect(initramfs.Open(bytes.NewReader(image)))
	if err != nil {
		return nil, err
	}
	p, err := plan.Parse(contents.Plan)
	if err != nil {
		return nil, err
	}
	return c.chooseKeys(p)
}

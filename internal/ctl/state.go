package ctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ukdump/internal/builder"
	"ukdump/internal/cryptkeys"
)

// loaded is what we loaded; the kernel itself only says that something is.
type loaded struct {
	Kernel      string          `json:"kernel"`      // path of its image
	Release     string          `json:"release"`     // as uname -r prints it
	Image       string          `json:"image"`       // path of the initramfs
	Fingerprint string          `json:"fingerprint"` // of the image, see builder.Fingerprint
	KernelID    string          `json:"kernel_sha256,omitempty"`
	ImageID     string          `json:"image_sha256,omitempty"`
	Cmdline     string          `json:"cmdline"`
	KernelBytes int64           `json:"kernel_bytes"` // memory the kernel takes to start
	ImageBytes  int64           `json:"image_bytes"`  // packed
	Time        time.Time       `json:"time"`
	BootID      string          `json:"boot_id"`            // of the kernel that it was loaded into
	Fallback    string          `json:"fallback,omitempty"` // why it is the last good set that was loaded
	Forecast    *forecast       `json:"forecast,omitempty"`
	Keys        []cryptkeys.Key `json:"keys,omitempty"`    // volume keys that it has, by their descriptions
	Volumes     []string        `json:"volumes,omitempty"` // dm/uuid of the logical volumes that are raw targets
}

// String names what is loaded in messages.
func (l *loaded) String() string { return l.Release + " with " + filepath.Base(l.Image) }

// differs says which kernel or command line b has in place of the loaded one, nil
// if neither.
func (l *loaded) differs(b *builder.Build) error {
	cmdline, err := cmdlineFor(b, l.Fingerprint)
	switch {
	case err != nil:
		return err
	case l.Release != b.Kernel.Release:
		return toReload("kernel %s is loaded, but %s is configured", l.Release, b.Kernel.Release)
	case l.KernelID != "" && l.KernelID != id(b.Kernel.Loadable()):
		return toReload("%s has changed since it was loaded", b.Kernel.Path)
	case l.Cmdline != l.Forecast.addTo(cmdline):
		return toReload("the command line of the capture kernel is not the one that is configured now")
	}
	return nil
}

func (c *ctl) loadedFile() string { return filepath.Join(c.root, builder.StateDir, "loaded.json") }

// bootID returns the ID of this boot, see random(4).
func (c *ctl) bootID() string {
	return c.read("proc/sys/kernel/random/boot_id")
}

func (c *ctl) saveLoaded(l *loaded) error {
	if err := os.MkdirAll(filepath.Dir(c.loadedFile()), 0o700); err != nil {
		return err
	}
	return c.saveState(c.loadedFile(), l)
}

// loadedBeforeFile is loaded.json as an earlier boot has left it.
func (c *ctl) loadedBeforeFile() string {
	return filepath.Join(c.root, builder.StateDir, "loaded-before.json")
}

// forgetLoaded takes loaded.json away. What an earlier boot had loaded announce may
// still have to know.
func (c *ctl) forgetLoaded() error {
	if l := c.lastLoaded(); l != nil && l.BootID != c.bootID() {
		return os.Rename(c.loadedFile(), c.loadedBeforeFile())
	}
	err := os.Remove(c.loadedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readLoaded returns what was loaded in this boot, nil if that is not known.
func (c *ctl) readLoaded() *loaded {
	if l := c.lastLoaded(); l != nil && l.BootID == c.bootID() {
		return l
	}
	return nil
}

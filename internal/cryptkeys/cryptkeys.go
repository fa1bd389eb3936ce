// Package cryptkeys has the running kernel hand the keys of encrypted volumes to the
// capture kernel (CONFIG_CRASH_DM_CRYPT, Linux 6.16; "Write the dump file to encrypted
// disk volume" in Documentation/admin-guide/kdump/kdump.rst). This program never reads
// a key, unless a volume's own table shows it, and writes keys to the kernel only.
package cryptkeys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Key is the volume key of one encrypted volume.
type Key struct {
	Volume      string `json:"volume"`      // its name on this system, for messages
	UUID        string `json:"uuid"`        // of its LUKS header
	Description string `json:"description"` // under which the kernel has it
	Bytes       int    `json:"bytes"`       // its length
}

// Handover hands keys over. Use New; the fields are there to be replaced in
// tests.
type Handover struct {
	// Root is the directory that holds sys.
	Root string
	// Mount mounts configfs on a directory.
	Mount func(dir string) error
	// Table returns the key that the table of a volume in use shows, as that of
	// LUKS1 does; nil if it only refers to the kernel's keyring. The caller
	// clears it.
	Table func(k Key) []byte
	// Write writes a value to an attribute in configfs.
	Write func(file, value string) error

	Ring Keyring

	held []Key // keys of which the kernel has a copy although nothing is loaded
}

// New returns the handover of the running kernel, whose sys is below root.
func New(root string, table func(Key) []byte) *Handover {
	return &Handover{Root: root, Mount: mountConfigfs, Table: table, Write: write, Ring: kernelKeyring{}}
}

// interfaceDir is the kernel's interface, in configfs.
const interfaceDir = "sys/kernel/config/crash_dm_crypt_keys"

// itemPrefix begins the names of our items in configfs.
const itemPrefix = "ukdump-"

// maxKeys is KEY_NUM_MAX of kernel/crash_dump_dm_crypt.c.
const maxKeys = 128

// Load calls load, which loads a capture kernel, so that the kernel hands over the
// keys. taken are the keys of the capture kernel that is loaded now: if keys are gone
// from the keyring, the kernel reuses its copy of these. Load may call load twice,
// which counts twice for kexec_load_limit_panic. If the second call fails, the loaded
// capture kernel may have other keys. load drops the loaded capture kernel, so Load
// runs all checks first. Their error is an *UnsupportedError, a *MissingError, a
// *ForeignError, or that of a failed operation.
func (h *Handover) Load(keys, taken []Key, load func() error) error {
	if len(keys) == 0 {
		if err := h.sweep(filepath.Join(h.Root, interfaceDir)); err != nil {
			return err
		}
		return load()
	}
	if len(keys) > maxKeys {
		return fmt.Errorf("hand over volume keys: the kernel takes %d, there are %d", maxKeys, len(keys))
	}
	dir, err := h.open()
	if err != nil {
		return err
	}
	done, err := h.Ring.Enter()
	if err != nil {
		return fmt.Errorf("hand over volume keys: look into root's keyring: %w", err)
	}
	defer done()
	reuse := false
	for _, k := range keys {
		if err := h.find(k); err != nil {
			if !h.has(keys, taken) {
				return err
			}
			reuse = true
		}
	}
	if err := h.sweep(dir); err != nil {
		return err
	}
	defer func() { _ = h.sweep(dir) }() // the next load reports items that stay
	for i, k := range keys {
		if err := h.putItem(filepath.Join(dir, itemPrefix+strconv.Itoa(i)), k); err != nil {
			return fmt.Errorf("hand over the volume key of %s: %w", k.Volume, err)
		}
	}
	if reuse {
		return h.loadReusing(dir, keys, load)
	}
	stuck := h.reuse(dir, false)
	if err = load(); err == nil && stuck != nil {
		// The capture kernel has old keys. But now that one with keys is loaded, the
		// kernel can be told to look for the new ones.
		if err = h.reuse(dir, false); err != nil {
			return fmt.Errorf("have the kernel look for the volume keys again: %w", err)
		}
		err = load()
	}
	switch {
	case err == nil:
		h.held = nil
	case errors.Is(err, syscall.ENOKEY) || errors.Is(err, syscall.EKEYEXPIRED) || errors.Is(err, syscall.EKEYREVOKED):
		// A key has vanished in the meantime, if it is not that of the kernel's
		// signature.
		for _, k := range keys {
			if missing := h.find(k); missing != nil {
				return missing
			}
		}
	}
	return err
}

// putItem makes the item of configfs that names a key.
func (h *Handover) putItem(item string, k Key) error {
	if err := os.Mkdir(item, 0o700); err != nil {
		return err
	}
	return h.Write(filepath.Join(item, "description"), k.Description)
}

// loadReusing has the kernel take over its own copy of the keys.
func (h *Handover) loadReusing(dir string, keys []Key, load func() error) error {
	if err := h.reuse(dir, true); err != nil {
		return fmt.Errorf("have the kernel take over the volume keys of the loaded capture kernel: %w", err)
	}
	err := load()
	h.held = nil
	// The next load looks for the keys again. While nothing is loaded that cannot be
	// requested: the kernel keeps its copy, or has freed it if it found no room for it.
	if h.reuse(dir, false) != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		h.held = keys
	}
	return err
}

// has reports whether the kernel has a copy of these keys.
func (h *Handover) has(keys, taken []Key) bool {
	return same(keys, taken) || same(keys, h.held)
}

// Check runs the checks of Load: whether the kernel can hand over keys, and where it
// finds each of them. Errors are those of Load.
func (h *Handover) Check(keys, taken []Key) error {
	if len(keys) == 0 || h.has(keys, taken) {
		return nil
	}
	if _, err := h.open(); err != nil {
		return err
	}
	done, err := h.Ring.Enter()
	if err != nil {
		return fmt.Errorf("look into root's keyring: %w", err)
	}
	defer done()
	for _, k := range keys {
		if err := h.find(k); err != nil {
			return err
		}
	}
	return nil
}

// find makes sure that the kernel finds a key.
func (h *Handover) find(k Key) error {
	err := h.Ring.Find(k.Description)
	if err == nil {
		return nil
	}
	if secret := h.Table(k); secret != nil {
		defer clear(secret)
		if err := h.Ring.Add(k.Description, secret); err != nil {
			return fmt.Errorf("hand over the volume key of %s: %w", k.Volume, err)
		}
		return nil
	}
	return &MissingError{Key: k, Err: err}
}

// open returns the directory of the kernel's interface. It mounts configfs if
// necessary.
func (h *Handover) open() (string, error) {
	dir := filepath.Join(h.Root, interfaceDir)
	configfs := filepath.Dir(dir)
	_, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) && empty(configfs) {
		if err := h.Mount(configfs); err != nil && !errors.Is(err, syscall.EBUSY) {
			// Without configfs there is no interface either.
			if errors.Is(err, syscall.ENODEV) || errors.Is(err, fs.ErrNotExist) {
				return "", &UnsupportedError{}
			}
			return "", fmt.Errorf("mount configfs on %s: %w", configfs, err)
		}
		_, err = os.Stat(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", &UnsupportedError{}
	}
	return dir, err
}

func empty(dir string) bool {
	ents, err := os.ReadDir(dir)
	return err != nil || len(ents) == 0
}

// reuse sets whether the kernel takes its own copy of the keys instead of looking for
// them. The copy is that of the loaded capture kernel, and there must be as many
// items. Unless a capture kernel with keys is loaded, the error is EINVAL, also for
// off.
func (h *Handover) reuse(dir string, on bool) error {
	file := filepath.Join(dir, "reuse")
	b, _ := os.ReadFile(file)
	if is := strings.TrimSpace(string(b)) == "1"; is == on {
		return nil
	}
	value := "0"
	if on {
		value = "1"
	}
	return h.Write(file, value)
}

// sweep removes our items. They do not hold the keys that were taken. The kernel would
// look for the keys of items that a killed run has left, and fail for an item without
// description. It would also take items of other programs for keys; they are the error
// of sweep.
func (h *Handover) sweep(dir string) error {
	items, _ := filepath.Glob(filepath.Join(dir, itemPrefix+"*"))
	for _, item := range items {
		os.Remove(filepath.Join(item, "description")) // only where it is no configfs
		os.Remove(item)
	}
	ents, _ := os.ReadDir(dir)
	for _, e := range ents {
		if e.IsDir() {
			return &ForeignError{filepath.Join(dir, e.Name())}
		}
	}
	return nil
}

// same reports whether both are the same keys, in any order.
func same(a, b []Key) bool {
	if len(a) != len(b) {
		return false
	}
	have := make(map[string]bool)
	for _, k := range a {
		have[k.Description] = true
	}
	for _, k := range b {
		if !have[k.Description] {
			return false
		}
	}
	return true
}

// write writes a value to an attribute, which exists in configfs.
func write(file, value string) error {
	return os.WriteFile(file, []byte(value), 0o600)
}

// Package config reads ukdump.conf(5): KEY=VALUE files that are parsed, never
// run. Every key has a default that works.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
	"ukdump/internal/target"
)

// Places below the root directory.
const (
	File   = "etc/ukdump.conf"
	DropIn = "etc/ukdump.conf.d" // its *.conf are read in lexical order
)

// maxFileSize is the most bytes a configuration file can have.
const maxFileSize = 1 << 20

// Config is the configuration of ukdump, with defaults for keys that no file sets.
type Config struct {
	Kernel        string          // KERNEL: absolute path or release of the capture kernel; "" is the running kernel
	Initramfs     string          // INITRAMFS: absolute path of the distribution's own initramfs for emergency mode; "" is searched for
	BootOptions   string          // BOOT_OPTIONS: appended to the capture kernel's command line
	Targets       []target.Target // TARGET: the first that works gets the dump
	RawOverwrite  bool            // RAW_OVERWRITE: a raw device may hold something else than swap
	Evidence      []string        // EVIDENCE: clean absolute directories and Pstore, for log and report where no target could take them
	DumpLevel     int             // DUMP_LEVEL: 0 to 31, as makedumpfile(8) -d
	Compress      string          // COMPRESS: of the vmcore: auto, zstd, lzo, snappy, zlib or none
	Keep          int             // KEEP: dumps in each directory; 0 is no limit
	MaxUse        int64           // MAX_USE: bytes of all dumps in a directory; 0 is no limit
	KeepFree      int64           // KEEP_FREE: bytes that dumps leave free on the file system; 0 is no limit
	FinalAction   plan.Action     // FINAL_ACTION: reboot, poweroff or halt
	FailureAction plan.Action     // FAILURE_ACTION: the same or shell
	Timeout       time.Duration   // TIMEOUT: from the boot of the capture kernel to the final action; 0 is derived from the size of the RAM
	Modules       []string        // MODULES: names of modules to load in addition to those that are needed

	Motd bool // MOTD: announce new dumps at login

	mode  mode // MODE; "" leaves it to INITRAMFS, see Emergency
	where map[string]string
	set   map[string]bool // keys with a value that is not the default's
}

// Default returns the configuration of an empty file.
func Default() *Config {
	c := &Config{where: make(map[string]string), set: make(map[string]bool)}
	for _, k := range keys {
		if k.def != "" {
			if err := k.set(c, k.def); err != nil {
				panic("default of " + k.name + ": " + err.Error()) // covered by tests
			}
		}
	}
	return c
}

// Where returns the file:line that set key, or "default".
func (c *Config) Where(key string) string {
	if w := c.where[key]; w != "" {
		return w
	}
	return "default"
}

// IsSet reports whether a file gave key a value of its own; an empty one stands
// for the default.
func (c *Config) IsSet(key string) bool { return c.set[key] }

// DefaultDir is where dumps go if no directory is configured.
const DefaultDir = "/var/crash"

// DumpDirs returns the directories below root in which there can be dumps: the
// configured targets, those for evidence, and DefaultDir for raw dumps if no
// target is a directory.
func (c *Config) DumpDirs(root string) []string {
	names := c.Directories()
	if len(names) == 0 {
		names = append(names, DefaultDir)
	}
	for _, e := range c.Evidence {
		if e != Pstore && !slices.Contains(names, e) {
			names = append(names, e)
		}
	}
	var dirs []string
	for _, n := range names {
		dirs = append(dirs, filepath.Join(root, n))
	}
	return dirs
}

// Error is a mistake in a configuration file.
type Error struct {
	File string
	Line int
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// Advice returns the remedy in one line.
func (e *Error) Advice() string { return "See ukdump.conf(5) for the keys and their values." }

// Load reads File and the files of DropIn below root, of which later ones win, key by
// key; an empty value sets the default. Missing files count as empty. A mistake in a
// file is an *Error with its line. A file that cannot be read, is not a regular file
// or is larger than 1 MiB is an error, too.
func Load(root string) (*Config, error) {
	c := Default()
	if err := c.readFile(filepath.Join(root, File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dir := filepath.Join(root, DropIn)
	list, err := os.ReadDir(dir) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), ".conf") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := c.readFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return c.checked()
}

// LoadFile reads only the file of this name, which must exist. Errors are as for Load.
func LoadFile(name string) (*Config, error) {
	c := Default()
	if err := c.readFile(name); err != nil {
		return nil, err
	}
	return c.checked()
}

func (c *Config) readFile(name string) error {
	text, err := crashdir.ReadFile(name, maxFileSize)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return c.apply(name, string(text))
}

// apply sets the keys that the text of a file assigns.
func (c *Config) apply(name, text string) error {
	list, err := parse(text)
	if err != nil {
		err.File = name
		return err
	}
	for _, a := range list {
		k := findKey(a.key)
		if k == nil {
			return &Error{name, a.line, unknownKey(a.key)}
		}
		value := a.value
		if value == "" {
			value = k.def
		}
		if err := k.set(c, value); err != nil {
			return &Error{name, a.line, fmt.Sprintf("%s=%s: %v", a.key, brief(a.value), err)}
		}
		c.set[a.key] = a.value != ""
		c.where[a.key] = fmt.Sprintf("%s:%d", name, a.line)
	}
	return nil
}

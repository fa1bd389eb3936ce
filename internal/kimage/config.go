package kimage

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ukdump/internal/crashdir"
)

// maxConfig bounds a kernel configuration, in bytes; distributions' are below
// 300 KiB.
const maxConfig = 8 << 20

// Config is the configuration that a kernel was built with. A nil Config stands for an
// unknown configuration; its methods work.
type Config struct {
	Source string // where the configuration was found: a path, "PATH (IKCONFIG)"

	set map[string]string
}

// Known reports whether the configuration is known.
func (c *Config) Known() bool { return c != nil }

// Get returns the value of an option by its full name, CONFIG_RD_ZSTD: "y",
// "m", a number or a quoted string as in the file; "n" if it is not set; "" only
// if the configuration is not known.
func (c *Config) Get(name string) string {
	if c == nil {
		return ""
	}
	if v, ok := c.set[name]; ok {
		return v
	}
	return "n"
}

// NoConfigError reports that the configuration of a kernel is not known.
type NoConfigError struct {
	Release string
	Looked  []string // the files that do not exist
	Err     error    // why a configuration that was found could not be used, or nil
}

func (e *NoConfigError) Error() string {
	s := "configuration of kernel " + e.Release + " is not known: there is no " + strings.Join(e.Looked, ", ") + ", nor one inside the kernel"
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *NoConfigError) Unwrap() error { return e.Err }

// Config finds the kernel's configuration: in the files that distributions
// install below root, that of m, else inside the kernel itself (CONFIG_IKCONFIG).
// The error is a *NoConfigError, and the Config then nil.
func (im *Image) Config(m Machine, root string) (*Config, error) {
	fail := &NoConfigError{Release: im.Release}
	for _, name := range []string{
		"boot/config-" + im.Release,
		"usr/lib/modules/" + im.Release + "/config",
		"lib/modules/" + im.Release + "/config",
		"usr/lib/modules/" + im.Release + "/build/.config",
		"lib/modules/" + im.Release + "/build/.config",
	} {
		path := filepath.Join(root, name)
		c, err := configOn(m, path, "/"+name)
		if err == nil {
			return c, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			fail.Looked = append(fail.Looked, path)
		} else {
			fail.Err = errors.Join(fail.Err, err)
		}
	}
	kernel, err := im.data, error(nil)
	if im.Format == BzImage {
		kernel, err = im.vmlinux()
	}
	if err == nil {
		var c *Config
		if c, err = embeddedConfig(kernel); c != nil {
			c.Source = im.Path + " (IKCONFIG)"
			return c, nil
		}
	}
	fail.Err = errors.Join(fail.Err, err)
	return nil, fail
}

// ReadConfig reads a configuration file, plain or in gzip like /proc/config.gz,
// which is the running kernel's.
func ReadConfig(path string) (*Config, error) { return readConfig(path, path) }

// configOn is ReadConfig for a file of m, which is at path for messages.
func configOn(m Machine, path, name string) (*Config, error) {
	file, err := m.File(name)
	if err != nil {
		return nil, err
	}
	return readConfig(path, file)
}

// readConfig reads file and calls it path.
func readConfig(path, file string) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration: %w", err)
	}
	defer f.Close()
	data, err := crashdir.ReadAll(f, maxConfig)
	if err == nil && compression(data) == "gzip" {
		data, err = decompress("gzip", data, maxConfig)
	}
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration: %s: %w", path, err)
	}
	c, err := parseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration: %s: %w", path, err)
	}
	c.Source = path
	return c, nil
}

// embeddedConfig finds the configuration that kernel/configs.c puts into an unpacked
// kernel. A kernel without one gives nil and no error.
func embeddedConfig(kernel []byte) (*Config, error) {
	mark := []byte("IKCFG_ST\x1f\x8b")
	i := bytes.Index(kernel, mark)
	if i < 0 {
		return nil, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(kernel[i+len(mark)-2:]))
	if err != nil {
		return nil, fmt.Errorf("IKCONFIG: %w", err)
	}
	z.Multistream(false)
	data, err := crashdir.ReadAll(z, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("IKCONFIG: %w", err)
	}
	return parseConfig(data)
}

// parseConfig reads the format that Documentation/kbuild/kconfig.rst calls
// .config. Options that are "not set" are left out.
func parseConfig(data []byte) (*Config, error) {
	c := &Config{set: map[string]string{}}
	for line := range strings.Lines(string(data)) {
		name, val, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.HasPrefix(name, "CONFIG_") && val != "" {
			c.set[name] = val
		}
	}
	if len(c.set) == 0 {
		return nil, errors.New("not a kernel configuration: no option is set")
	}
	return c, nil
}

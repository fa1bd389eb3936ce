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
	"syscall"

	"ukdump/internal/crashdir"
	"ukdump/internal/kmod"
)

// maxConfig bounds a kernel configuration, in bytes; distributions' are below
// 300 KiB.
const maxConfig = 8 << 20

// Config is the configuration that a kernel was built with. A nil Config stands for an
// unknown configuration; its methods work.
type Config struct {
	Source string // where the configuration was found: a path, "PATH (IKCONFIG)"

	set  map[string]string // "n" if "is not set"
	text []byte
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

// Names reports whether the configuration names an option, set or "not set". It does
// not if the kernel has no such option, or if the option depends on one that is not set.
func (c *Config) Names(name string) bool {
	if c == nil {
		return false
	}
	_, ok := c.set[name]
	return ok
}

// Text returns the configuration as it was found, unpacked; nil if it is not known. The
// caller must not change it.
func (c *Config) Text() []byte {
	if c == nil {
		return nil
	}
	return c.text
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

// Config finds the kernel's configuration: in the files that distributions install
// below root, that of m, inside the kernel itself or in its module configs
// (CONFIG_IKCONFIG), in /proc/config.gz if it is the running kernel, else where it was
// built, which may have been configured again since. The error is a *NoConfigError, and
// the Config then nil.
func (im *Image) Config(m Machine, root string) (*Config, error) {
	fail := &NoConfigError{Release: im.Release}
	return fail.search(
		im.installed(m, root, fail),
		im.embedded,
		im.configsModule(m, root),
		im.ofRunning(m, root),
		fail.first(m, root, "usr/lib/modules/"+im.Release+"/build/.config", "lib/modules/"+im.Release+"/build/.config"),
	)
}

// InstalledConfig is Config for a kernel of that release whose image nobody has read: it
// does not look inside the image, nor where the kernel was built.
func InstalledConfig(m Machine, root, release string) (*Config, error) {
	fail := &NoConfigError{Release: release}
	if releaseOf([]byte(release)) != release || release == "" { // it becomes a part of paths
		return nil, fail
	}
	im := &Image{Release: release}
	return fail.search(im.installed(m, root, fail), im.configsModule(m, root), im.ofRunning(m, root))
}

// search returns the first configuration that a source has, else e with the errors.
func (e *NoConfigError) search(sources ...func() (*Config, error)) (*Config, error) {
	for _, source := range sources {
		c, err := source()
		if c != nil {
			return c, nil
		}
		e.Err = errors.Join(e.Err, err)
	}
	return nil, e
}

// installed reads the file that a distribution has installed.
func (im *Image) installed(m Machine, root string, fail *NoConfigError) func() (*Config, error) {
	names := []string{"boot/config-" + im.Release}
	if dir, ok := strings.CutPrefix(filepath.Dir(im.Path), filepath.Clean(root)); ok {
		if dir = strings.Trim(dir, "/"); dir != "boot" {
			names = append(names, filepath.Join(dir, "config-"+im.Release)) // Clear Linux
		}
	}
	return fail.first(m, root, append(names, "usr/lib/modules/"+im.Release+"/config", "lib/modules/"+im.Release+"/config")...)
}

// first returns a reader of the first configuration that can be used.
func (e *NoConfigError) first(m Machine, root string, names ...string) func() (*Config, error) {
	return func() (*Config, error) {
		var unusable error
		for _, name := range names {
			path := filepath.Join(root, name)
			c, err := configOn(m, path, "/"+name)
			switch {
			case err == nil:
				return c, nil
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
				e.Looked = append(e.Looked, path)
			default:
				unusable = errors.Join(unusable, err)
			}
		}
		return nil, unusable
	}
}

// embedded reads the configuration inside the kernel (CONFIG_IKCONFIG=y).
func (im *Image) embedded() (*Config, error) {
	kernel, err := im.data, error(nil)
	if im.Format == BzImage {
		kernel, err = im.vmlinux()
	}
	if err != nil {
		return nil, err
	}
	c, err := embeddedConfig(kernel)
	if c != nil {
		c.Source = im.Path + " (IKCONFIG)"
	}
	return c, err
}

// configsModule reads the configuration in the module configs (CONFIG_IKCONFIG=m,
// kernel/configs.c) of the kernel's own trees.
func (im *Image) configsModule(m Machine, root string) func() (*Config, error) {
	return func() (*Config, error) {
		var unusable error
		for _, dir := range kmod.Dirs {
			for _, name := range m.Glob(dir + "/" + im.Release + "/kernel/kernel/configs.ko*") {
				c, err := configIn(m, filepath.Join(root, name), name)
				if c != nil {
					return c, nil
				}
				unusable = errors.Join(unusable, err)
			}
		}
		return nil, unusable
	}
}

// configIn reads the configuration inside a module of m, which is at path for messages.
// A module without one gives nil and no error.
func configIn(m Machine, path, name string) (*Config, error) {
	file, err := m.File(name)
	if err != nil {
		return nil, err
	}
	data, err := readConfigFile(file)
	var c *Config
	if err == nil {
		c, err = embeddedConfig(data)
	}
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration: %s: %w", path, crashdir.WithoutPath(err))
	}
	if c != nil {
		c.Source = path + " (IKCONFIG)"
	}
	return c, nil
}

// ofRunning reads /proc/config.gz, which is that of the running kernel.
func (im *Image) ofRunning(m Machine, root string) func() (*Config, error) {
	return func() (*Config, error) {
		if running, err := m.Kernel(); err != nil || running != im.Release {
			return nil, nil
		}
		c, err := configOn(m, filepath.Join(root, "proc/config.gz"), "/proc/config.gz")
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return c, err
	}
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
	data, err := readConfigFile(file)
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration: %s: %w", path, crashdir.WithoutPath(err))
	}
	c, err := parseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration: %s: %w", path, err)
	}
	c.Source = path
	return c, nil
}

// readConfigFile reads a regular file and unpacks it.
func readConfigFile(file string) ([]byte, error) {
	// Not a FIFO to wait for.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err := crashdir.ReadAll(f, maxConfig)
	if method := compression(data); err == nil && method != "" {
		data, err = decompress(method, data, maxConfig)
	}
	return data, err
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
// .config.
func parseConfig(data []byte) (*Config, error) {
	c := &Config{set: map[string]string{}, text: data}
	some := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutSuffix(line, " is not set"); ok {
			if name, ok := strings.CutPrefix(name, "# "); ok && strings.HasPrefix(name, "CONFIG_") {
				c.set[name] = "n"
			}
			continue
		}
		name, val, ok := strings.Cut(line, "=")
		if ok && strings.HasPrefix(name, "CONFIG_") && val != "" {
			c.set[name], some = val, true
		}
	}
	if !some {
		return nil, errors.New("not a kernel configuration: no option is set")
	}
	return c, nil
}

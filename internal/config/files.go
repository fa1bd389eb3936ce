package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
)

// vendorDirs are the directories of configuration below the root, the first to win
// where two have a file of the same name: systemd.unit(5) and
// uapi-group.org/specifications/specs/configuration_files_specification.
var vendorDirs = []string{"etc", "run", "usr/local/lib", "usr/lib"}

// Load reads ukdump.conf and the drop-ins below root. The first of /etc, /run,
// /usr/local/lib and /usr/lib that has a file of a name decides for that name; an empty
// file or a link to /dev/null there masks the others. The drop-ins come after
// ukdump.conf, by their names; later files win, key by key, and an empty value sets the
// default. Missing files count as empty.
//
// All mistakes in all files are in the error, each an *Error. A file that cannot be
// read, is not a regular file or is larger than 1 MiB is an error, too, and so is a link
// that leads nowhere.
func Load(root string) (*Config, error) {
	h, err := host.Open(root)
	if err != nil {
		return nil, err
	}
	l := loader{host: h, root: root}
	names := []string{l.main()}
	names = append(names, l.dropIns()...)
	c := Default()
	for _, name := range names {
		if name != "" {
			l.add(c.readFile(filepath.Join(root, name), func() (string, error) { return l.resolve(name) }))
		}
	}
	if len(l.errs) == 0 {
		l.add(c.checkMode())
	}
	if err := joined(l.errs); err != nil {
		return nil, err
	}
	return c, nil
}

// LoadFile reads only the file of this name, which must exist. Errors are as for Load.
func LoadFile(name string) (*Config, error) {
	c := Default()
	err := c.readFile(name, func() (string, error) { return name, nil })
	if err == nil {
		err = c.checkMode()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// loader finds the files of a machine and collects the errors.
type loader struct {
	host *host.Host
	root string
	errs []error
}

func (l *loader) add(err error) {
	if err != nil {
		l.errs = append(l.errs, err)
	}
}

// main returns the name of ukdump.conf below the root, "" if there is none.
func (l *loader) main() string {
	for _, dir := range vendorDirs {
		name := path.Join(dir, path.Base(File))
		file, err := l.host.File(path.Join("/", dir))
		if err != nil {
			l.add(fmt.Errorf("read configuration: %w", err))
			continue
		}
		if _, err := os.Lstat(filepath.Join(file, path.Base(File))); err == nil || !missing(err) {
			return name
		}
	}
	return ""
}

// dropIns returns the names of the drop-ins below the root, in the order of reading.
func (l *loader) dropIns() []string {
	names := make(map[string]string)
	for _, vendor := range vendorDirs {
		dir := path.Join(vendor, path.Base(DropIn))
		file, err := l.resolve(dir)
		var list []os.DirEntry
		if err == nil {
			list, err = os.ReadDir(file)
		}
		if err != nil && !missing(err) {
			l.add(readError(filepath.Join(l.root, dir), err))
		}
		for _, e := range list {
			n := e.Name()
			if strings.HasSuffix(n, ".conf") && !strings.HasPrefix(n, ".") && names[n] == "" {
				names[n] = path.Join(dir, n)
			}
		}
	}
	var sorted []string
	for n := range names {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	for i, n := range sorted {
		sorted[i] = names[n]
	}
	return sorted
}

// errNowhere is the error of a link whose target does not exist.
type errNowhere struct{ target string }

func (e errNowhere) Error() string { return "a link to " + brief(e.target) + ", which does not exist" }

// resolve returns the path by which this process reaches a name below the root. A link
// is followed inside the root; the error is an errNowhere if it leads nowhere, and "" is
// returned for one that leads to /dev/null.
func (l *loader) resolve(name string) (string, error) {
	file, err := l.host.File(path.Join("/", name))
	if err != nil {
		return "", crashdir.WithoutPath(err)
	}
	if l.host.Inside(file) == os.DevNull {
		return "", nil
	}
	if _, err := os.Stat(file); !missing(err) {
		return file, nil
	}
	parent, err := l.host.File(path.Join("/", path.Dir(name)))
	if err != nil {
		return "", crashdir.WithoutPath(err)
	}
	if target, err := os.Readlink(filepath.Join(parent, path.Base(name))); err == nil {
		return "", errNowhere{target}
	}
	return file, nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// readError returns the error about a file that is no configuration. That of one which
// the caller may not read has its own advice.
func readError(name string, err error) error {
	err = fmt.Errorf("read configuration: %s: %w", name, crashdir.WithoutPath(err))
	if errors.Is(err, fs.ErrPermission) || missing(err) {
		return err
	}
	return advice.With(err, "Correct or remove it; a link to /dev/null stands for an empty file.")
}

// readFile applies a file, which is called name and reached by the path that resolve
// returns.
func (c *Config) readFile(name string, resolve func() (string, error)) error {
	file, err := resolve()
	if err != nil {
		return readError(name, err)
	}
	if file == "" || file == os.DevNull {
		return nil // masked
	}
	text, err := crashdir.ReadFile(file, maxFileSize)
	if err != nil {
		return readError(name, err)
	}
	return c.apply(name, string(text))
}

// Files returns the paths of the files that set keys, sorted.
func (c *Config) Files() (names []string) {
	for _, where := range c.where {
		if i := strings.LastIndexByte(where, ':'); i > 0 && !slices.Contains(names, where[:i]) {
			names = append(names, where[:i])
		}
	}
	slices.Sort(names)
	return names
}

package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/bootloader"
	"ukdump/internal/crashdir"
)

// maxFile bounds a file that is kept to be restored, in bytes. A unified kernel image is
// not kept: the command that made it makes it again.
const maxFile = 16 << 20

// read returns the content of a file of the machine, nil if it is not there.
func (m *Machine) read(name string) ([]byte, error) {
	b, err := crashdir.ReadFile(m.path(name), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, crashdir.WithoutPath(err))
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

func (m *Machine) exists(name string) bool {
	_, err := os.Stat(m.path(name))
	return err == nil
}

// writable returns the error that a write to the file would have, as far as that can be
// known before.
func (m *Machine) writable(name string) error {
	dir := filepath.Dir(m.path(name))
	for {
		err := unix.Access(dir, unix.W_OK)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir):
			dir = filepath.Dir(dir)
		case errors.Is(err, unix.EROFS):
			return advice.With(fmt.Errorf("write %s: its file system is read-only", name), "Mount it for writing.")
		default:
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
}

// write replaces a file in one step, or removes it if data is nil. A link stays a link: the
// file behind it is replaced. Owner and mode stay.
func (m *Machine) write(name string, data []byte, mode fs.FileMode) error {
	path := m.path(name)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := filepath.Dir(path)
	if data == nil {
		if err := os.Remove(path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		return crashdir.SyncDir(dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	if err := fill(f, path, data, mode); err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		os.Remove(f.Name())
		return err
	}
	return crashdir.SyncDir(dir)
}

// missingDirs returns the directories that a write of the file makes, parents first.
func (m *Machine) missingDirs(name string) (dirs []string) {
	for dir := filepath.Dir(name); dir != "/" && dir != "." && !m.exists(dir); dir = filepath.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
	}
	return dirs
}

// removeDirs removes those of the directories that are empty, and returns the others.
func (m *Machine) removeDirs(dirs []string) (left []string) {
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(m.path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append([]string{dir}, left...)
		}
	}
	return left
}

// fill writes the new content of path, whose owner and mode it gets, into f and closes it.
func fill(f *os.File, path string, data []byte, mode fs.FileMode) error {
	var st unix.Stat_t
	switch err := unix.Stat(path, &st); {
	case err == nil:
		mode = fs.FileMode(st.Mode).Perm()
		// vfat has no owners to change.
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EPERM) {
			return err
		}
	case mode == 0:
		mode = 0o644
	}
	if err := f.Chmod(mode); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// unchanged returns an error if somebody has changed a file since the plan was made.
func (m *Machine) unchanged(files []bootloader.File) error {
	for _, f := range files {
		now, err := m.read(f.Path)
		if err != nil {
			return err
		}
		if !same(now, f.Old) {
			return advice.With(fmt.Errorf("%s was changed meanwhile", f.Path), "Run kdumpctl setup again.")
		}
	}
	return nil
}

// same compares two contents; nil is a file that is not there.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && string(a) == string(b) }

package crashdir

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// This file is for the healthy system, where users are at work. PID 1 links none of it.

// Contents is the content of a directory of dumps.
type Contents struct {
	Dumps []Dump // as List returns them
	// LeftOut has the reason of each of the first directories that have the name of a
	// dump and are not counted as dumps: another user made them, or nobody knows who
	// did. NLeftOut is the number of all of them.
	LeftOut  []error
	NLeftOut int
}

// maxLeftOut bounds the reasons that are kept: users may make any number of directories.
const maxLeftOut = 5

// Scan is List, and reports the directories that it leaves out.
func Scan(parent string) (c Contents, err error) {
	c.Dumps, err = list(parent, func(err error) {
		if c.NLeftOut++; c.NLeftOut <= maxLeftOut {
			c.LeftOut = append(c.LeftOut, err)
		}
	}, math.MaxInt, nil)
	return c, err
}

// OpenFolder opens the directory of d for reading and writing. It fails if another
// directory took its place, or if it belongs neither to root, nor to the caller, nor to
// the owner of its parent.
func OpenFolder(d Dump) (*Folder, error) {
	parent, err := openParent(filepath.Dir(d.Path))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	return parent.enterSame(&d, false)
}

// Open opens a regular file of the dump for reading, whoever made it.
func (d *Dump) Open(name string) (*os.File, error) {
	parent, err := openParent(filepath.Dir(d.Path))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	dir, err := parent.enterSame(d, true)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Open(name)
}

// Sealed reports whether the vmcore is encrypted.
func (d *Dump) Sealed() bool {
	name := strings.TrimSuffix(filepath.Base(d.Vmcore), Suffix)
	return strings.HasSuffix(name, Sealed)
}

// Read reads the dump in the directory.
func (d *Folder) Read() (Dump, error) {
	var dump Dump
	fd, err := unix.Openat(d.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return dump, pathError("open", d.Path, err)
	}
	again := &Folder{Path: d.Path, f: os.NewFile(uintptr(fd), d.Path), id: d.id}
	err = again.dump(&dump, nil)
	return dump, err
}

// Stat returns the attributes of a file, see stat(2). It follows no link.
func (d *Folder) Stat(name string) (st unix.Stat_t, err error) {
	if err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return st, pathError("stat", d.path(name), err)
	}
	return st, nil
}

// Create opens a new or truncated file for reading and writing, mode 0600.
func (d *Folder) Create(name string) (*os.File, error) {
	return d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC)
}

// Remove removes a file.
func (d *Folder) Remove(name string) error {
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil {
		return pathError("remove", d.path(name), err)
	}
	return nil
}

// WriteFile is the function WriteFile for this directory.
func (d *Folder) WriteFile(name string, write func(io.Writer) error) error {
	f, err := d.Create(name + Suffix)
	if err != nil {
		return err
	}
	if err := writeTo(f, write); err != nil {
		return err
	}
	return d.Commit(name)
}

// Commit is the function Commit for this directory.
func (d *Folder) Commit(name string) error {
	if err := unix.Renameat(d.fd(), name+Suffix, d.fd(), name); err != nil {
		return pathError("rename", d.path(name+Suffix), err)
	}
	return d.f.Sync()
}

// RemoveUnused removes the directory of d if nothing is in it but the beginning of a
// report.
func RemoveUnused(d Dump) error {
	parent, err := openParent(filepath.Dir(d.Path))
	if err != nil {
		return err
	}
	defer parent.Close()
	dir, err := parent.enterSame(&d, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	_, err = dir.each(0, func(name string) error {
		if name != ReportFile+Suffix {
			return pathError("remove", d.Path, unix.ENOTEMPTY)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := dir.unlink(ReportFile + Suffix); err != nil {
		return err
	}
	return parent.rmdir(filepath.Base(d.Path))
}

var (
	errMounted   = errors.New("a file system is mounted there")
	errImmutable = errors.New("chattr(1) made it immutable or append-only")
)

// Removable returns an error if the kernel is known to refuse the removal of a part of
// the dump. After Remove has begun, that would be too late for the vmcore.
func Removable(d Dump) error {
	parent, err := openParent(filepath.Dir(d.Path))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := parent.removable(filepath.Base(d.Path)); err != nil {
		return err
	}
	dir, err := parent.enterSame(&d, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.allRemovable(0)
}

func (d *Folder) allRemovable(depth int) error {
	_, err := d.each(depth, func(name string) error {
		if err := d.removable(name); err != nil {
			return err
		}
		sub, err := d.sub(name)
		if sub == nil {
			return err
		}
		defer sub.Close()
		return sub.allRemovable(depth + 1)
	})
	return err
}

// removable looks at the attributes of one entry, see statx(2). Before Linux 5.8 the
// kernel does not tell of mount points, and before 4.11 of nothing.
func (d *Folder) removable(name string) error {
	var st unix.Statx_t
	if err := unix.Statx(d.fd(), name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st); err != nil {
		return nil // Remove finds out
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return pathError("remove", d.path(name), errMounted)
	}
	if st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0 {
		return pathError("remove", d.path(name), errImmutable)
	}
	return nil
}

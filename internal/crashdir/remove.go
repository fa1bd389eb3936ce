package crashdir

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxDepth is the depth of directories in a dump that are looked at.
const maxDepth = 50

var errDepth = errors.New("too many directories in each other")

// hook is called before each step of a removal. Tests end it there or change files.
var hook = func() error { return nil }

// Remove removes the directory of d with everything in it. It works below the
// directory that was read, follows no symbolic link and enters no mount point. The
// vmcore is removed first: after a power failure the rest does not look complete.
func Remove(d Dump) error {
	if err := hook(); err != nil {
		return err
	}
	parent, err := openParent(filepath.Dir(d.Path))
	if err != nil {
		return err
	}
	defer parent.Close()
	parent.more = d.more
	dir, err := parent.enterSame(&d, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, step := range []func() error{
		func() error { return dir.unlink(Vmcore) },
		func() error { return dir.unlink(Vmcore + Sealed) },
		dir.f.Sync,
		func() error { return dir.empty(0) },
		func() error { return parent.rmdir(filepath.Base(d.Path)) },
	} {
		if err := hook(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return parent.f.Sync()
}

// unlink removes a file. It leaves a directory.
func (d *Folder) unlink(name string) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	if err == nil || err == unix.ENOENT || err == unix.EISDIR {
		return nil
	}
	return pathError("remove", d.path(name), err)
}

func (d *Folder) rmdir(name string) error {
	if err := unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR); err != nil {
		return pathError("remove", d.path(name), err)
	}
	return nil
}

// empty removes everything in the directory.
func (d *Folder) empty(depth int) error {
	for {
		seen, err := d.each(depth, func(name string) error {
			if err := d.unlink(name); err != nil {
				return err
			}
			sub, err := d.sub(name)
			if sub == nil {
				return err
			}
			defer sub.Close()
			if err := sub.empty(depth + 1); err != nil {
				return err
			}
			return d.rmdir(name)
		})
		// Entries that go may hide others from the same pass, readdir(3).
		if err != nil || seen == 0 {
			return err
		}
	}
}

// each calls f for the entries of the directory and returns their number.
func (d *Folder) each(depth int, f func(name string) error) (seen int, err error) {
	if depth > maxDepth {
		return 0, pathError("open", d.Path, errDepth)
	}
	if _, err := d.f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	for {
		names, err := d.f.Readdirnames(batch)
		for _, name := range names {
			if d.more != nil && !d.more() {
				return seen, pathError("read", d.Path, errStopped)
			}
			if err := f(name); err != nil {
				return seen, err
			}
			seen++
		}
		if err == io.EOF {
			return seen, nil
		}
		if err != nil {
			return seen, err
		}
	}
}

// sub opens a directory below this one, nil if name is none.
func (d *Folder) sub(name string) (*Folder, error) {
	fd, err := openHere(d.fd(), name, unix.O_RDONLY)
	switch err {
	case nil:
		return &Folder{Path: d.path(name), f: os.NewFile(uintptr(fd), name), more: d.more}, nil
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP:
		return nil, nil
	}
	return nil, pathError("open", d.path(name), err)
}

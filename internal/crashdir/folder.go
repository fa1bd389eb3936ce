package crashdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var (
	errMount    = errors.New("a mount point is not a dump made by ukdump")
	errStopped  = errors.New("stopped: it takes too long")
	errLink     = errors.New("a symbolic link, not a file")
	errReplaced = errors.New("another directory has taken this name")
)

// Folder is the open directory of a dump, or of its parent. Its methods work below the
// descriptor, so whoever replaces a name above it changes nothing elsewhere.
type Folder struct {
	Path string // at the time of opening
	f    *os.File
	id   identity
	uid  uint32      // of its owner
	more func() bool // false ends reading and removing; nil is no limit
}

// identity tells a directory from another one that took its name.
type identity struct{ dev, ino uint64 }

// stat fills in whose directory fd is.
func (d *Folder) stat(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return pathError("stat", d.Path, err)
	}
	d.id, d.uid = identity{st.Dev, st.Ino}, st.Uid
	return nil
}

// openParent opens a directory of dumps. Links in its path are the administrator's.
func openParent(path string) (*Folder, error) {
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	d := &Folder{Path: path, f: f}
	if err := d.stat(d.fd()); err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

// enter opens the directory of a dump at path, which is in d. Unless anyone is true,
// that must belong to root, the caller or the owner of d. It follows no link and enters
// no other file system, whose owner may report any owner of its files and may never
// answer. If the directory is a dump, but cannot be read, enter returns both a Folder
// without a file and the error.
func (d *Folder) enter(path string, anyone bool) (*Folder, error) {
	fd, err := openHere(d.fd(), filepath.Base(path), unix.O_PATH)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	in := &Folder{Path: path, more: d.more}
	if err := in.check(fd, d, anyone); err != nil {
		unix.Close(fd)
		return nil, err
	}
	file, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	unix.Close(fd)
	if err != nil {
		return in, pathError("open", path, err)
	}
	in.f = os.NewFile(uintptr(file), path)
	return in, nil
}

// check fills in whose directory fd is, and refuses that of others in parent.
func (d *Folder) check(fd int, parent *Folder, anyone bool) error {
	if err := d.stat(fd); err != nil {
		return err
	}
	if d.id.dev != parent.id.dev { // openHere is weaker before Linux 5.6
		return pathError("open", d.Path, errMount)
	}
	if anyone {
		return nil
	}
	return checkOwner(d.Path, d.uid, parent.uid)
}

// openHere opens a directory in a directory, but no symbolic link and no mount point.
func openHere(dir int, name string, flags int) (int, error) {
	flags |= unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_NO_XDEV})
	switch err {
	case unix.EXDEV:
		return -1, errMount
	case unix.ENOSYS, unix.EPERM: // an older kernel, or a filter of system calls
		return unix.Openat(dir, name, flags, 0)
	}
	return fd, err
}

// enterSame opens the directory of dump, which must still be the one that was read.
func (d *Folder) enterSame(dump *Dump, anyone bool) (*Folder, error) {
	in, err := d.enter(dump.Path, anyone)
	if err != nil {
		return nil, err
	}
	if in.id != dump.id {
		in.Close()
		return nil, pathError("open", dump.Path, errReplaced)
	}
	return in, nil
}

func (d *Folder) fd() int { return int(d.f.Fd()) }

// Close closes the directory.
func (d *Folder) Close() error { return d.f.Close() }

// path returns the path of a file, for messages.
func (d *Folder) path(name string) string { return d.Path + "/" + name }

// open opens a file with the flags of open(2), new files with mode 0600. It follows no
// link.
func (d *Folder) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(d.fd(), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, pathError("open", d.path(name), err)
	}
	return os.NewFile(uintptr(fd), d.path(name)), nil
}

// Open opens a regular file for reading.
func (d *Folder) Open(name string) (*os.File, error) {
	// Without O_NONBLOCK opening a FIFO would wait for its writer.
	f, err := d.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, unix.ELOOP) { // O_NOFOLLOW
		return nil, pathError("open", d.path(name), errLink)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, pathError("open", d.path(name), errNotRegular)
	}
	return f, nil
}

func pathError(op, path string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }

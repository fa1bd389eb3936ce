// Package initramfs makes and reads initramfs images: newc cpio archives that
// the Linux kernel unpacks into its root file system, compressed or not.
//
// The same entries always give the same bytes: they are written sorted, owned by root,
// with zero times and counted inode numbers, in any order of adding.
//
// The format is that of Documentation/driver-api/early-userspace/buffer-format.rst
// and init/initramfs.c in the kernel's source.
package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"sort"
	"strings"
)

const (
	// pathMax is PATH_MAX of include/uapi/linux/limits.h. The kernel silently
	// skips entries whose name with its NUL, or whose link target, is longer.
	pathMax = 4096
	// maxFileSize is the largest file that the eight hexadecimal digits of a
	// newc header can describe, in bytes.
	maxFileSize = math.MaxUint32
	// trailerName ends a cpio archive, so no file can have this name.
	trailerName = "TRAILER!!!"
)

// Entry describes one file, directory, symbolic link or other node of an image.
type Entry struct {
	Path string      // without leading slash; "." for the root directory itself
	Mode fs.FileMode // type and permissions
	Size int64       // bytes of content; 0 for anything but a regular file
	Link string      // target of a symbolic link
}

// Image is an initramfs that is built in memory. The zero value is an empty image,
// ready to use. It must not be used concurrently.
type Image struct {
	// Window is the size in bytes of the sliding window (zstd) or dictionary
	// (xz) that Write compresses with. The kernel allocates as much while it
	// unpacks, on top of the packed and the unpacked image, so a small one
	// lowers the memory that a small machine needs to start. It is a power of
	// two from 1 KiB to 128 MiB (the kernel's limit for zstd, but at least
	// 4 KiB for xz); 0 means DefaultWindow. Gzip always has 32 KiB.
	Window int

	nodes map[string]*node
}

type node struct {
	mode     fs.FileMode
	data     []byte // content, or target of a symbolic link
	implicit bool   // directory that was made as the parent of an entry
}

// AddFile adds a regular file with the given content, which must not be changed
// afterwards, and permissions. Missing parent directories are added with mode 0755. A
// leading slash of name is ignored. Errors: name leaves the image; name was added
// before with other content, type or permissions; a parent is not a directory; name or
// data are too long for the format.
func (im *Image) AddFile(name string, data []byte, perm fs.FileMode) error {
	if err := im.add(name, &node{mode: perm, data: data}); err != nil {
		return fmt.Errorf("add file %s: %w", name, err)
	}
	return nil
}

// AddFileFrom adds the regular file hostPath, symbolic links followed, under name. The
// file is read at once, so later changes have no effect. Its own permissions are not
// used. The errors are those of AddFile and of reading.
func (im *Image) AddFileFrom(name, hostPath string, perm fs.FileMode) error {
	data, err := readRegular(hostPath)
	if err != nil {
		return fmt.Errorf("add file %s: %w", name, err)
	}
	return im.AddFile(name, data, perm)
}

// AddDir adds a directory. It may have been added before with the same permissions, or
// as a parent. The other errors are those of AddFile.
func (im *Image) AddDir(name string, perm fs.FileMode) error {
	if err := im.add(name, &node{mode: perm | fs.ModeDir}); err != nil {
		return fmt.Errorf("add directory %s: %w", name, err)
	}
	return nil
}

// AddSymlink adds a symbolic link. The target is stored unchanged and need not exist.
// The errors are those of AddFile; an empty or too long target is one, too.
func (im *Image) AddSymlink(name, target string) error {
	err := checkTarget(target)
	if err == nil {
		err = im.add(name, &node{mode: fs.ModeSymlink | 0o777, data: []byte(target)})
	}
	if err != nil {
		return fmt.Errorf("add symbolic link %s: %w", name, err)
	}
	return nil
}

// Entries returns the entries of the image in the order in which they are written.
func (im *Image) Entries() []Entry {
	list := make([]Entry, 0, len(im.nodes))
	for _, name := range im.sorted() {
		n := im.nodes[name]
		e := Entry{Path: name, Mode: n.mode}
		switch n.mode.Type() {
		case 0:
			e.Size = int64(len(n.data))
		case fs.ModeSymlink:
			e.Link = string(n.data)
		}
		list = append(list, e)
	}
	return list
}

func (im *Image) add(name string, n *node) error {
	if extra := n.mode &^ (fs.ModePerm | fs.ModeDir | fs.ModeSymlink); extra != 0 {
		return fmt.Errorf("mode %v has more than permission bits", n.mode)
	}
	if int64(len(n.data)) > maxFileSize {
		return fmt.Errorf("%d bytes, the newc format takes %d", len(n.data), int64(maxFileSize))
	}
	name, err := cleanName(name)
	if err != nil {
		return err
	}
	if im.nodes == nil {
		im.nodes = make(map[string]*node)
	}
	if old := im.nodes[name]; old != nil {
		return im.merge(old, n)
	}
	// Look first, so that a failure adds nothing.
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if p := im.nodes[dir]; p != nil && !p.mode.IsDir() {
			return fmt.Errorf("%s is already in the image and is not a directory", dir)
		}
	}
	for dir := path.Dir(name); dir != "." && im.nodes[dir] == nil; dir = path.Dir(dir) {
		im.nodes[dir] = &node{mode: fs.ModeDir | 0o755, implicit: true}
	}
	im.nodes[name] = n
	return nil
}

// merge accepts a second addition of a path: the same entry, or a directory that so
// far was only implied.
func (im *Image) merge(old, n *node) error {
	switch {
	case old.mode.Type() != n.mode.Type():
		return errors.New("already in the image with another type")
	case old.implicit:
		*old = *n
	case old.mode != n.mode:
		return fmt.Errorf("already in the image with mode %v", old.mode)
	case !bytes.Equal(old.data, n.data):
		return errors.New("already in the image with other content")
	}
	return nil
}

// sorted returns all paths, parents before their children: a directory's path is a
// prefix of the paths below it and so sorts first.
func (im *Image) sorted() []string {
	names := make([]string, 0, len(im.nodes))
	for name := range im.nodes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func cleanName(name string) (string, error) {
	for _, elem := range strings.Split(name, "/") {
		if elem == ".." {
			return "", errors.New(`the path contains ".."`)
		}
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case clean == ".":
		return "", errors.New("the path is empty")
	case strings.ContainsRune(clean, 0):
		return "", errors.New("the path contains a NUL byte")
	case clean == trailerName:
		return "", errors.New("the name is reserved for the end of the archive")
	case len(clean) >= pathMax:
		return "", fmt.Errorf("the path has %d bytes, the kernel takes %d", len(clean), pathMax-1)
	}
	return clean, nil
}

func checkTarget(target string) error {
	switch {
	case target == "":
		return errors.New("the target is empty")
	case strings.ContainsRune(target, 0):
		return errors.New("the target contains a NUL byte")
	case len(target) >= pathMax:
		return fmt.Errorf("the target has %d bytes, the kernel takes %d", len(target), pathMax-1)
	}
	return nil
}

func readRegular(name string) ([]byte, error) {
	f, info, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > maxFileSize {
		return nil, fmt.Errorf("%s has %d bytes, the newc format takes %d", name, info.Size(), int64(maxFileSize))
	}
	buf := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	if _, err := buf.ReadFrom(io.LimitReader(f, maxFileSize+1)); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

package initramfs

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// headerSize is the length in bytes of a newc header without the file name.
const headerSize = 110

// header reads one newc header with its name and, for a symbolic link, its
// target. It reports whether this was the trailer.
func (r *Reader) header() (e Entry, last bool, err error) {
	start := r.offset()
	bad := func(format string, a ...any) (Entry, bool, error) {
		return Entry{}, false, &CorruptError{start, r.compression, fmt.Errorf(format, a...)}
	}
	var buf [headerSize]byte
	if err := r.full(buf[:]); err != nil {
		return Entry{}, false, err
	}
	if !isNewc(buf[:]) {
		return bad("no cpio header where one should begin")
	}
	// The fields of Documentation/driver-api/early-userspace/buffer-format.rst
	// after the magic: ino mode uid gid nlink mtime filesize maj min rmaj rmin
	// namesize chksum.
	var f [13]uint32
	for i := range f {
		var b [4]byte
		if _, err := hex.Decode(b[:], buf[6+8*i:14+8*i]); err != nil {
			return bad("header field %d is not a hexadecimal number", i+1)
		}
		f[i] = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	mode, size, nameSize := f[1], int64(f[6]), int64(f[11])
	if nameSize < 2 || nameSize > pathMax {
		return bad("file name of %d bytes, not 1 to %d", nameSize-1, pathMax-1)
	}
	name := make([]byte, nameSize)
	if err := r.full(name); err != nil {
		return Entry{}, false, err
	}
	if i := strings.IndexByte(string(name), 0); i != len(name)-1 {
		return bad("file name is not terminated by its only NUL byte")
	}
	if err := r.skip(padding(headerSize + nameSize)); err != nil {
		return Entry{}, false, err
	}
	if string(name[:nameSize-1]) == trailerName {
		return Entry{}, true, r.skip(size + padding(size))
	}
	e = Entry{Path: cleanPath(string(name[:nameSize-1])), Mode: fileMode(mode)}
	if e.Mode.Type() == fs.ModeSymlink {
		if size == 0 || size >= pathMax {
			return bad("link target of %d bytes, not 1 to %d", size, pathMax-1)
		}
		target := make([]byte, size)
		if err := r.full(target); err != nil {
			return Entry{}, false, err
		}
		e.Link = strings.TrimRight(string(target), "\x00")
		return e, false, r.skip(padding(size))
	}
	if e.Mode.IsRegular() {
		e.Size = size
		r.body = size
		r.pad = padding(size)
		return e, false, nil
	}
	return e, false, r.skip(size + padding(size))
}

// isNewc knows the magic of newc archives, without and with checksums.
func isNewc(b []byte) bool {
	return len(b) >= 6 && (string(b[:6]) == "070701" || string(b[:6]) == "070702")
}

func padding(n int64) int64 { return -n & 3 }

func cleanPath(name string) string {
	if p := path.Clean("/" + name)[1:]; p != "" {
		return p
	}
	return "."
}

// fileMode converts st_mode of inode(7).
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & 0o170000 {
	case 0o040000:
		m |= fs.ModeDir
	case 0o120000:
		m |= fs.ModeSymlink
	case 0o020000:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case 0o060000:
		m |= fs.ModeDevice
	case 0o010000:
		m |= fs.ModeNamedPipe
	case 0o140000:
		m |= fs.ModeSocket
	case 0o100000:
	default:
		m |= fs.ModeIrregular
	}
	if mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

package archive

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"ukdump/internal/advice"
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/unseal"
)

// Import takes a file in as a dump of its own.
type Import struct {
	Dir    string      // of the imported dumps
	Copied func(int64) // is called with the bytes that were written; may be nil
	// Cut is set by File if the vmcore is not whole: the reason.
	Cut error
	// Room returns the room in a directory, for tests; nil is crashdir.RoomIn.
	Room func(dir string) (crashdir.Room, error)
}

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd} // RFC 8878

// maxWindow bounds the memory for unpacking. The encoder of Export uses 8 MiB.
const maxWindow = 128 << 20

// maxTail bounds the padding at the end of an archive, in bytes.
const maxTail = 1 << 20

// File takes in the archive or vmcore at path, and returns the path of the new dump. After
// an error nothing of it is left. The end of ctx is an error, too.
func (im *Import) File(ctx context.Context, path string) (dir string, err error) {
	f, fi, err := crashdir.OpenFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var magic [4]byte
	f.ReadAt(magic[:], 0)
	in := &interruptible{ctx, f}
	switch {
	case bytes.Equal(magic[:], zstdMagic):
		dir, err = im.archive(ctx, in)
	case unseal.Is(f):
		dir, err = im.into(ctx, fi.ModTime(), func(dir string) error {
			return im.copyVmcore(dir, crashdir.Vmcore+crashdir.Sealed, in, fi.Size())
		})
	default:
		var h dumpfile.Header
		if h, err = dumpfile.ReadHeader(f); err != nil {
			return "", advice.With(fmt.Errorf("%s: neither an exported archive nor a vmcore: %w", path, err), "kdumpctl import takes kdump-compressed, flattened and ELF dumps, and archives of kdumpctl export.")
		}
		at := fi.ModTime()
		if h.Time > 0 {
			at = time.Unix(h.Time, 0)
		}
		dir, err = im.into(ctx, at, func(dir string) error { return im.copyVmcore(dir, "vmcore", in, fi.Size()) })
	}
	if err != nil {
		return "", fmt.Errorf("import %s: %w", path, err)
	}
	return dir, nil
}

// interruptible is a reader that ends with a context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p)
}

// into makes a new dump with the files that fill writes, and removes it if that fails.
func (im *Import) into(ctx context.Context, at time.Time, fill func(dir string) error) (string, error) {
	dir, err := crashdir.Create(im.Dir, crashdir.Clamp(at))
	if err != nil {
		return "", err
	}
	if err = fill(dir); err == nil {
		err = cmp.Or(context.Cause(ctx), judge(dir))
	}
	if err != nil {
		os.RemoveAll(dir) // ours, and nobody else may write to it
		return "", err
	}
	return dir, crashdir.SyncDir(dir)
}

// archive takes in an archive.
func (im *Import) archive(ctx context.Context, r io.Reader) (string, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return "", err
	}
	defer z.Close()
	t := tar.NewReader(z)
	first, err := t.Next()
	if err == io.EOF {
		return "", errors.New("the archive is empty")
	}
	if errors.Is(err, tar.ErrHeader) {
		return "", advice.With(errors.New("zstd-compressed, but no archive of kdumpctl export"), "If it is a compressed vmcore, unpack it first, as with zstd -d.")
	}
	if err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(first.Name, "/")
	at, _, ok := crashdir.ParseName(name)
	if !ok {
		at = first.ModTime
	}
	return im.into(ctx, at, func(dir string) error {
		if err := im.unpack(dir, t, first); err != nil {
			return err
		}
		// Behind the last block is its checksum.
		if _, err := copyMost(io.Discard, z, maxTail); err != nil {
			return fmt.Errorf("read the end of the archive: %w", err)
		}
		return nil
	})
}

// unpack writes the files of an archive into dir; h is the header of the first. Every entry
// must be a regular file with a name that Export gives, so no link and no path leads
// elsewhere.
func (im *Import) unpack(dir string, t *tar.Reader, h *tar.Header) error {
	seen := map[string]bool{}
	for {
		name, err := member(h.Name)
		switch {
		case h.Typeflag != tar.TypeReg:
			return fmt.Errorf("archive: %q: not a regular file", h.Name)
		case err != nil:
			return fmt.Errorf("archive: %q: %w", h.Name, err)
		case seen[name] || len(seen) >= maxFiles:
			return fmt.Errorf("archive: %q: a second time, or more than %d files", h.Name, maxFiles)
		}
		seen[name] = true
		if vmcoreName.MatchString(name) {
			err = im.copyVmcore(dir, name, t, h.Size)
		} else if h.Size > maxText {
			err = errLong
		} else {
			err = im.copyFile(dir, name, t, h.Size)
		}
		if err != nil {
			return fmt.Errorf("archive: %q: %w", h.Name, err)
		}
		if h, err = t.Next(); err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyVmcore writes a vmcore. It is called complete only after it was verified, so an
// interrupted import does not look whole. Of an encrypted one the length can be verified.
func (im *Import) copyVmcore(dir, name string, r io.Reader, size int64) error {
	var verify func(path string) error
	switch name {
	case crashdir.Vmcore:
		verify = func(path string) error { _, err := dumpfile.VerifyFile(path); return err }
	case crashdir.Vmcore + crashdir.Sealed:
		verify = func(path string) error { _, err := unseal.InspectFile(path); return err }
	default:
		return im.copyFile(dir, name, r, size)
	}
	incomplete := filepath.Join(dir, name+crashdir.Suffix)
	if err := im.copyFile(dir, name+crashdir.Suffix, r, size); err != nil {
		return err
	}
	if im.Cut = verify(incomplete); im.Cut != nil {
		return nil
	}
	return os.Rename(incomplete, filepath.Join(dir, name))
}

// copyFile writes the size bytes of r to a new file, if there is room. Zeros become holes.
func (im *Import) copyFile(dir, name string, r io.Reader, size int64) error {
	roomIn := im.Room
	if roomIn == nil {
		roomIn = crashdir.RoomIn
	}
	room, err := roomIn(dir)
	if err != nil {
		return err
	}
	if size < 0 || size > room.Free-spare || size > room.Largest {
		return advice.With(fmt.Errorf("%d bytes: no room in %s, which has %d bytes free", size, dir, room.Free), "Free some space, or give --dir.")
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil { // config
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := &sparse{f: f}
	n, err := copyMost(w, &counted{r, im.Copied}, size)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

// sparse leaves holes where a block of the source is all zeros.
type sparse struct {
	f  *os.File
	at int64
}

func (s *sparse) Write(p []byte) (int, error) {
	n := len(p)
	if len(bytes.TrimLeft(p, "\x00")) > 0 {
		if m, err := s.f.WriteAt(p, s.at); err != nil {
			return m, err
		}
	}
	s.at += int64(n)
	return n, nil
}

// judge returns an error if the files in dir are no dump.
func judge(dir string) error {
	d, err := crashdir.Read(dir)
	if err != nil {
		return err
	}
	if d.Vmcore == "" && d.Report == nil {
		names, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range names {
			if strings.HasPrefix(e.Name(), "vmcore-dmesg.txt") || strings.HasPrefix(e.Name(), "kexec-dmesg.log") {
				return nil
			}
		}
		return errors.New("neither a vmcore nor a report nor a log in it")
	}
	return nil
}

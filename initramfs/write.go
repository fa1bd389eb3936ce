package initramfs

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/cavaliergopher/cpio"
)

// WriteTo writes the image as an uncompressed cpio archive. The result is a
// multiple of four bytes long, so another archive can follow it. It returns the
// number of bytes written and the error of w.
func (im *Image) WriteTo(w io.Writer) (int64, error) {
	cw := &countingWriter{w: w}
	archive := cpio.NewWriter(cw)
	for i, name := range im.sorted() {
		if err := writeNode(archive, name, int64(i+1), im.nodes[name]); err != nil {
			return cw.n, fmt.Errorf("write %s into the image: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return cw.n, fmt.Errorf("write the end of the image: %w", err)
	}
	return cw.n, nil
}

// Write writes the image compressed with c.
func (im *Image) Write(w io.Writer, c Compression) error {
	zw, err := newCompressor(w, c, im.Window)
	if err != nil {
		return err
	}
	if _, err := im.WriteTo(zw); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return fmt.Errorf("compress the image with %s: %w", c, err)
	}
	return nil
}

func writeNode(w *cpio.Writer, name string, inode int64, n *node) error {
	// ModTime stays zero. Checksum must stay zero: setting it makes the cpio
	// package write every later header with the wrong magic.
	hdr := &cpio.Header{
		Name:  name,
		Mode:  cpio.FileMode(n.mode.Perm()) | cpioType(n.mode),
		Links: 1,
		Inode: inode,
		// The cpio package ignores Linkname when writing, the target of a
		// symbolic link is its body.
		Size: int64(len(n.data)),
	}
	if n.mode.IsDir() {
		hdr.Links = 2
	}
	if err := w.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := w.Write(n.data)
	return err
}

func cpioType(m fs.FileMode) cpio.FileMode {
	switch m.Type() {
	case fs.ModeDir:
		return cpio.TypeDir
	case fs.ModeSymlink:
		return cpio.TypeSymlink
	}
	return cpio.TypeReg
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

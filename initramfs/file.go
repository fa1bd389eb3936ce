package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile writes the image, compressed with c, to a file with mode 0600. It replaces
// name in one step: the data goes to a temporary file in the same directory, which is
// synced and renamed; then the directory is synced. On any error the temporary file is
// removed, and name is unchanged unless only the last sync failed.
func (im *Image) WriteFile(name string, c Compression) error {
	if err := im.writeFile(name, c); err != nil {
		return fmt.Errorf("write image %s: %w", name, err)
	}
	return nil
}

func (im *Image) writeFile(name string, c Compression) (err error) {
	// Renaming would replace a device or socket, and fail late on a directory.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	dir := filepath.Dir(name)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	buf := bufio.NewWriterSize(tmp, 1<<20)
	if err := im.Write(buf, c); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// openRegular opens a regular file for reading.
func openRegular(name string) (*os.File, os.FileInfo, error) {
	// Without O_NONBLOCK opening a FIFO would wait for its writer.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

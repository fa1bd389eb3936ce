package ctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

// replaceFile writes a file of that mode that appears when it is whole, in place of an earlier
// one. Until then its name has another ending: the collector of node_exporter reads all .prom.
func replaceFile(path string, mode fs.FileMode, write func(io.Writer) error) error {
	if err := cli.CheckOutput(path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, crashdir.WithoutPath(err))
	}
	err = write(f)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, crashdir.WithoutPath(err))
	}
	return crashdir.SyncDir(filepath.Dir(path))
}

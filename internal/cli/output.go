package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ukdump/internal/advice"
)

// StandardOutput is the name of a file that stands for the standard output.
const StandardOutput = "-"

// CheckOutput returns the reason why no file can be written in place of path, the value of
// --output. Nothing but a file is replaced: root could replace /dev/null.
func CheckOutput(path string) error {
	fi, err := os.Stat(path)
	switch {
	case err == nil && fi.IsDir():
		return advice.With(errors.New("a directory, not a file"), "Give --output the name of a file in it.")
	case err == nil && !fi.Mode().IsRegular():
		return advice.With(errors.New("a device, pipe or socket, not a file"), "Give --output the name of a file.")
	case err == nil:
		return nil
	case strings.HasSuffix(path, "/"):
		return advice.With(errors.New("the name of a directory, not of a file"), "Give --output the name of a file.")
	}
	dir := filepath.Dir(path)
	switch fi, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return advice.With(fmt.Errorf("the directory %s does not exist", dir), "Make it, or give --output another file.")
	case err == nil && !fi.IsDir(), errors.Is(err, syscall.ENOTDIR):
		return advice.With(fmt.Errorf("%s is not a directory", dir), "Give --output another file.")
	}
	return nil
}

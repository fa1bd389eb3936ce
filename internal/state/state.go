// Package state is what kdumpctl remembers from run to run: files in Dir, and what
// lies in /run until the next boot.
package state

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

// Dir is where images and the facts about the loaded one are kept.
const Dir = "/var/lib/ukdump"

// ImagePath returns where the image for a kernel release is kept.
func ImagePath(release string) string {
	return filepath.Join(Dir, "initramfs-"+release+".img")
}

// Images returns the releases of the kernels that have an image in Dir.
func (st Store) Images() (releases []string) {
	paths, _ := filepath.Glob(filepath.Join(st.Root, ImagePath("*")))
	before, after, _ := strings.Cut(filepath.Base(ImagePath("*")), "*")
	for _, path := range paths {
		name := strings.TrimPrefix(filepath.Base(path), before)
		releases = append(releases, strings.TrimSuffix(name, after))
	}
	return releases
}

// Store is the state of the machine whose file systems are below Root.
type Store struct {
	Root string
}

func (st Store) file(name string) string { return filepath.Join(st.Root, Dir, name) }

// BootID returns the ID of this boot, see random(4); "" if it cannot be read.
func (st Store) BootID() string { return st.proc("random/boot_id") }

// Running returns the release of the running kernel as uname -r prints it; "" if it
// cannot be read.
func (st Store) Running() string { return st.proc("osrelease") }

// proc returns a file of /proc/sys/kernel.
func (st Store) proc(name string) string {
	b, _ := os.ReadFile(filepath.Join(st.Root, "proc/sys/kernel", name))
	return strings.TrimSpace(string(b))
}

// readJSON reads a file that writeJSON wrote, of at most limit bytes.
func readJSON(path string, limit int64, v any) error {
	b, err := crashdir.ReadFile(path, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// checkVersion returns the error of a file in a format that this program does not know,
// nil for version 1.
func checkVersion(path string, version int) error {
	if version == 1 {
		return nil
	}
	return fmt.Errorf("%s has format version %d, this program supports version 1", path, version)
}

// writeJSON replaces a file in one step.
func writeJSON(path string, v any) error {
	dir, name := filepath.Split(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return crashdir.WriteFile(dir, name, func(w io.Writer) error { return cli.WriteJSON(w, v) })
}

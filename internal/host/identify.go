package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"ukdump/internal/fsid"
)

// identify fills in the UUID of the file system on the first device of the
// stack, and which others it has, and refuses one that has other parts on them.
func (h *Host) identify(s *Storage, devices []BlockDevice) error {
	b := s.Stack[0]
	if part := otherDevice(s.Mount); part != "" {
		return s.external(part)
	}
	id, err := h.probe(s, b)
	var unsupported *UnsupportedError
	if errors.As(err, &unsupported) {
		return err
	}
	if err != nil {
		// udev probed the device when it appeared.
		if id = h.udevID(b); id.Type == "" {
			return fmt.Errorf("UUID of %s: %w", b.Name, err)
		}
	}
	if family(id.Type) != family(s.FSType) {
		return fmt.Errorf("%s is mounted as %s but holds %s", b.Name, s.FSType, id.Type)
	}
	if id.UUID == "" {
		return &UnsupportedError{Dir: s.Dir, What: s.FSType + " file system", Name: "on " + b.Name, Why: "no UUID identifies it"}
	}
	s.UUID = id.UUID
	return h.identifyMembers(s, devices, id.Members)
}

// external refuses a file system that keeps part on another device.
func (s *Storage) external(part string) error {
	return &UnsupportedError{
		Dir: s.Dir, What: s.FSType + " file system", Name: "on " + s.Stack[0].Name,
		Why: "its " + part + " is on another device",
	}
}

// otherDevice returns the part of a mounted file system that is on another device,
// as far as its options show (ext4(5), xfs(5)).
func otherDevice(m Mount) string {
	for _, o := range []struct{ option, part string }{
		{"journal_dev", "journal"}, {"journal_path", "journal"}, {"logdev", "log"}, {"rtdev", "real-time section"},
	} {
		if _, ok := m.option(o.option); ok {
			return o.part
		}
	}
	return ""
}

// probe reads the superblock on b.
func (h *Host) probe(s *Storage, b BlockDevice) (fsid.ID, error) {
	f, err := h.openBlock(b)
	if err != nil {
		return fsid.ID{}, err
	}
	defer f.Close()
	id, err := fsid.Probe(f, b.Size)
	if err != nil {
		return fsid.ID{}, err
	}
	is := featuresOf(f, id.Type)
	if is.apart != "" {
		return fsid.ID{}, s.external(is.apart)
	}
	s.Needs, s.Uses, s.Unknown, s.BlockSize = is.needs, is.uses, is.unknown, is.blockSize
	return id, nil
}

// openBlock opens the device node of b. Below another root it may be a regular
// file.
func (h *Host) openBlock(b BlockDevice) (*os.File, error) { return h.openBlockFlags(b, 0) }

func (h *Host) openBlockFlags(b BlockDevice, flags int) (*os.File, error) {
	name := h.path(path.Join("/dev", nodeName(b.Name)))
	// Not a FIFO to wait for.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() && st.Mode().Type() != fs.ModeDevice {
		err = &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTBLK}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// udevID returns the identity of b in the udev database: the lines that udevd writes
// after its builtin blkid ran.
func (h *Host) udevID(b BlockDevice) fsid.ID {
	props := h.udev(b)
	return fsid.ID{Type: props["ID_FS_TYPE"], UUID: props["ID_FS_UUID"]}
}

// udev returns the properties of b in the udev database, none if there is none.
func (h *Host) udev(b BlockDevice) map[string]string {
	data, err := h.read(fmt.Sprintf("/run/udev/data/b%d:%d", b.Major, b.Minor))
	if err != nil {
		return map[string]string{}
	}
	return parseUdev(data)
}

// parseUdev returns the properties in a file of the udev database. udevd encodes the
// control characters of every value that it takes from a device, so a value that has some
// is not one of those. Such a value would go into messages and plans, and is dropped.
func parseUdev(data string) map[string]string {
	props := make(map[string]string)
	for line := range strings.SplitSeq(data, "\n") {
		p, ok := strings.CutPrefix(line, "E:")
		key, value, found := strings.Cut(p, "=")
		if ok && found && !strings.ContainsFunc(value, isControl) {
			props[key] = value
		}
	}
	return props
}

// isControl reports whether r is a control character, or a byte that is not UTF-8.
func isControl(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }

// family maps the types that one driver mounts to one name.
func family(typ string) string {
	switch typ {
	case "ext2", "ext3":
		return "ext4"
	}
	return typ
}

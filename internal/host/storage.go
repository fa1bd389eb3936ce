package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"ukdump/internal/kfeature"
	"ukdump/internal/kmod"
)

// Storage describes the file system and the devices under a directory, for example
//
//	/var/crash  xfs on vg0-crash  LV on md0  RAID1 of sda2 and sdb2
type Storage struct {
	Dir   string `json:"dir"` // as it was asked for
	Mount Mount  `json:"mount"`

	// Upper is the path of the directory in the upper directory of its overlay.
	// Mount and all fields below describe that path.
	Upper string `json:"upper,omitempty"`

	FSType string `json:"fstype"` // as in /proc/filesystems
	UUID   string `json:"uuid"`   // as blkid(8) prints it
	// PathInFS is the directory as seen when the file system is mounted with
	// Options: absolute and clean. It need not exist.
	PathInFS string `json:"path_in_fs"`
	// Options are those of mount(2) without which PathInFS is missing.
	Options string `json:"options,omitempty"`
	// Needs are modules for its features besides its driver.
	Needs []kmod.Request `json:"-"`
	// Uses are its features that some kernels lack, Unknown the flags in its superblock
	// that are in no table, and BlockSize is in bytes, of btrfs that of a sector. They
	// are empty if the superblock could not be read.
	Uses      []kfeature.Feature `json:"-"`
	Unknown   []string           `json:"-"`
	BlockSize int                `json:"-"`

	// Stack is the file system's device and all its parts, down to the disks: each
	// device before its parts.
	Stack   []BlockDevice `json:"stack"`
	Devices []Device      `json:"devices"` // controllers and buses of the disks; each after those that it needs
	// Copies are other devices with a file system of that type and UUID.
	Copies []string `json:"copies,omitempty"`
	// Members are the devices of a btrfs that has several, the first of them that
	// of Stack. All of their stacks are in Stack.
	Members []Member `json:"members,omitempty"`
	// Missing is how many more it should have: it is mounted degraded.
	Missing int `json:"missing,omitempty"`
	// ReadOnly says why the running kernel writes nothing to it now.
	ReadOnly ReadOnly `json:"read_only,omitempty"`
}

// Storage detects the storage under the absolute path dir. If the directory is
// missing, its nearest existing parent counts. The error is an *UnsupportedError if
// the capture kernel could not open that storage, and a *NotMountedError if a
// configured mount is missing.
func (h *Host) Storage(dir string) (*Storage, error) {
	s := &Storage{Dir: dir}
	if err := h.storage(s); err != nil {
		var unsupported *UnsupportedError
		if errors.As(err, &unsupported) {
			return nil, err
		}
		return nil, fmt.Errorf("storage of %s: %w", dir, err)
	}
	return s, nil
}

func (h *Host) storage(s *Storage) error {
	if !path.IsAbs(s.Dir) {
		return errors.New("not an absolute path")
	}
	dir, err := h.resolve(path.Clean(s.Dir))
	if err != nil {
		return err
	}
	// Opening makes autofs(5) mount the file system that belongs there.
	f, err := os.OpenFile(h.path(dir), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if errors.Is(err, syscall.ENOTDIR) {
		return errors.New("not a directory")
	}
	if err == nil {
		f.Close()
	}
	data, err := readFile(h.path("/proc/self/mountinfo"))
	if err != nil {
		return err
	}
	mounts, err := parseMounts(string(data))
	if err != nil {
		return err
	}
	if err := h.checkMounted(mounts, s.Dir, dir); err != nil {
		return err
	}
	if dir, err = h.beneath(s, mounts, dir); err != nil {
		return err
	}
	if err := s.place(dir); err != nil {
		return err
	}
	if h.encrypted(dir) {
		return &UnsupportedError{Dir: s.Dir, Obstacle: EncryptedDir, What: "encrypted directory", Name: "on " + s.Mount.Point, Why: "the key of fscrypt is lost with the kernel that crashes"}
	}
	if err := h.findDisk(s); err != nil {
		return err
	}
	if err := h.checkWritable(s, dir); err != nil {
		return err
	}
	s.Copies, err = h.copies(s)
	return err
}

// encrypted reports whether the file system encrypts new files in dir, or in its
// nearest existing parent (statx(2), Documentation/filesystems/fscrypt.rst).
func (h *Host) encrypted(dir string) bool {
	for ; dir != "/" && !h.exists(dir); dir = path.Dir(dir) {
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, h.path(dir), 0, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_ENCRYPTED != 0
}

// findDisk fills in Stack, Devices and the identity of the file system on them.
func (h *Host) findDisk(s *Storage) error {
	b, err := h.blockOf(s.Mount)
	if s.Mount.Major != 0 && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s on %s: its block device %d:%d is not in /sys: %w", s.FSType, s.Mount.Point, s.Mount.Major, s.Mount.Minor, err)
	}
	if err != nil {
		return fmt.Errorf("block device of %s: %w", s.Mount.Point, err)
	}
	devices := []BlockDevice{b}
	if s.FSType == "btrfs" {
		if devices, err = h.btrfsMembers(b); err != nil {
			return err
		}
	}
	if s.Stack, s.Devices, err = h.disk(s.Dir, devices...); err != nil {
		return err
	}
	return h.identify(s, devices)
}

// disk returns the top devices with all their parts, and the controllers and buses
// of the disks. The error is an *UnsupportedError about target if the capture kernel
// could not open one of them.
func (h *Host) disk(target string, top ...BlockDevice) (stack []BlockDevice, devices []Device, err error) {
	if stack, err = h.stack(top...); err != nil {
		return nil, nil, err
	}
	for i, b := range stack {
		if err := h.refuseBlock(target, b); err != nil {
			return stack, nil, err
		}
		stack[i].PartUUID, stack[i].Serial, stack[i].Table = h.partUUID(b), h.serial(b), h.partTable(b)
	}
	if err := h.addCrypt(target, stack); err != nil {
		return stack, nil, err
	}
	// A multipath device is the disk that its paths lead to.
	for i := range stack {
		for _, below := range stack[i:] {
			if stack[i].Kind == Multipath && stack[i].Serial == "" {
				stack[i].Serial = below.Serial
			}
		}
	}
	var paths []string
	for _, disk := range stack {
		if len(disk.Below) > 0 {
			continue
		}
		controllers, fabric, err := h.controllers(disk.Path)
		if err != nil {
			return stack, nil, fmt.Errorf("controllers of %s: %w", disk.Name, err)
		}
		if fabric != "" {
			return stack, nil, &UnsupportedError{Dir: target, What: "NVMe over Fabrics disk", Name: disk.Name + " (" + fabric + ")", Why: remote}
		}
		paths = append(append(paths, controllers...), disk.Path)
	}
	devices, err = h.devices(append(paths, top[0].Path)...)
	return stack, devices, err
}

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// BlockDevice is a disk or a partition.
type BlockDevice struct {
	Name      string `json:"name"` // the kernel's: nvme0n1p2
	Path      string `json:"path"` // below /sys/devices, beginning with /sys
	Major     uint32 `json:"major"`
	Minor     uint32 `json:"minor"`
	Size      int64  `json:"size"`                // bytes
	Partition int    `json:"partition,omitempty"` // its number, 0 for a whole disk
}

// block returns the block device at a path of sysfs that may be a link.
func (h *Host) block(name string) (BlockDevice, error) {
	dir, err := h.resolve(name)
	if err != nil {
		return BlockDevice{}, err
	}
	dev, err := h.read(path.Join(dir, "dev"))
	if err != nil {
		return BlockDevice{}, err
	}
	b := BlockDevice{Name: path.Base(dir), Path: dir}
	var ok bool
	if b.Major, b.Minor, ok = parseDev(dev); !ok {
		return BlockDevice{}, fmt.Errorf("%s/dev: %.40q is not a device number", dir, dev)
	}
	// In units of 512 bytes whatever the disk's sectors are (Documentation/ABI/stable/sysfs-block).
	if n, err := strconv.ParseInt(h.attr(dir, "size"), 10, 54); err == nil {
		b.Size = n * 512
	}
	if n, err := strconv.Atoi(h.attr(dir, "partition")); err == nil {
		b.Partition = n
	}
	return b, nil
}

// blockOf returns the block device of a mount.
func (h *Host) blockOf(m Mount) (BlockDevice, error) {
	if m.Major != 0 {
		return h.block(fmt.Sprintf("/sys/dev/block/%d:%d", m.Major, m.Minor))
	}
	// File systems of several devices, such as btrfs, have a number of their
	// own; what was given to mount(8) tells more.
	return h.blockBySource(m.Source)
}

// blockBySource returns the block device that a name below /dev means.
func (h *Host) blockBySource(source string) (BlockDevice, error) {
	if source == "/dev/root" {
		// The kernel mounted it without an initramfs and knows no better name.
		var err error
		if source, err = h.rootSource(); err != nil {
			return BlockDevice{}, err
		}
	}
	node, err := h.resolve(source)
	if err != nil {
		return BlockDevice{}, err
	}
	name, ok := strings.CutPrefix(node, "/dev/")
	if !ok {
		return BlockDevice{}, fmt.Errorf("%q is not a device", source)
	}
	// sysfs has '!' for '/' in names.
	b, err := h.block("/sys/class/block/" + strings.ReplaceAll(name, "/", "!"))
	if errors.Is(err, fs.ErrNotExist) {
		return BlockDevice{}, fmt.Errorf("no block device is called %s", source)
	}
	return b, err
}

// rootSource returns what root= on the running kernel's command line names, as
// a path below /dev.
func (h *Host) rootSource() (string, error) {
	line, err := h.read("/proc/cmdline")
	if err != nil {
		return "", err
	}
	root := ""
	for _, w := range strings.Fields(line) {
		if v, ok := strings.CutPrefix(w, "root="); ok {
			root = strings.Trim(v, `"`) // the last one counts
		}
	}
	key, value, ok := strings.Cut(root, "=")
	switch {
	case strings.HasPrefix(root, "/dev/") && root != "/dev/root":
		return root, nil
	case ok && strings.Contains("PARTUUID UUID LABEL PARTLABEL", key) && !strings.Contains(value, "/"):
		return "/dev/disk/by-" + strings.ToLower(key) + "/" + value, nil
	}
	return "", fmt.Errorf("the root file system's device is unknown: /dev/root, and root=%.80s on the command line", root)
}

// stack returns b and the whole disk that it is a part of.
func (h *Host) stack(b BlockDevice) ([]BlockDevice, error) {
	if b.Partition == 0 {
		return []BlockDevice{b}, nil
	}
	disk, err := h.block(path.Dir(b.Path))
	if err != nil {
		return nil, fmt.Errorf("disk of partition %s: %w", b.Name, err)
	}
	return []BlockDevice{b, disk}, nil
}

// fabrics are the NVMe transports that lead to another machine.
var fabrics = map[string]bool{"tcp": true, "rdma": true, "fc": true, "loop": true}

// controllers returns the paths of the NVMe controllers that lead to the disk
// at dir, if native multipath hides them (nvme-multipath: the disk is a child
// of a virtual subsystem, which links to its controllers), and the name of a
// transport that is a network.
func (h *Host) controllers(dir string) (paths []string, fabric string, err error) {
	dirs := []string{}
	if strings.HasPrefix(dir, "/sys/devices/virtual/nvme-subsystem/") {
		subsystem := path.Dir(dir)
		names, err := h.names(subsystem)
		if err != nil {
			return nil, "", err
		}
		for _, name := range names {
			if !strings.HasPrefix(name, "nvme") || h.link(subsystem, name) == "" {
				continue
			}
			p, err := h.resolve(path.Join(subsystem, name))
			if err != nil {
				return nil, "", err
			}
			paths = append(paths, p)
		}
		dirs = paths
	} else {
		dirs = append(dirs, path.Dir(dir))
	}
	for _, d := range dirs {
		if t := h.attr(d, "transport"); fabrics[t] {
			fabric = t
		}
	}
	return paths, fabric, nil
}

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// BlockDevice is a disk, a partition, or made of others.
type BlockDevice struct {
	Name      string    `json:"name"` // the kernel's: nvme0n1p2
	Path      string    `json:"path"` // below /sys/devices, beginning with /sys
	Major     uint32    `json:"major"`
	Minor     uint32    `json:"minor"`
	Size      int64     `json:"size"` // bytes
	Kind      BlockKind `json:"kind"`
	Partition int       `json:"partition,omitempty"` // its number, 0 unless it is a partition
	Below     []string  `json:"below,omitempty"`     // names of its parts; none for a disk

	// Of disks and partitions in a stack. A copy of the content lacks these:
	PartUUID string `json:"partuuid,omitempty"` // as blkid(8) prints it
	Table    string `json:"-"`                  // kind of the partition table, see partTable
	Serial   string `json:"serial,omitempty"`   // of the disk, see fsid.Serial

	MD     *Array  `json:"md,omitempty"`
	Bcache *Cached `json:"bcache,omitempty"`

	// Only for those of device-mapper, from sysfs:
	DMName string `json:"dm_name,omitempty"`
	DMUUID string `json:"dm_uuid,omitempty"` // tells in front who made it: LVM-, CRYPT-LUKS2-, mpath-

	Crypt *CryptVolume `json:"crypt,omitempty"` // of kind Crypt
}

// BlockKind is the kind of a block device.
type BlockKind string

// The kinds of block devices.
const (
	Disk      BlockKind = "disk"
	Partition BlockKind = "partition"
	LVM       BlockKind = "lvm"       // logical volume, also a hidden one
	Crypt     BlockKind = "crypt"     // dm-crypt
	Multipath BlockKind = "multipath" // and, with DMUUID part*, a partition of one
	Mapper    BlockKind = "dm"        // any other of device-mapper
	MD        BlockKind = "md"
	Bcache    BlockKind = "bcache"
)

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
	b.Size, _ = parseSectors(h.attr(dir, "size"))
	b.DMName, b.DMUUID = h.attr(dir, "dm/name"), h.attr(dir, "dm/uuid")
	b.Kind = h.blockKind(b)
	if n, err := strconv.Atoi(h.attr(dir, "partition")); err == nil {
		b.Partition, b.Kind = n, Partition
		b.Below = []string{path.Base(path.Dir(dir))}
		return b, nil
	}
	if b.Below, err = h.names(path.Join(dir, "slaves")); err != nil {
		return b, err
	}
	switch b.Kind {
	case MD:
		b.MD = h.array(b)
	case Bcache:
		b.Bcache = h.cached(b)
	}
	return b, nil
}

// blockKind tells the kind of b, which is not a partition.
func (h *Host) blockKind(b BlockDevice) BlockKind {
	uuid := b.DMUUID // of a partition that kpartx(8) made it begins with partN-
	switch {
	case strings.HasPrefix(uuid, "LVM-"):
		return LVM
	case strings.HasPrefix(uuid, "CRYPT-INTEGRITY-"), strings.HasPrefix(uuid, "CRYPT-VERITY-"), strings.HasPrefix(uuid, "CRYPT-SUBDEV-"):
		return Mapper // cryptsetup's, too, but nothing is encrypted
	case strings.HasPrefix(uuid, "CRYPT-"):
		return Crypt
	case strings.HasPrefix(mapperUUID(uuid), "mpath-"):
		return Multipath
	case h.exists(path.Join(b.Path, "dm")):
		return Mapper
	case h.exists(path.Join(b.Path, "md")):
		return MD
	case h.link(b.Path, "bcache") != "": // its parts have a directory of that name
		return Bcache
	}
	return Disk
}

// mapperUUID returns a UUID of device-mapper without the "partN-" that kpartx(8)
// puts before the UUID of the divided device.
func mapperUUID(uuid string) string {
	if part, rest, ok := strings.Cut(uuid, "-"); ok && strings.HasPrefix(part, "part") {
		return rest
	}
	return uuid
}

// blockOf returns the block device of a mount.
func (h *Host) blockOf(m Mount) (BlockDevice, error) {
	if m.Major != 0 {
		return h.block(fmt.Sprintf("/sys/dev/block/%d:%d", m.Major, m.Minor))
	}
	// File systems of several devices, such as btrfs, have a device number of
	// their own. The source given to mount(8) names a real device.
	return h.blockBySource(m.Source)
}

// noDevice is the error for a name that no block device has.
type noDevice string

func (e noDevice) Error() string { return string(e) }

func (noDevice) Is(target error) bool { return target == fs.ErrNotExist }

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
		return BlockDevice{}, noDevice(strconv.Quote(source) + " is not a device")
	}
	b, err := h.block("/sys/class/block/" + strings.ReplaceAll(name, "/", "!")) // see nodeName
	if errors.Is(err, fs.ErrNotExist) {
		return h.mapperNode(source, name)
	}
	return b, err
}

// mapperNode returns the device that has the name of a node below /dev in
// device-mapper. Without udev(7) the node is no link to it.
func (h *Host) mapperNode(source, node string) (BlockDevice, error) {
	if want, ok := strings.CutPrefix(node, "mapper/"); ok {
		names, err := h.names("/sys/class/block")
		if err != nil {
			return BlockDevice{}, err
		}
		for _, name := range names {
			if dir := "/sys/class/block/" + name; strings.HasPrefix(name, "dm-") && h.attr(dir, "dm/name") == want {
				return h.block(dir)
			}
		}
	}
	return BlockDevice{}, noDevice("no block device is called " + source)
}

// rootSource returns the device of root= on the running kernel's command line,
// as a path below /dev.
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
	case ok && slices.Contains([]string{"PARTUUID", "UUID", "LABEL", "PARTLABEL"}, key) && !strings.Contains(value, "/"):
		return "/dev/disk/by-" + strings.ToLower(key) + "/" + value, nil
	}
	return "", fmt.Errorf("the root file system's device is unknown: /dev/root, and root=%.80s on the command line", root)
}

// stack returns the top devices and all their parts, down to the disks: each
// device before its parts, none twice. For an encrypted LV on an array:
//
//	dm-1        ext4 on LUKS      dm/uuid CRYPT-LUKS2-…, slaves/dm-0
//	dm-0        LV of vg0         dm/uuid LVM-…, slaves/md0
//	md0         RAID1, PV of vg0  md/level, slaves/sda2 and sdb2
//	sda2, sdb2  partitions        partition
//	sda, sdb    disks             device
func (h *Host) stack(top ...BlockDevice) ([]BlockDevice, error) {
	var after []BlockDevice // each after its parts
	seen := make(map[string]bool)
	var visit func(b BlockDevice) error
	visit = func(b BlockDevice) error {
		if seen[b.Name] {
			return nil
		}
		seen[b.Name] = true
		snapshots, err := h.snapshots(b)
		if err != nil {
			return err
		}
		b.Below = append(b.Below, snapshots...)
		for _, name := range b.Below {
			dir := "/sys/class/block/" + name
			if b.Partition > 0 {
				dir = path.Dir(b.Path)
			}
			below, err := h.block(dir)
			if err != nil {
				return fmt.Errorf("%s, which %s is made of: %w", name, b.Name, err)
			}
			if err := visit(below); err != nil {
				return err
			}
		}
		after = append(after, b)
		return nil
	}
	for _, b := range slices.Backward(top) {
		if err := visit(b); err != nil {
			return nil, err
		}
	}
	slices.Reverse(after)
	return after, nil
}

// localTransports are the NVMe transports to disks of this machine. The others, such as
// tcp, rdma, fc and loop, have to be connected.
var localTransports = map[string]bool{"pcie": true, "apple-nvme": true}

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
		if t := h.attr(d, "transport"); t != "" && !localTransports[t] {
			fabric = t
		}
	}
	return paths, fabric, nil
}

// parseSectors returns the size of a device in bytes. sysfs has it in units of 512
// bytes, for sectors of any size (Documentation/ABI/stable/sysfs-block).
func parseSectors(text string) (bytes int64, err error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 54)
	if err != nil {
		return 0, err
	}
	return n * 512, nil
}

// nodeName returns the name of a device below /dev: sysfs has '!' for '/' in names.
func nodeName(name string) string { return strings.ReplaceAll(name, "!", "/") }

package host

import (
	"errors"
	"path"
	"strings"
)

// topLevel is the ID of the subvolume that holds all others of a btrfs
// (btrfs-subvolume(8)).
const topLevel = "5"

// place fills in the path of the resolved dir inside of its file system, and the
// mount options for that path.
func (s *Storage) place(dir string) error {
	m := s.Mount
	// The mounted directory need not be the root of the file system (bind mount).
	root := m.Root
	if strings.HasSuffix(root, "//deleted") {
		return errors.New("the directory mounted on " + m.Point + " was deleted")
	}
	s.PathInFS = path.Join("/", root, strings.TrimPrefix(dir, m.Point))
	if m.Point == "/" {
		s.PathInFS = path.Join("/", root, dir)
	}
	switch s.FSType {
	case "btrfs":
		// Roots of btrfs mounts are paths from the top level. By its ID the
		// subvolume is found even when it was renamed.
		id, ok := m.option("subvolid")
		subvol, ok2 := m.option("subvol")
		if ok && ok2 && path.IsAbs(subvol) && within(s.PathInFS, path.Clean(subvol)) {
			s.PathInFS = path.Join("/", strings.TrimPrefix(s.PathInFS, path.Clean(subvol)))
		} else {
			id = topLevel
		}
		s.Options = "subvolid=" + id
	default:
		s.Options = carried(m)
	}
	return nil
}

// carriedOptions are the mount options without which the capture kernel could not
// mount a file system of the running kernel, or not with the same names. It mounts
// once, to write one directory, so all other options are omitted:
//
//   - ext2, ext3, ext4 (ext4(5)): features and the place of the journal are in the
//     superblock. data=, commit=, barrier and the like are about how it is
//     written, the quota options of old about files that quotacheck(8) renews;
//     ro, noload and norecovery would keep the dump out.
//   - xfs (xfs(5)): with nouuid it was mounted beside a copy, and it must be again
//     if that is a target too and still in use. inode32, allocsize and sunit are about
//     how it is allocated. Quotas need not match: a mount without them has the next
//     one with them check them again, and their limits must not stop a dump.
//   - btrfs (btrfs(5)): only the subvolume, see place. compress and nodatasum are
//     attributes of new files, and a dump is compressed; space_cache and the
//     checksum follow the superblock.
//   - f2fs: everything that the files need is in the superblock.
//   - vfat, exfat (Documentation/filesystems/vfat.rst): the defaults are those that
//     the kernel was built with (CONFIG_FAT_DEFAULT_*); without their tables
//     another one could not mount.
var carriedOptions = map[string][]string{
	"xfs":   {"nouuid"},
	"vfat":  {"codepage", "iocharset"},
	"exfat": {"iocharset"},
}

// carried returns the carriedOptions that m has.
func carried(m Mount) string {
	var list []string
	for _, name := range carriedOptions[m.FSType] {
		switch value, ok := m.option(name); {
		case value != "":
			list = append(list, name+"="+value)
		case ok:
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}

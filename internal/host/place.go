package host

import (
	"errors"
	"path"
	"strings"
)

// topLevel is the ID of the subvolume that holds all others of a btrfs
// (btrfs-subvolume(8)).
const topLevel = "5"

// place fills in where inside of the file system the resolved dir is, and what
// mount options make it so.
func (s *Storage) place(dir string) error {
	m := s.Mount
	// What was mounted need not be the root of the file system (bind mount).
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
	case "vfat", "exfat":
		// The defaults are the running kernel's (CONFIG_FAT_DEFAULT_*); without
		// their tables another kernel could not mount.
		var o []string
		for _, name := range []string{"codepage", "iocharset"} {
			if v, ok := m.option(name); ok {
				o = append(o, name+"="+v)
			}
		}
		s.Options = strings.Join(o, ",")
	}
	return nil
}

package host

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// maxOverlays is how many overlays can lie on each other (FILESYSTEM_MAX_STACK_DEPTH
// in include/linux/fs.h).
const maxOverlays = 2

// beneath sets s.Mount to the real mount under the resolved dir, and returns the path
// of dir there: an overlay writes to its upper directory
// (Documentation/filesystems/overlayfs.rst). For example:
//
//	/var/crash   overlay, upperdir=/rw/upper
//	/rw          ext4 on sda3, becomes s.Mount
//	/rw/upper/var/crash  the path returned
func (h *Host) beneath(s *Storage, mounts []Mount, dir string) (string, error) {
	for depth := 0; ; depth++ {
		m, ok := holding(mounts, dir)
		if !ok {
			return "", errors.New("nothing is mounted on / according to /proc/self/mountinfo")
		}
		s.Mount, s.FSType = m, m.FSType
		if m.FSType != "overlay" || depth == maxOverlays {
			return dir, refuseType(s.Dir, m)
		}
		upper, err := h.upper(s.Dir, m, mounts, dir)
		if err != nil {
			return "", err
		}
		if on, ok := holding(mounts, upper); ok && lost[on.FSType] {
			return "", upperLostError(s.Dir, m, upper, on)
		}
		dir, s.Upper = upper, upper
	}
}

// overlayError refuses the overlay m.
func overlayError(target string, m Mount) *UnsupportedError {
	e := &UnsupportedError{Dir: target, Obstacle: OverlayUpper, What: "overlay file system", Name: "mounted on " + m.Point}
	if m.Source == "composefs" {
		e.What = "composefs"
	}
	return e
}

// upper returns where in the upper directory of the overlay m the resolved dir is,
// which need not exist.
func (h *Host) upper(target string, m Mount, mounts []Mount, dir string) (string, error) {
	at, err := h.upperDir(target, m, mounts)
	if err != nil {
		return "", err
	}
	e := overlayError(target, m)
	if at == "" {
		option, _ := m.option("upperdir")
		e.Why = "its upper directory " + option + " is not visible here"
		return "", e
	}
	found := path.Join(at, strings.TrimPrefix(dir, strings.TrimSuffix(m.Point, "/")))
	if at := h.notCopied(dir, found, m.Point); at != "" {
		e.Why = at + " is in its read-only lower layer only"
		e.Remedy = "Run touch " + at + ", which copies it to the upper layer, and build again."
		return "", e
	}
	return found, nil
}

// upperDir returns the upper directory of the overlay m, "" if it cannot be found in
// this mount namespace. The error is an *UnsupportedError if m has no upper directory
// that is writable after a crash.
func (h *Host) upperDir(target string, m Mount, mounts []Mount) (string, error) {
	e := overlayError(target, m)
	option, ok := m.option("upperdir")
	fsync, _ := m.option("fsync")
	_, volatile := m.option("volatile")
	switch {
	case !ok:
		e.Obstacle, e.Why = NotWritable, "read-only"
		return "", e
	case volatile || fsync == "volatile":
		e.Why = "the mount option volatile makes it unusable after a crash"
		return "", e
	case strings.HasSuffix(m.Root, "//deleted"):
		return "", errors.New("the directory mounted on " + m.Point + " was deleted")
	}
	// The name is from when the overlay was mounted, perhaps by an initramfs or
	// outside of a container. It may mean something else here, or nothing.
	// Some kernels show backslashes as they were given to mount(8), which needs
	// them before commas and colons.
	for _, name := range []string{option, strings.ReplaceAll(option, `\`, "")} {
		if !path.IsAbs(name) {
			continue
		}
		for _, candidate := range append([]string{name}, moved(path.Clean(name), mounts)...) {
			candidate, err := h.resolve(candidate)
			if err != nil {
				return "", err
			}
			at := path.Join(candidate, m.Root)
			// The overlay shows itself, too.
			if on, ok := holding(mounts, at); ok && on.ID == m.ID {
				continue
			}
			if h.same(m.Point, at) {
				return at, nil
			}
		}
	}
	return "", nil
}

// maxMounts is how many mounts moved looks at. A host of containers has thousands, and
// those of the initramfs come first.
const maxMounts = 256

// moved returns the names that a directory can have now if an initramfs called it name:
// its own root is gone, and a mount has moved. The end of the name is the same. For
// example, of SONiC and VyOS:
//
//	/root/host/image-X/rw             /host/image-X/rw
//	/live/persistence/sda1/boot/X/rw  /usr/lib/live/mount/persistence/sda1/boot/X/rw
func moved(name string, mounts []Mount) (names []string) {
	points := []string{"/"}
	for _, m := range mounts {
		if (mountable[m.FSType] || lost[m.FSType]) && !slices.Contains(points, m.Point) && len(points) < maxMounts {
			points = append(points, m.Point)
		}
	}
	for tail := strings.TrimPrefix(name, "/"); ; {
		_, rest, ok := strings.Cut(tail, "/")
		for _, point := range points {
			if at := path.Join(point, tail); at != name {
				names = append(names, at)
			}
		}
		if !ok {
			return names
		}
		tail = rest
	}
}

// upperLost returns an *UnsupportedError if files on the overlay m do not survive a
// reboot. Otherwise it reports whether that is certain.
func (h *Host) upperLost(target string, m Mount, mounts []Mount) (certain bool, err error) {
	on := m
	for range maxOverlays {
		at, err := h.upperDir(target, on, mounts)
		if err != nil || at == "" {
			return false, err
		}
		var ok bool
		if on, ok = holding(mounts, at); !ok {
			return false, nil
		}
		if lost[on.FSType] || readOnly[on.FSType] {
			return false, upperLostError(target, m, at, on)
		}
		if on.FSType != "overlay" {
			return true, nil
		}
	}
	return false, nil
}

func upperLostError(target string, m Mount, upper string, on Mount) *UnsupportedError {
	e := overlayError(target, m)
	e.Obstacle, e.Why = InMemory, "its upper directory "+upper+" is on "+on.FSType+", which is memory and lost at the reboot"
	if readOnly[on.FSType] {
		e.Obstacle, e.Why = NotWritable, "its upper directory "+upper+" is on "+on.FSType+", which is read-only"
	}
	return e
}

// notCopied returns the deepest directory on the way from point to dir that the
// overlay has, but its upper directory, where dir is called upper, has not. To
// make it there would hide the mode and the owner that it has below.
func (h *Host) notCopied(dir, upper, point string) string {
	for ; dir != point; dir, upper = path.Dir(dir), path.Dir(upper) {
		if !h.exists(dir) {
			continue
		}
		if h.same(dir, upper) {
			return ""
		}
		return dir
	}
	return ""
}

// same reports whether a directory of an overlay is the one called upper. Numbers
// of inodes do not tell: an overlay has its own. But it shows the times of change
// of the upper directory, in nanoseconds, which nobody can set (fs/overlayfs/inode.c,
// ovl_getattr).
func (h *Host) same(overlay, upper string) bool { return h.sameDir(h.path(overlay), h.path(upper)) }

func sameDir(a, b string) bool {
	for range 3 { // it may be changed in between
		x, err := os.Stat(a)
		y, err2 := os.Stat(b)
		if err != nil || err2 != nil || !x.IsDir() || !y.IsDir() {
			return false
		}
		sx, sy := x.Sys().(*syscall.Stat_t), y.Sys().(*syscall.Stat_t)
		if x.Mode() == y.Mode() && x.ModTime().Equal(y.ModTime()) && sx.Ctim == sy.Ctim {
			return true
		}
	}
	return false
}

package host

import "strings"

// Advice returns what the user can do about that storage.
func (e *UnsupportedError) Advice() string {
	const disk = "TARGET= to a directory on a disk of this machine"
	fs := strings.TrimSuffix(e.What, " file system")
	is := func(kinds ...string) bool {
		for _, k := range kinds {
			if strings.HasPrefix(e.What, k) {
				return true
			}
		}
		return false
	}
	memory := lost[fs] || strings.Contains(e.Why, "memory")
	switch {
	case e.Remedy != "":
		return e.Remedy
	case strings.HasPrefix(e.Dir, "raw:"):
		return "Name a partition of a disk of this machine, raw:PARTUUID=ID, or raw:swap if it has one for swap."
	case memory:
		return "Set " + disk + ", or to raw:PARTUUID=ID, a partition that nothing uses."
	case is("LUKS", "dm-crypt"):
		return "Set TARGET= to a directory that is not encrypted, or to a raw partition (raw:swap, raw:PARTUUID=ID); or MODE=emergency, if it is opened without a passphrase. EVIDENCE=/boot at least keeps the log."
	case is("encrypted directory"):
		return "Set TARGET= to a directory that is not encrypted."
	case is("loop"):
		return "Set TARGET= to a directory on the file system that holds its file."
	case is("autofs"):
		return "Mount what belongs there and build again, or set " + disk + "."
	case readOnly[fs], is("overlay", "composefs") && strings.Contains(e.Why, "read-only"):
		return "Set TARGET= to a directory on a file system that can be written to."
	case is("overlay"):
		return "Set TARGET= to a directory that is not on the overlay. In a container there is nothing to do: what crashes is the host's kernel."
	case layered[fs]:
		return "Set TARGET= to a directory on one of the file systems that it is made of."
	}
	return "Set MODE=emergency, in which the distribution's own initramfs and services open it, or " + disk + "."
}

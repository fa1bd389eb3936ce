package host

// Obstacle is the reason that a capture kernel cannot use some storage. It decides
// the advice; the words of the error are for people only.
type Obstacle int

// The obstacles.
const (
	NoDriver       Obstacle = iota // the capture environment cannot set it up; the distribution may
	InMemory                       // it is lost at the reboot
	NotWritable                    // it is read-only
	Encrypted                      // it is an encrypted volume
	NoHeader                       // it is one without a LUKS header, so its key is nowhere on it
	EncryptedDir                   // it is a directory that fscrypt encrypts
	InFile                         // a file on another file system
	NothingMounted                 // nothing is mounted on it now
	OverlayUpper                   // its overlay's upper directory is of no use
	Layered                        // it is made of other file systems
)

// Advice returns the remedy for that storage.
func (e *UnsupportedError) Advice() string {
	switch {
	case e.Remedy != "":
		return e.Remedy
	case e.Raw:
		return "Name a partition of a disk of this machine: raw:PARTUUID=ID, or raw:swap."
	}
	const disk = "TARGET= to a directory on a disk of this machine"
	switch e.Obstacle {
	case InMemory:
		return "Set " + disk + ", or to raw:PARTUUID=ID, a partition that nothing uses."
	case NotWritable:
		return "Set TARGET= to a directory on a file system that can be written to."
	case Encrypted, NoHeader:
		return "Set TARGET= to a directory that is not encrypted, or to a raw partition (raw:swap, raw:PARTUUID=ID). MODE=emergency works, too, if the boot asks for no passphrase. EVIDENCE=/boot at least keeps the log."
	case EncryptedDir:
		return "Set TARGET= to a directory that is not encrypted."
	case InFile:
		return "Set TARGET= to a directory on the file system that holds its file."
	case NothingMounted:
		return "Mount its file system and build again, or set " + disk + "."
	case OverlayUpper:
		return "Set TARGET= to a directory that is not on the overlay. In a container there is nothing to do: what crashes is the host's kernel."
	case Layered:
		return "Set TARGET= to a directory on one of the file systems below."
	}
	return "Set MODE=emergency, in which the distribution's own initramfs and services open it, or " + disk + "."
}

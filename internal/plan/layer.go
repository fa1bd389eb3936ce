package plan

import (
	"errors"
	"fmt"
)

// Layer is a device that PID 1 assembles from its members, as the kernel does not make
// it by itself. PID 1 finds the members by their content.
type Layer struct {
	Kind    LayerKind `json:"kind"`
	Name    string    `json:"name"`              // on the healthy system: md127, vg/root; for messages
	UUID    string    `json:"uuid"`              // its identity: that of the array, the volume group, the LUKS header, the file system
	Members []Device  `json:"members,omitempty"` // at build time
	Missing int       `json:"missing,omitempty"` // number of members of a file system that were missing then

	LVM   *LVMVolume   `json:"lvm,omitempty"`   // of kind LVM
	Crypt *CryptVolume `json:"crypt,omitempty"` // of kind Crypt
}

// LayerKind is the way to assemble a layer.
type LayerKind string

// The kinds of layers.
const (
	MD     LayerKind = "md"     // Linux software RAID
	LVM    LayerKind = "lvm"    // a logical volume
	Crypt  LayerKind = "crypt"  // dm-crypt, with a key that the kernel took over
	Bcache LayerKind = "bcache" // a disk with a cache in front of it
	Btrfs  LayerKind = "btrfs"  // a file system of several devices, which the kernel must be told of
)

func (l *Layer) validate() error {
	switch l.Kind {
	case MD, LVM, Crypt, Bcache, Btrfs:
	default:
		return fmt.Errorf("kind is %q, which this program cannot assemble", l.Kind)
	}
	if l.Missing < 0 {
		return fmt.Errorf("missing is %d", l.Missing)
	}
	if l.UUID == "" {
		return errors.New("uuid is empty: nothing identifies the layer")
	}
	switch l.Kind {
	case LVM:
		return l.LVM.validate()
	case Crypt:
		return l.Crypt.validate()
	}
	return nil
}

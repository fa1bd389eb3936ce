package plan

import (
	"fmt"
	"path"
)

// Mounted is the kind of target in emergency mode: a directory of the system that
// runs then, which mounts it itself.
const Mounted Kind = "mounted"

// Emergency mode, MODE=emergency in ukdump.conf(5), boots the distribution's own
// initramfs and system with kdumpinit in it twice: as the guard, and as a service.
const (
	// EmergencyWord on the kernel's command line makes it so; the units have it as
	// a condition.
	EmergencyWord = "ukdump.emergency"
	// EmergencyRole is the argument of the service.
	EmergencyRole = "emergency"
	// GuardPath is the kdumpinit beside the distribution's files, without leading
	// slash. It is what rdinit= names.
	GuardPath = "ukdump-guard"
)

// SystemMount is what a Mounted target needs of the system.
type SystemMount struct {
	Point string   `json:"point"`           // where its file system is mounted, absolute
	Units []string `json:"units,omitempty"` // what systemd is asked to start one after the other, until it is
}

func (m *SystemMount) validate() error {
	if m == nil || !path.IsAbs(m.Point) || path.Clean(m.Point) != m.Point {
		return fmt.Errorf("mount of a %s directory has no clean absolute point", Mounted)
	}
	for i, u := range m.Units {
		if u == "" || u[0] == '-' {
			return fmt.Errorf("mount.units[%d] is %q, not the name of a unit", i, u)
		}
	}
	return nil
}

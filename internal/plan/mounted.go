package plan

import (
	"fmt"
	"path"
)

// Mounted is the kind of target in emergency mode: a directory that the distribution's
// own system mounts.
const Mounted Kind = "mounted"

// Emergency mode, MODE=emergency in ukdump.conf(5), boots the distribution's own
// initramfs and system with kdumpinit in it twice: as the guard, and as a service.
const (
	// EmergencyWord on the kernel's command line selects emergency mode. It is a
	// condition of the units.
	EmergencyWord = "ukdump.emergency"
	// EmergencyRole is the argument of the service.
	EmergencyRole = "emergency"
	// GuardPath is the kdumpinit beside the distribution's files, without leading
	// slash. It is the value of rdinit=.
	GuardPath = "ukdump-guard"
)

// SystemMount is the mount that the system makes for a Mounted target.
type SystemMount struct {
	Point string   `json:"point"`           // where its file system is mounted, absolute
	Units []string `json:"units,omitempty"` // units for systemd to start one after the other, until it is mounted
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

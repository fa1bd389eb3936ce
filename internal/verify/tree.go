package verify

import (
	"fmt"
	"slices"
	"strings"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/host"
	"ukdump/internal/load"
)

// level is one level of the stack below a target: a file system, a device.
type level struct {
	name    string
	drivers string // that serve it, and where they are
	below   []*level
}

// lines draws a level with all below it, in two cells.
func (l *level) lines() [][]string {
	list := [][]string{{l.name, l.drivers}}
	for i, b := range l.below {
		first, rest := "├─ ", "│  "
		if i == len(l.below)-1 {
			first, rest = "└─ ", "   "
		}
		for j, line := range b.lines() {
			if j > 0 {
				first = rest
			}
			list = append(list, []string{first + line[0], line[1]})
		}
	}
	return list
}

// driverState says where the drivers of needs are: in the image, in the kernel or
// nowhere.
type driverState func(needs []builder.Need) string

// Tree draws the stack below a target: lines of two cells, the level and its drivers.
func (v *Run) Tree(s builder.Stack) [][]string { return stackTree(s, v.driverState).lines() }

func stackTree(s builder.Stack, state driverState) *level {
	t := stackWalk{stack: s, state: state, shown: make(map[string]bool)}
	content := strings.TrimSpace(s.Type + " " + s.UUID)
	if content == "" {
		content = "nothing known"
	}
	fs := &level{name: content, drivers: t.drivers("")}
	if len(s.Blocks) > 0 {
		fs.below = t.roots()
	} else if len(s.Links) > 0 {
		fs.below = t.way()
	}
	return &level{name: s.Target, below: []*level{fs}}
}

// way returns the links to a server, the last one with the devices of its cards.
func (t *stackWalk) way() []*level {
	var list []*level
	for _, d := range slices.Backward(t.stack.Devices) {
		if t.needed(d) && !t.shown[d.Path] {
			list = append(list, t.path(d.Path)...)
		}
	}
	for _, name := range slices.Backward(t.stack.Links) {
		list = []*level{{name: name, below: list}}
	}
	return list
}

// stackWalk makes levels of a stack.
type stackWalk struct {
	stack builder.Stack
	state driverState
	shown map[string]bool // block devices, and devices by their path
}

// drivers returns the state of the drivers of one device, "" for the file system.
func (t *stackWalk) drivers(device string) string {
	var needs []builder.Need
	for _, n := range t.stack.Needs {
		if n.For == device {
			needs = append(needs, n)
		}
	}
	return t.state(needs)
}

// roots returns the devices that nothing in the stack is made of: one, unless the
// file system has several.
func (t *stackWalk) roots() (list []*level) {
	for _, b := range t.stack.Blocks {
		if !slices.ContainsFunc(t.stack.Blocks, func(o host.BlockDevice) bool { return slices.Contains(o.Below, b.Name) }) {
			list = append(list, t.block(b))
		}
	}
	return list
}

// block returns the level of a block device. A device below several others is
// drawn once.
func (t *stackWalk) block(b host.BlockDevice) *level {
	l := &level{name: blockName(b)}
	if t.shown[b.Name] {
		l.name += ", see above"
		return l
	}
	t.shown[b.Name] = true
	l.drivers = t.drivers(b.Name)
	for _, name := range b.Below {
		i := slices.IndexFunc(t.stack.Blocks, func(o host.BlockDevice) bool { return o.Name == name })
		if i >= 0 {
			l.below = append(l.below, t.block(t.stack.Blocks[i]))
		}
	}
	if len(b.Below) == 0 {
		l.below = t.hardware(b)
	}
	return l
}

// hardware returns the devices above a disk in its path that need a
// driver, the lowest last. The first disk also gets the devices outside its path:
// suppliers, and the controllers behind native NVMe multipath.
func (t *stackWalk) hardware(disk host.BlockDevice) []*level {
	list := t.path(disk.Path)
	disks := 0
	for _, b := range t.stack.Blocks {
		if len(b.Below) == 0 && t.shown[b.Name] {
			disks++
		}
	}
	if disks > 1 {
		return list
	}
	for _, d := range slices.Backward(t.stack.Devices) {
		if t.needed(d) && !t.onAnyPath(d) && !t.shown[d.Path] {
			list = append(list, t.path(d.Path)...)
		}
	}
	return list
}

// path returns the devices of a path, as one branch.
func (t *stackWalk) path(path string) (list []*level) {
	for _, d := range t.stack.Devices { // suppliers come first
		if !t.needed(d) || !on(d, path) {
			continue
		}
		t.shown[d.Path] = true
		list = []*level{{name: deviceName(d), drivers: t.drivers(d.Path), below: list}}
	}
	return list
}

func (t *stackWalk) needed(d host.Device) bool {
	return slices.ContainsFunc(t.stack.Needs, func(n builder.Need) bool { return n.For == d.Path })
}

// onAnyPath reports whether d is on the path of one of the disks.
func (t *stackWalk) onAnyPath(d host.Device) bool {
	return slices.ContainsFunc(t.stack.Blocks, func(b host.BlockDevice) bool { return len(b.Below) == 0 && on(d, b.Path) })
}

// on reports whether path leads through d.
func on(d host.Device, path string) bool {
	return path == d.Path || strings.HasPrefix(path, d.Path+"/")
}

// blockNames are the common names of the kinds of block devices.
var blockNames = map[host.BlockKind]string{
	host.LVM: "logical volume", host.Crypt: "dm-crypt", host.Mapper: "device-mapper", host.MD: "md array",
}

func blockName(b host.BlockDevice) string {
	name := b.Name
	if b.DMName != "" {
		name = b.DMName + " (" + b.Name + ")"
	}
	kind := blockNames[b.Kind]
	if kind == "" {
		kind = string(b.Kind)
	}
	return fmt.Sprintf("%s, %s, %s", name, kind, cli.Size(b.Size))
}

func deviceName(d host.Device) string {
	name := d.Path[strings.LastIndexByte(d.Path, '/')+1:]
	if d.Subsystem != "" {
		name = d.Subsystem + " " + name
	}
	return name
}

// driverState looks for the drivers in the image and in the kernel it is for.
func (v *Run) driverState(needs []builder.Need) string {
	var parts []string
	for _, n := range needs {
		for _, m := range n.Modules {
			if v.packed(m) {
				parts = append(parts, m+": in the image")
			} else {
				parts = append(parts, m+": MISSING")
			}
		}
		for _, m := range n.With {
			if !v.packed(m) {
				parts = append(parts, m+": MISSING")
			}
		}
		for _, name := range n.Builtin {
			parts = append(parts, name+": built into the kernel")
		}
		if n.Lacks() {
			if n.Optional || n.Unknown {
				parts = append(parts, n.Label+": not a module of that kernel")
			} else {
				parts = append(parts, n.Label+": MISSING")
			}
		}
	}
	return strings.Join(parts, "; ")
}

// packed reports whether the image has a module and PID 1 loads it.
func (v *Run) packed(name string) bool {
	if v.plan == nil {
		return false
	}
	for _, m := range v.plan.Modules {
		if _, ok := v.files[m.Path]; ok && m.Name == name {
			return true
		}
	}
	return false
}

// checkDrivers looks for the driver of each level of each target.
func (v *Run) checkDrivers() {
	for _, s := range v.Stacks {
		found := 0
		var missing, unknown []string
		for _, n := range s.Needs {
			for _, m := range slices.Concat(n.Modules, n.With) {
				if v.packed(m) {
					found++
				} else if text := m + " (" + n.Why + ")"; !slices.Contains(missing, text) {
					missing = append(missing, text)
				}
			}
			found += len(n.Builtin)
			switch {
			case n.Lacks() && (n.Optional || n.Unknown):
				unknown = append(unknown, n.Why)
			case n.Lacks():
				missing = append(missing, n.Why)
			}
		}
		switch {
		case len(missing) > 0:
			v.Problem("drivers", load.NeedsReload("%s cannot be reached: neither in the image nor in the kernel: %s", s.Target, firstNames(missing)))
		case v.plan != nil && len(unknown) > 0:
			v.note("drivers", "%s: neither in the image nor known to be built into the kernel: %s", s.Target, firstNames(unknown))
		case v.plan != nil:
			v.ok("drivers", "%s: each is in the image or built into the kernel", s.Target)
		}
	}
}

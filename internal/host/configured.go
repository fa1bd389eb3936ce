package host

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ConfiguredMount is an entry of fstab(5), or a unit of systemd.mount(5).
type ConfiguredMount struct {
	What    string
	Point   string
	FSType  string
	Options string

	resolved string // Point without symbolic links, as the kernel names it
}

// tags may stand before a = in place of a device, see mount(8).
var tags = []string{"UUID", "LABEL", "PARTUUID", "PARTLABEL", "ID"}

// Remote reports whether it is mounted after the network is there, if at all.
// systemd does not count directories that a hypervisor shares with its guest.
func (m *ConfiguredMount) Remote() bool {
	fs := Mount{FSType: m.FSType}
	if fs.Remote() && m.FSType != "virtiofs" && m.FSType != "9p" || slices.Contains(strings.Split(m.Options, ","), "_netdev") {
		return true
	}
	// Of types that nobody knows here, as server:/path or //server/path.
	tag, _, _ := strings.Cut(m.What, "=")
	return strings.HasPrefix(m.What, "//") || strings.Contains(m.What, ":") && !strings.HasPrefix(m.What, "/") && !slices.Contains(tags, tag)
}

// MountTable is the set of mounts that a machine is configured to have: fstab(5) and
// units of systemd.mount(5).
type MountTable struct {
	root string
	list []ConfiguredMount
}

// ReadMountTable reads the configured mounts of the machine below root.
func ReadMountTable(root string) *MountTable {
	t := &MountTable{root: filepath.Clean(root), list: configuredMounts(root)}
	h := Host{root: root}
	for i, m := range t.list {
		t.list[i].resolved = m.Point
		if at, err := h.resolve(m.Point); err == nil {
			t.list[i].resolved = at
		}
	}
	return t
}

// Absent returns the configured mounts at or above the directories that are not
// there, in the order of the directories. The paths are those of this process, below
// the root. An automount is there: to open it mounts the file system.
func (t *MountTable) Absent(dirs ...string) []ConfiguredMount {
	return t.find(mountStates.absent, dirs)
}

// NotReady is Absent, but an automount of the network counts as not there: to open it
// before the network is up would wait for ever.
func (t *MountTable) NotReady(dirs ...string) []ConfiguredMount {
	return t.find(mountStates.notReady, dirs)
}

func (t *MountTable) find(missing func(mountStates, *ConfiguredMount) bool, dirs []string) (list []ConfiguredMount) {
	data, _ := readFile(filepath.Join(t.root, "proc/self/mountinfo"))
	var mounts []Mount
	for line := range strings.Lines(string(data)) {
		if m, err := parseMount(strings.TrimSuffix(line, "\n")); err == nil { // the other lines count
			mounts = append(mounts, m)
		}
	}
	h := Host{root: t.root}
	now := mountedNow(mounts)
	for _, dir := range dirs {
		inside := path.Join("/", strings.TrimPrefix(dir, strings.TrimSuffix(t.root, "/")))
		resolved, err := h.resolve(inside)
		if err != nil {
			resolved = inside
		}
		for _, m := range t.above(mounts, inside, resolved) {
			if missing(now, m) && !slices.ContainsFunc(list, func(o ConfiguredMount) bool { return o.Point == m.Point }) {
				list = append(list, *m)
			}
		}
	}
	return list
}

// above returns the configured mounts at or above a path of the machine that is, without
// symbolic links, resolved. It omits those that are not there and that another mount
// replaces: of /srv that is one on /srv/crash.
func (t *MountTable) above(mounts []Mount, inside, resolved string) (list []*ConfiguredMount) {
	on, _ := holding(mounts, resolved)
	for i := range t.list {
		m := &t.list[i]
		replaced := on.Point != m.resolved && within(on.Point, m.resolved)
		if !replaced && (within(inside, m.Point) || within(resolved, m.Point) || within(resolved, m.resolved)) {
			list = append(list, m)
		}
	}
	return list
}

// mountStates are the states of the mount points of this moment, by their paths.
type mountStates map[string]mountState

type mountState int

const (
	unmounted mountState = iota
	automounted
	mounted
)

func mountedNow(mounts []Mount) mountStates {
	now := mountStates{"/": mounted}
	for _, m := range mounts {
		state := mounted
		if m.FSType == "autofs" {
			state = automounted
		}
		now[m.Point] = max(now[m.Point], state)
	}
	return now
}

func (now mountStates) state(m *ConfiguredMount) mountState {
	return max(now[m.Point], now[m.resolved])
}

func (now mountStates) absent(m *ConfiguredMount) bool { return now.state(m) == unmounted }

func (now mountStates) notReady(m *ConfiguredMount) bool {
	return now.state(m) == unmounted || now.state(m) == automounted && m.Remote()
}

// NotMounted returns the first of NotReady for one directory, nil if there is none.
func NotMounted(root, dir string) *ConfiguredMount { return MissingMount(root, []string{dir}) }

// MissingMount returns the first of NotReady for the directories, nil if there is none.
func MissingMount(root string, dirs []string) *ConfiguredMount {
	if list := ReadMountTable(root).NotReady(dirs...); len(list) > 0 {
		return &list[0]
	}
	return nil
}

// NotMountedError says that a directory is below a configured mount that is not there.
// The directory of that name on the file system above is another one: the mount hides
// it later.
type NotMountedError struct{ Point string }

func (e *NotMountedError) Error() string { return e.Point + " is not mounted" }

// Advice returns the remedy.
func (e *NotMountedError) Advice() string {
	return "Mount " + e.Point + ", then run kdumpctl reload."
}

// mountTable returns the configured mounts.
func (h *Host) mountTable() *MountTable {
	if h.configured == nil {
		h.configured = ReadMountTable(h.root)
	}
	return h.configured
}

// checkMounted returns a *NotMountedError if a path of the machine, without symbolic
// links resolved, needs a configured mount that is not among mounts.
func (h *Host) checkMounted(mounts []Mount, dir, resolved string) error {
	now := mountedNow(mounts)
	for _, m := range h.mountTable().above(mounts, path.Clean(dir), resolved) {
		if now.absent(m) {
			return &NotMountedError{m.Point}
		}
	}
	return nil
}

// configuredMounts returns the mounts of fstab(5) and those units that something
// pulls in.
func configuredMounts(root string) (list []ConfiguredMount) {
	fstab, _ := readFile(filepath.Join(root, "etc/fstab"))
	for _, f := range tableLines(string(fstab)) {
		if len(f) < 2 || !filepath.IsAbs(f[1]) {
			continue
		}
		f = append(f, "", "")
		list = append(list, ConfiguredMount{What: f[0], Point: filepath.Clean(unescape(f[1])), FSType: f[2], Options: f[3]})
	}
	seen, wanted := make(map[string]bool), wantedUnits(root, unitDirs)
	for _, dir := range unitDirs {
		units, _ := filepath.Glob(filepath.Join(root, dir, "*.mount"))
		for _, file := range units {
			name := filepath.Base(file)
			if seen[name] { // the first directory has the unit
				continue
			}
			seen[name] = true
			if !wanted[name] && !wanted[strings.TrimSuffix(name, "mount")+"automount"] {
				continue
			}
			if m := readMountUnit(file); m.Point != "" { // a mask is empty
				list = append(list, m)
			}
		}
	}
	return list
}

// readMountUnit reads the section [Mount] of a unit (systemd.syntax(7)). The last
// assignment counts.
func readMountUnit(file string) (m ConfiguredMount) {
	text, _ := readFile(file)
	section := ""
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		if section != "[Mount]" {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		value = strings.ReplaceAll(strings.TrimSpace(value), "%%", "%")
		switch strings.TrimSpace(key) {
		case "What":
			m.What = value
		case "Where":
			if filepath.IsAbs(value) {
				m.Point = filepath.Clean(value)
			}
		case "Type":
			m.FSType = value
		case "Options":
			m.Options = value
		}
	}
	return m
}

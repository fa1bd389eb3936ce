package host

import (
	"os"
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

// NotMounted returns the configured mount at or above dir that is not there, nil
// if there is none. An automount of the network is not there: to look into it
// before the network is would wait for ever.
func NotMounted(root, dir string) *ConfiguredMount {
	mounts, _ := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	mounted, automount := map[string]bool{"/": true}, map[string]bool{}
	for line := range strings.Lines(string(mounts)) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		switch {
		case err != nil: // the other lines count
		case m.FSType == "autofs":
			automount[m.Point] = true
		default:
			mounted[m.Point] = true
		}
	}
	for _, m := range configuredMounts(root) {
		under := filepath.Join(root, m.Point)
		there := mounted[m.Point] || automount[m.Point] && !m.Remote()
		if !there && (dir == under || strings.HasPrefix(dir, under+"/")) {
			return &m
		}
	}
	return nil
}

// MissingMount returns the first configured mount that one of the directories needs
// and that is not there, nil if there is none.
func MissingMount(root string, dirs []string) *ConfiguredMount {
	for _, dir := range dirs {
		if m := NotMounted(root, dir); m != nil {
			return m
		}
	}
	return nil
}

// configuredMounts returns the mounts of fstab(5) and those units that something
// pulls in.
func configuredMounts(root string) (list []ConfiguredMount) {
	fstab, _ := os.ReadFile(filepath.Join(root, "etc/fstab"))
	for _, f := range tableLines(string(fstab)) {
		if len(f) < 2 || !filepath.IsAbs(f[1]) {
			continue
		}
		f = append(f, "", "")
		list = append(list, ConfiguredMount{What: f[0], Point: filepath.Clean(unescape(f[1])), FSType: f[2], Options: f[3]})
	}
	seen := make(map[string]bool)
	for _, dir := range unitDirs {
		units, _ := filepath.Glob(filepath.Join(root, dir, "*.mount"))
		for _, path := range units {
			name := filepath.Base(path)
			if seen[name] { // the first directory has the unit
				continue
			}
			seen[name] = true
			if !unitWanted(root, name, unitDirs) && !unitWanted(root, strings.TrimSuffix(name, "mount")+"automount", unitDirs) {
				continue
			}
			if m := readMountUnit(path); m.Point != "" { // a mask is empty
				list = append(list, m)
			}
		}
	}
	return list
}

func readMountUnit(path string) (m ConfiguredMount) {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "What":
			m.What = value
		case "Where":
			m.Point = filepath.Clean(value)
		case "Type":
			m.FSType = value
		case "Options":
			m.Options = value
		}
	}
	return m
}

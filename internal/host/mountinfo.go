package host

import (
	"fmt"
	"strconv"
	"strings"
)

// Mount is a line of proc_pid_mountinfo(5), with its octal escapes decoded.
type Mount struct {
	ID     int    `json:"id"`
	Parent int    `json:"parent"` // ID of the mount that this one is mounted on
	Major  uint32 `json:"major"`
	Minor  uint32 `json:"minor"`
	Root   string `json:"root"`  // the directory of the file system that was mounted
	Point  string `json:"point"` // where
	FSType string `json:"fstype"`
	Source string `json:"source"`
	Super  string `json:"super"` // options of the file system, not decoded
}

// parseMounts reads proc_pid_mountinfo(5):
//
//	36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw,errors=continue
func parseMounts(data string) ([]Mount, error) {
	var mounts []Mount
	n := 0
	for line := range strings.Lines(data) {
		n++
		if strings.TrimSpace(line) == "" {
			continue
		}
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("mountinfo:%d: %w", n, err)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func parseMount(line string) (Mount, error) {
	bad := func() (Mount, error) { return Mount{}, fmt.Errorf("%.120q is not a mount", line) }
	// Blanks inside of fields are escaped, so an empty source is two blanks.
	f := strings.Split(line, " ")
	sep := -1
	for i := 6; i < len(f); i++ { // optional fields come before
		if f[i] == "-" {
			sep = i
			break
		}
	}
	if sep < 0 || len(f) < sep+3 {
		return bad()
	}
	var m Mount
	var err error
	if m.ID, err = strconv.Atoi(f[0]); err != nil {
		return bad()
	}
	if m.Parent, err = strconv.Atoi(f[1]); err != nil {
		return bad()
	}
	var ok bool
	if m.Major, m.Minor, ok = parseDev(f[2]); !ok {
		return bad()
	}
	m.Root, m.Point = unescape(f[3]), unescape(f[4])
	m.FSType, m.Source = unescape(f[sep+1]), unescape(f[sep+2])
	if len(f) > sep+3 {
		m.Super = f[sep+3]
	}
	if !strings.HasPrefix(m.Point, "/") || m.FSType == "" {
		return bad()
	}
	return m, nil
}

// parseDev reads a device number: MAJOR:MINOR.
func parseDev(s string) (major, minor uint32, ok bool) {
	a, b, ok := strings.Cut(s, ":")
	x, err := strconv.ParseUint(a, 10, 32)
	y, err2 := strconv.ParseUint(b, 10, 32)
	return uint32(x), uint32(y), ok && err == nil && err2 == nil
}

// unescape decodes \ooo, as the kernel writes blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// option returns the value of a file system's option, and whether it is set.
func (m *Mount) option(name string) (string, bool) {
	rest := m.Super
	for rest != "" {
		// btrfs writes the name of the subvolume last and does not escape
		// commas in it.
		if v, ok := strings.CutPrefix(rest, "subvol="); ok {
			if name != "subvol" {
				break
			}
			return unescape(v), true
		}
		var o string
		o, rest, _ = strings.Cut(rest, ",")
		if key, value, _ := strings.Cut(o, "="); key == name {
			return unescape(value), true
		}
	}
	return "", false
}

// holding returns the mount that the resolved path lies on, as the kernel's
// path walk finds it: from the root down through each mount that covers a
// directory on the way.
func holding(mounts []Mount, name string) (Mount, bool) {
	byID := make(map[int]bool, len(mounts))
	for _, m := range mounts {
		byID[m.ID] = true
	}
	cur, found := Mount{}, false
	for _, m := range mounts {
		// The parent of the root is not visible, or is itself.
		if m.Point == "/" && (!byID[m.Parent] || m.Parent == m.ID) {
			cur, found = m, true
		}
	}
	if !found {
		return Mount{}, false
	}
	// Each step goes to a child, so a table that is not a tree ends, too.
	for range mounts {
		next, ok := Mount{}, false
		for _, m := range mounts {
			if m.Parent != cur.ID || m.ID == cur.ID || !within(name, m.Point) {
				continue
			}
			// The walk meets the shortest first, and of mounts in one place the
			// latest is on top.
			if !ok || len(m.Point) <= len(next.Point) {
				next, ok = m, true
			}
		}
		if !ok {
			break
		}
		cur = next
	}
	return cur, true
}

// within reports whether the clean path name is dir or below it.
func within(name, dir string) bool {
	return dir == "/" || name == dir || strings.HasPrefix(name, dir) && name[len(dir)] == '/'
}

// Mounts returns what is mounted now, in the order of proc_pid_mountinfo(5): of mounts in
// one place the last is on top.
func (h *Host) Mounts() ([]Mount, error) {
	data, err := readFile(h.path("/proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data))
}

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// table returns the fields of the lines of fstab(5) or crypttab(5), nothing if
// there is no such file.
func (h *Host) table(name string) ([][]string, error) {
	data, err := h.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return tableLines(data), err
}

// tableLines returns the fields of the lines of such a file.
func tableLines(data string) (lines [][]string) {
	for line := range strings.Lines(data) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			lines = append(lines, f)
		}
	}
	return lines
}

// InFstab reports whether fstab(5) has something for a mount point.
func (h *Host) InFstab(point string) (bool, error) {
	lines, err := h.table("/etc/fstab")
	return slices.ContainsFunc(lines, func(l []string) bool { return len(l) > 1 && path.Clean(unescape(l[1])) == point }), err
}

// options returns the options in a field of such a line; there need not be one.
func options(line []string, field int) []string {
	if len(line) <= field {
		return nil
	}
	return strings.Split(line[field], ",")
}

// blockBySpec returns the one block device that a line of fstab(5) or crypttab(5)
// names: a path, or UUID=, PARTUUID=, LABEL= or PARTLABEL= with a value.
func (h *Host) blockBySpec(spec string) (BlockDevice, error) { return only(h.blocksBySpec(spec)) }

// blocksBySpec returns all of them, at least one: copies have the same UUID.
func (h *Host) blocksBySpec(spec string) ([]BlockDevice, error) {
	key, value, tag := strings.Cut(spec, "=")
	value = strings.Trim(unescape(value), `"`)
	name := "/dev/disk/by-" + strings.ToLower(key) + "/" + udevName(value)
	switch {
	case !tag || strings.HasPrefix(spec, "/"):
		name = unescape(spec)
	case key == "UUID" || key == "PARTUUID":
		return h.findBlocks(key, value)
	}
	b, err := h.blockBySource(name)
	return []BlockDevice{b}, err
}

// isNamed reports whether spec names b, or b and others.
func (h *Host) isNamed(b BlockDevice, spec string) (bool, error) {
	named, err := h.blocksBySpec(spec)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.ContainsFunc(named, func(o BlockDevice) bool { return o.Path == b.Path }), err
}

// udevName encodes a label as udev does in the name of a link
// (encode_devnode_name in systemd).
func udevName(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80 || strings.IndexByte("#+-.:=@_", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// overwrittenAtBoot names the setting that would overwrite a dump on b before it
// could be collected, "" if none does. With a random key crypttab(5) makes other swap
// on a partition at each boot; whatever it opens, a dump is not that.
func (h *Host) overwrittenAtBoot(b BlockDevice) (string, error) {
	lines, err := h.table("/etc/crypttab")
	if err != nil {
		return "", err
	}
	for _, l := range lines {
		if len(l) < 2 {
			continue
		}
		is, err := h.isNamed(b, l[1])
		if err != nil {
			return "", fmt.Errorf("look for %s of /etc/crypttab: %w", l[1], err)
		}
		if is {
			return "/etc/crypttab makes " + l[0] + " of it at each boot", nil
		}
	}
	if lines, err = h.table("/etc/fstab"); err != nil {
		return "", err
	}
	for _, l := range lines {
		if !slices.Contains(options(l, 3), "x-systemd.makefs") {
			continue
		}
		is, err := h.isNamed(b, l[0])
		if err != nil {
			return "", fmt.Errorf("look for %s of /etc/fstab: %w", l[0], err)
		}
		if is {
			return "x-systemd.makefs in /etc/fstab makes new " + l[2] + " on it at the next boot", nil
		}
	}
	return "", nil
}

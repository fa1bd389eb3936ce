package host

import "strings"

// Crypttab has the instructions to systemd-cryptsetup about the key of a volume.
type Crypttab struct {
	// Where is the file or the option of the command line that has its options, ""
	// if none has.
	Where string
	// Linked is the description of a logon key that the volume key becomes in
	// root's keyring when the volume is opened (link-volume-key=), "" if it does
	// not become one.
	Linked string
}

// linkOption makes the volume key a key of root's keyring, crypttab(5):
// KEYRING::KEY, of which the type of the key is a part, see --link-vk-to-keyring
// of cryptsetup-open(8).
const linkOption = "link-volume-key=@u::%logon:"

// Crypttab returns the entry of the LUKS volume with that name or UUID in
// /etc/crypttab, in /etc/crypttab.initramfs, which takes its place in initramfs
// images of mkinitcpio, or on the command line of the running kernel
// (systemd-cryptsetup-generator(8)). Whatever makes the key known counts.
func (h *Host) Crypttab(name, uuid string) Crypttab {
	var c Crypttab
	add := func(where, options string) {
		if c.Where == "" {
			c.Where = where
		}
		for o := range strings.SplitSeq(options, ",") {
			if v, ok := strings.CutPrefix(o, linkOption); ok && c.Linked == "" {
				c.Where, c.Linked = where, v
			}
		}
	}
	for _, file := range []string{"/etc/crypttab", "/etc/crypttab.initramfs"} {
		text, _ := h.read(file) // without one it is opened by other means
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			if len(f) < 2 || strings.HasPrefix(f[0], "#") || f[0] != name && !isLUKS(f[1], uuid) {
				continue
			}
			add(file, append(f, "", "")[3])
		}
	}
	cmdline, _ := h.CommandLine()
	for word := range strings.FieldsSeq(cmdline) {
		key, value, _ := strings.Cut(strings.Trim(word, `"`), "=")
		if key = strings.TrimPrefix(key, "rd."); key != "luks.options" {
			continue
		}
		of, options, ok := strings.Cut(value, "=")
		const where = "rd.luks.options= of the kernel's command line"
		if id := strings.TrimPrefix(of, "luks-"); ok && len(id) == len("00000000-0000-0000-0000-000000000000") {
			if strings.EqualFold(id, uuid) {
				add(where, options)
			}
		} else if c.Where == "" { // for all that no file lists
			add(where, value)
		}
	}
	return c
}

// isLUKS reports whether the second word of a line means the device with that
// UUID.
func isLUKS(device, uuid string) bool {
	for _, prefix := range []string{"UUID=", "/dev/disk/by-uuid/"} {
		if v, ok := strings.CutPrefix(device, prefix); ok && strings.EqualFold(strings.Trim(v, `"`), uuid) {
			return true
		}
	}
	return false
}

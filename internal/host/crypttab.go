package host

import (
	"strings"
)

// Crypttab is what crypttab(5) says of the key of a volume.
type Crypttab struct {
	Listed bool // it has a line
	// Linked is the description of a logon key that the volume key becomes in
	// root's keyring when the volume is opened (link-volume-key=), "" if it does
	// not become one.
	Linked string
}

// Crypttab returns what /etc/crypttab says of the LUKS volume with that name or
// UUID.
func (h *Host) Crypttab(name, uuid string) Crypttab {
	var c Crypttab
	text, err := h.read("/etc/crypttab")
	if err != nil {
		return c // opened by other means
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || f[0] != name && !isLUKS(f[1], uuid) {
			continue
		}
		c.Listed = true
		if len(f) < 4 {
			continue
		}
		for o := range strings.SplitSeq(f[3], ",") {
			// KEYRING::KEY, of which the type of the key is a part, see
			// --link-vk-to-keyring of cryptsetup-open(8).
			if v, ok := strings.CutPrefix(o, "link-volume-key=@u::%logon:"); ok {
				c.Linked = v
			}
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

// Package secret knows the names of parameters, variables and keys with secret values. It is
// the one table of them: reports strike out such values of the command line, and scrubbed
// archives those of all texts.
package secret

import (
	"slices"
	"strings"
)

// Names are in lower case with underscores.
var (
	// Whole names.
	names = []string{
		"key", "cryptkey", "luks.key", "rd.luks.key", "rd.zfs.key", "rd.znet.key", "wifi.key", // dracut.cmdline(7)
		"cifs.creds", "netroot", // user:password@server
		"dm_mod.create",                                           // tables with keys of dm-crypt, Documentation/admin-guide/device-mapper/dm-init.rst
		"systemd.set_credential", "systemd.set_credential_binary", // systemd.system-credentials(7)
	}
	// Parts of names between dots and underscores.
	parts = []string{"pin", "psk", "pw", "pwd"}
	// Anything in a name.
	words = []string{"pass", "secret", "token", "credential", "authkey", "auth_key", "apikey", "api_key", "privkey", "private_key"}
	// Anything in a name that may be that of a secret.
	doubtful = []string{"auth", "key", "private"}
	// Names of secrets of a place: the disks and servers of a machine.
	places = []string{"cryptdevice", "cryptopts", "rd.znet"}
)

// notSecret takes words that contain one of the above out of a name.
var notSecret = strings.NewReplacer("passthr", "", "bypass", "", "compass", "", "keymap", "", "keyboard", "", "keycode", "", "author", "")

// normal returns a name as the table has it. The kernel takes dashes and underscores for the
// same.
func normal(name string) string {
	return strings.ToLower(strings.ReplaceAll(strings.Trim(name, `"`), "-", "_"))
}

// Is reports whether the value of that name is secret.
func Is(name string) bool {
	name = normal(name)
	if slices.Contains(names, name) {
		return true
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '.' || r == '_' }) {
		if slices.Contains(parts, part) {
			return true
		}
	}
	return contains(name, words)
}

// May reports whether the value of that name may be secret, for texts that are given away:
// one that is struck out for nothing costs less than one that is not.
func May(name string) bool {
	if Is(name) {
		return true
	}
	name = normal(name)
	return contains(name, doubtful) || slices.Contains(places, name) ||
		strings.HasPrefix(name, "rd.luks") || strings.HasPrefix(name, "luks") ||
		strings.HasPrefix(name, "rd.iscsi") || strings.HasPrefix(name, "iscsi_")
}

func contains(name string, words []string) bool {
	name = notSecret.Replace(name)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(name, w) })
}

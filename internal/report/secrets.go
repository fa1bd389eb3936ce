package report

import (
	"slices"
	"strings"
)

// secrets is the table of the parameters with secret values: keys and passwords that somebody
// found convenient on a command line. Names are in lower case with underscores.
var secrets = struct {
	names, parts, words []string
}{
	// Whole names.
	names: []string{
		"key", "cryptkey", "luks.key", "rd.luks.key", "rd.zfs.key", "rd.znet.key", "wifi.key", // dracut.cmdline(7)
		"cifs.creds", "netroot", // user:password@server
		"dm_mod.create",                                           // tables with keys of dm-crypt, Documentation/admin-guide/device-mapper/dm-init.rst
		"systemd.set_credential", "systemd.set_credential_binary", // systemd.system-credentials(7)
	},
	// Parts of names between dots and underscores.
	parts: []string{"pin", "psk", "pw", "pwd"},
	// Anything in a name.
	words: []string{"pass", "secret", "token", "credential", "authkey", "auth_key", "apikey", "api_key", "privkey", "private_key"},
}

// notSecret are words that contain one of secrets.words.
var notSecret = strings.NewReplacer("passthr", "", "bypass", "", "compass", "")

// strikeOut replaces the values of secret parameters of a command line, and passwords in URLs, by
// "*" and returns their number.
func strikeOut(line string) (string, int) {
	n := 0
	words := splitWords(line)
	for i, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			continue
		}
		if isSecret(name) {
			words[i] = name + "=*"
			n++
			continue
		}
		if clean, found := strikeURL(value); found {
			words[i] = name + "=" + clean
			n++
		}
	}
	return strings.Join(words, " "), n
}

// isSecret reports whether the value of a parameter is secret. The kernel takes dashes and
// underscores for the same.
func isSecret(name string) bool {
	name = strings.ToLower(strings.ReplaceAll(strings.Trim(name, `"`), "-", "_"))
	if slices.Contains(secrets.names, name) {
		return true
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '.' || r == '_' }) {
		if slices.Contains(secrets.parts, part) {
			return true
		}
	}
	name = notSecret.Replace(name)
	return slices.ContainsFunc(secrets.words, func(w string) bool { return strings.Contains(name, w) })
}

// strikeURL replaces the password in scheme://user:password@host or protocol:user:password@host,
// and the values of secret options in a list with commas, by "*".
func strikeURL(value string) (string, bool) {
	found := false
	if head, rest, ok := strings.Cut(value, "@"); ok {
		if i := strings.LastIndexByte(head, ':'); strings.Count(head, ":") > 1 && i < len(head)-1 {
			value, found = head[:i+1]+"*@"+rest, true
		}
	}
	if !strings.Contains(value, ",") {
		return value, found
	}
	parts := strings.Split(value, ",")
	for i, p := range parts {
		if name, v, ok := strings.Cut(p, "="); ok && v != "" && isSecret(name) {
			parts[i], found = name+"=*", true
		}
	}
	return strings.Join(parts, ","), found
}

// splitWords splits a command line at spaces that are not inside double quotes, as the kernel
// does (lib/cmdline.c, next_arg).
func splitWords(line string) (words []string) {
	quoted, start := false, 0
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ' ' && !quoted:
			if i > start {
				words = append(words, line[start:i])
			}
			start = i + 1
		}
	}
	if start < len(line) {
		words = append(words, line[start:])
	}
	return words
}

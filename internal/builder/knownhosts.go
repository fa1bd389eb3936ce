package builder

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// hostKeysIn returns the keys of a server in a file of known hosts, see "SSH_KNOWN_HOSTS
// FILE FORMAT" in sshd(8), as "TYPE BASE64". Revoked keys are left out. The error begins
// with the line's number.
func hostKeysIn(data []byte, name string, port int) (keys []string, err error) {
	at := strings.ToLower(name) // so ssh(1) hashes it
	if port != 22 {
		at = "[" + at + "]:" + strconv.Itoa(port)
	}
	var revoked []string
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		marker, patterns, key, _, _, err := ssh.ParseKnownHosts(line)
		if err != nil {
			if namesHost(strings.Split(firstWord(line), ","), at) {
				return nil, fmt.Errorf("%d: not a host key: %v", n, err)
			}
			continue // an unknown type of another host
		}
		text := key.Type() + " " + base64.StdEncoding.EncodeToString(key.Marshal())
		switch {
		case marker == "revoked":
			revoked = append(revoked, text)
		case marker != "" || !namesHost(patterns, at):
		case !slices.Contains(keys, text):
			keys = append(keys, text)
		}
	}
	return slices.DeleteFunc(keys, func(k string) bool { return slices.Contains(revoked, k) }), nil
}

func firstWord(line []byte) string {
	word, _, _ := bytes.Cut(line, []byte(" "))
	return string(word)
}

// namesHost reports whether patterns of a line have the host: wildcards, "!" and hashes.
func namesHost(patterns []string, at string) bool {
	found := false
	for _, p := range patterns {
		not := strings.HasPrefix(p, "!")
		p = strings.TrimPrefix(p, "!")
		ok := false
		if strings.HasPrefix(p, "|1|") {
			ok = hashed(p, at)
		} else {
			ok = matches(p, at)
		}
		if ok && not {
			return false
		}
		found = found || ok
	}
	return found
}

// matches compares a pattern of known hosts, in which only * and ? are special.
func matches(pattern, at string) bool {
	pattern, at = strings.ToLower(pattern), strings.ToLower(at)
	if pattern == at || net.ParseIP(at) != nil && net.ParseIP(at).Equal(net.ParseIP(pattern)) {
		return true
	}
	ok, err := path.Match(strings.NewReplacer("[", `\[`, "]", `\]`).Replace(pattern), at)
	return ok && err == nil
}

// hashed compares "|1|SALT|HASH", an HMAC-SHA1 of the name.
func hashed(pattern, at string) bool {
	parts := strings.Split(pattern, "|")
	if len(parts) != 4 {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	want, werr := base64.StdEncoding.DecodeString(parts[3])
	if err != nil || werr != nil {
		return false
	}
	h := hmac.New(sha1.New, salt)
	h.Write([]byte(at))
	return hmac.Equal(h.Sum(nil), want)
}

package target

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// Remote is the parsed name of a place at a server.
type Remote struct {
	User string // of SFTP
	Host string // a name or an address; empty for S3, whose bucket is in Path
	Port int    // of TCP
	Path string // clean and absolute; of S3 /BUCKET/PREFIX
}

// remotePrefixes has the beginning of each kind of name and the port of its protocol.
var remotePrefixes = []struct {
	kind   Kind
	prefix string
	port   int
}{
	{NFS, "nfs:", 2049},
	{SFTP, "sftp://", 22},
	{HTTPS, "https://", 443},
	{S3, "s3://", 443},
}

func remoteKind(s string) (Kind, bool) {
	for _, r := range remotePrefixes {
		if strings.HasPrefix(s, r.prefix) {
			return r.kind, true
		}
	}
	return 0, false
}

// Server returns the parts of a name at a server; t.Remote must be true.
func (t Target) Server() Remote {
	r, _ := parseRemote(t.Kind, t.Name) // Parse has checked it
	return r
}

// The errors do not contain the name.
func parseRemote(kind Kind, s string) (Remote, error) {
	r := Remote{}
	rest := s
	for _, p := range remotePrefixes {
		if p.kind == kind {
			r.Port, rest = p.port, s[len(p.prefix):]
		}
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || strings.IndexByte("\"'\\`<>{}|^?#%", c) >= 0 {
			return Remote{}, fmt.Errorf("%q is not allowed in the name of a target at a server", c)
		}
	}
	var host, dir string
	var ok bool
	if kind == NFS {
		host, dir, ok = cutExport(rest)
		if !ok {
			return Remote{}, errors.New("not nfs:HOST:/PATH")
		}
	} else {
		host, dir, ok = strings.Cut(rest, "/")
		if dir = "/" + dir; !ok && kind != S3 {
			return Remote{}, errors.New("the path is missing (/ is the directory in which the server starts)")
		}
	}
	r.Path = path.Clean(dir)
	if kind == S3 {
		if !isBucket(host) {
			return Remote{}, errors.New("not s3://BUCKET or s3://BUCKET/PREFIX; a bucket has 3 to 63 lower-case letters, digits, dots and dashes")
		}
		r.Path = path.Clean("/" + host + dir)
		return r, nil
	}
	if kind == SFTP {
		if r.User, host, ok = strings.Cut(host, "@"); !ok || r.User == "" {
			return Remote{}, errors.New("the user is missing: sftp://USER@HOST/PATH")
		}
		if strings.Contains(r.User, ":") {
			return Remote{}, errors.New("a password is not supported: use a key (SSH_KEY)")
		}
	}
	if strings.Contains(host, "@") {
		return Remote{}, errors.New("a user is not supported here")
	}
	return r, r.setHost(host, kind != NFS)
}

// cutExport splits HOST:/PATH. An IPv6 address is in brackets.
func cutExport(s string) (host, dir string, ok bool) {
	i := strings.Index(s, ":/")
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// setHost reads HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT.
func (r *Remote) setHost(s string, port bool) error {
	rest := ""
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if r.Host, rest, ok = strings.Cut(inner, "]"); !ok {
			return errors.New("a bracket of the address is missing")
		}
		if a, err := netip.ParseAddr(r.Host); err != nil || !a.Is6() || a.Zone() != "" {
			return errors.New("no IPv6 address in the brackets")
		}
	} else {
		r.Host, rest, _ = strings.Cut(s, ":")
		if len(r.Host) < len(s) {
			rest = ":" + rest
		}
		if !isHost(r.Host) {
			return errors.New("not the name or the address of a host; an IPv6 address needs brackets")
		}
	}
	if rest == "" {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(rest, ":"), 10, 16)
	if !port || rest[0] != ':' || err != nil || n == 0 {
		return errors.New("not a port from 1 to 65535 behind the host; an IPv6 address needs brackets")
	}
	r.Port = int(n)
	return nil
}

// isHost reports whether s can be a host name (RFC 1123) or an IPv4 address.
func isHost(s string) bool {
	if len(s) > 253 || strings.HasPrefix(s, "-") || strings.HasPrefix(s, ".") || strings.Contains(s, "..") {
		return false
	}
	return isWordOf(s, "-._")
}

// isBucket follows the rules for names of S3 buckets that all stores share.
func isBucket(s string) bool {
	return len(s) >= 3 && len(s) <= 63 && s == strings.ToLower(s) && isWordOf(s, "-.") && s[0] != '-' && s[0] != '.'
}

func isWordOf(s, punctuation string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(punctuation, c) {
			return false
		}
	}
	return s != ""
}

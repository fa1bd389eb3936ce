// Package netplan is the part of a plan that kdumpinit-net alone understands: servers, the
// way to them, and the recipients of encrypted dumps. It is a package of its own because
// its types make a program larger by 70 KB.
package netplan

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"strings"
)

// Dir has the files of remote targets in the image, without leading slash: keys,
// tokens and certificates. No file of it is in the plan, which is not secret.
const Dir = "etc/ukdump/remote"

// SeedFile has random bytes of the healthy system for encryption, in the image that is
// loaded and in no file on a disk.
const SeedFile = "etc/ukdump/seed"

// Plan is the field Remote of a plan.Plan, decoded.
type Plan struct {
	// Servers of the targets whose kind is plan.NFS or plan.Server, in their order.
	Servers []Server `json:"servers,omitempty"`
	// Recipients are public keys as age(1) prints them, "age1…". If there are any,
	// each vmcore is an age file for all of them.
	Recipients []string `json:"recipients,omitempty"`
	// Built is when the newest certificate file was changed, in seconds since 1970: the
	// clock of the capture kernel may be wrong, and is not before it. 0 is not known.
	Built int64 `json:"built,omitempty"`
	// EncryptReport says that the kernel log and the report are encrypted too.
	EncryptReport bool `json:"encrypt_report,omitempty"`
}

// Protocol is the way in which files get to a server.
type Protocol string

// The protocols.
const (
	ProtocolNFS   Protocol = "nfs"
	ProtocolSFTP  Protocol = "sftp"
	ProtocolHTTPS Protocol = "https"
	ProtocolS3    Protocol = "s3"
)

// LeastPart is the size in bytes of the smallest part of an upload to S3 but for the last
// (Amazon S3 User Guide, "multipart upload limits"). A part is in memory until the server has
// it.
const LeastPart = 5 << 20

// Server is the server of one target.
type Server struct {
	Target    string       `json:"target"` // Dir of the target
	Protocol  Protocol     `json:"protocol"`
	Host      string       `json:"host"`                // as the user named it; for TLS, Host: and messages
	Addresses []netip.Addr `json:"addresses"`           // when the image was built, in the order to try
	Port      int          `json:"port"`                // of TCP
	Path      string       `json:"path"`                // absolute: directory, export, prefix of URLs, /BUCKET/PREFIX
	User      string       `json:"user,omitempty"`      // of SFTP; of HTTPS, whose token is then the password
	Network   Network      `json:"network"`             // the way to Addresses
	HostKeys  []string     `json:"host_keys,omitempty"` // of SFTP: "TYPE BASE64", as in authorized_keys(5)
	KeyFile   string       `json:"key_file,omitempty"`  // in Dir: private key of SFTP; of S3, "ACCESS:SECRET"
	TokenFile string       `json:"token_file,omitempty"`
	CertFile  string       `json:"cert_file,omitempty"` // in Dir: client certificate with its key, PEM
	CAFile    string       `json:"ca_file,omitempty"`   // in Dir: the only certificates trusted, PEM
	Region    string       `json:"region,omitempty"`    // of S3
	Version   string       `json:"version,omitempty"`   // of NFS: "4.2", "3"
	PlainHTTP bool         `json:"plain_http,omitempty"`
}

// Of validates the field Remote of a plan. Unknown fields are errors.
func Of(remote any) (*Plan, error) {
	raw, err := json.Marshal(remote)
	if err != nil {
		return nil, fmt.Errorf("parse plan: remote: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	r := new(Plan)
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("parse plan: remote: %w", err)
	}
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("invalid plan: remote.%w", err)
	}
	return r, nil
}

// Validate returns an error for the first entry that kdumpinit-net cannot use.
func (r *Plan) Validate() error {
	for i := range r.Servers {
		if err := r.Servers[i].validate(); err != nil {
			return fmt.Errorf("servers[%d].%w", i, err)
		}
	}
	if r.EncryptReport && len(r.Recipients) == 0 {
		return errors.New("encrypt_report without recipients")
	}
	return nil
}

func (s *Server) validate() error {
	switch s.Protocol {
	case ProtocolNFS, ProtocolSFTP, ProtocolHTTPS, ProtocolS3:
	default:
		return fmt.Errorf("protocol is %q", s.Protocol)
	}
	switch {
	case s.Target == "":
		return errors.New("target is empty")
	case len(s.Addresses) == 0:
		return errors.New("addresses is empty")
	case s.Port < 1 || s.Port > 65535:
		return fmt.Errorf("port is %d", s.Port)
	case !path.IsAbs(s.Path) || path.Clean(s.Path) != s.Path:
		return fmt.Errorf("path %q is not a clean absolute path", s.Path)
	case s.Protocol == ProtocolSFTP && len(s.HostKeys) == 0:
		return errors.New("host_keys is empty")
	}
	for _, f := range []string{s.KeyFile, s.TokenFile, s.CertFile, s.CAFile} {
		if f != "" && !filepath.IsLocal(f) {
			return fmt.Errorf("file %q is not a relative path", f)
		}
	}
	return s.Network.validate()
}

// Server returns the server of the target named dir, or nil.
func (r *Plan) Server(dir string) *Server {
	for i := range r.Servers {
		if r.Servers[i].Target == dir {
			return &r.Servers[i]
		}
	}
	return nil
}

// MachineDir returns the directory at a server below which a machine's dumps go, so that
// machines which share a target never touch the dumps of another. id is its machine-id(5).
func MachineDir(host, id string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, host)
	name = strings.TrimLeft(name[:min(len(name), 64)], "-.")
	if id != "" {
		name += "-" + id[:min(len(id), 8)]
	}
	return cmp.Or(strings.TrimLeft(name, "-"), "unknown")
}

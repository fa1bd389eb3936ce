package builder

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ukdump/internal/advice"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/kfeature"
	"ukdump/internal/kmod"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/seal"
	"ukdump/internal/target"
)

// Router is host.Route, or a test's own.
type Router func(h *host.Host, name string, addresses []netip.Addr) ([]netip.Addr, *host.Network, error)

// network reports whether the image needs kdumpinit-net: a target at a server, or
// encryption.
func network(o Options) bool {
	list := o.Targets
	if len(list) == 0 {
		list = o.Config.Targets
	}
	return len(o.Config.Encrypt) > 0 || slices.ContainsFunc(list, target.Target.Remote)
}

// pid1Path returns the program that becomes PID 1.
func pid1Path(o Options) string {
	if network(o) {
		return o.Pid1 + "-net"
	}
	return o.Pid1
}

// remotePlan returns the part of the plan for kdumpinit-net.
func (b *Build) remotePlan() *netplan.Plan {
	if b.Plan.Remote == nil {
		b.Plan.Remote = new(netplan.Plan)
	}
	return b.Plan.Remote.(*netplan.Plan)
}

// server plans a target at a server: the way to it as it is now, and the files that
// PID 1 needs for it.
func (b *Build) server(t target.Target, o Options) (plan.Target, []kmod.Request, error) {
	name := t.String()
	b.packing = nil
	bad := func(err error) (plan.Target, []kmod.Request, error) {
		return plan.Target{}, nil, fmt.Errorf("target %s: %w", name, err)
	}
	if err := checkRequired(b.Kernel, b.conf, kfeature.RequiredByServers); err != nil {
		return bad(err)
	}
	r := t.Server()
	s := netplan.Server{Target: name, Host: r.Host, Port: r.Port, Path: r.Path, User: r.User}
	p := plan.Target{Kind: plan.Server, Dir: name, Path: "/" + netplan.MachineDir(b.Plan.Host.Name, b.Plan.Host.MachineID)}
	var requests []kmod.Request
	var err error
	switch t.Kind {
	case target.NFS:
		p.Kind, s.Protocol, s.Version = plan.NFS, netplan.ProtocolNFS, o.Config.NFSVersion
		requests = nfsRequests(s.Version)
	case target.SFTP:
		s.Protocol = netplan.ProtocolSFTP
		err = b.addSSH(&s, o.Config)
	case target.HTTPS:
		s.Protocol = netplan.ProtocolHTTPS
		err = b.addHTTP(&s, o.Config)
	case target.S3:
		s.Protocol, s.Region = netplan.ProtocolS3, o.Config.S3Region
		err = b.addS3(&s, o.Config)
	}
	if err != nil {
		return bad(err)
	}
	addresses, way, err := b.way(&s, o)
	if err != nil {
		return bad(err)
	}
	if err := b.addRemoteFiles(); err != nil {
		return bad(err)
	}
	s.Addresses, s.Network = addresses, way.Network
	for _, note := range way.Notes {
		b.warn("%s: %s", name, note)
	}
	b.checkIOMMU(name, way.Devices)
	requests = append(slices.Clone(way.Requests), requests...)
	remote := b.remotePlan()
	remote.Servers = append(remote.Servers, s)
	b.stacks = append(b.stacks, Stack{Target: name, Type: string(s.Protocol), Devices: way.Devices, Links: linkNames(&s.Network), requests: requests})
	return p, requests, nil
}

// linkNames returns the links of a way for people, the one with the addresses first.
func linkNames(n *netplan.Network) (names []string) {
	for _, l := range slices.Backward(n.Links) {
		text := l.Name
		switch l.Kind {
		case netplan.VLAN:
			text += " (VLAN " + strconv.Itoa(l.ID) + ")"
		case netplan.Bond:
			var ports []string
			for _, p := range l.Ports {
				ports = append(ports, p.Name)
			}
			text += " (bond of " + strings.Join(ports, ", ") + ")"
		default:
			text += " (" + cmp.Or(l.MAC, l.Path) + ")"
		}
		names = append(names, text)
	}
	return names
}

// nfsRequests returns the modules of the client. Its version 4 module is requested by
// name at the mount, and nobody answers that in the capture kernel.
func nfsRequests(version string) []kmod.Request {
	module := "nfsv4"
	if version == "3" {
		module = "nfsv3"
	}
	why := "NFS " + version
	return []kmod.Request{
		{Names: []string{"nfs", "fs-nfs"}, Why: why, Label: "nfs"},
		{Names: []string{module}, Why: why, Label: module},
	}
}

// remoteFile is a file that the image gets if its server does.
type remoteFile struct {
	path, why string
	data      []byte
}

// addRemoteFiles packs the files of the server that is being planned.
func (b *Build) addRemoteFiles() error {
	if b.remoteFiles == nil {
		b.remoteFiles = make(files)
	}
	for _, f := range b.packing {
		b.remoteFiles[f.path] = f.data
		if err := b.add(f.path, f.data, 0o600, f.why); err != nil {
			return err
		}
	}
	return nil
}

// packRemote checks a file for a server and returns its name in netplan.Dir. The file is in
// the image once the way to the server is known.
func (b *Build) packRemote(file, name, why string, check func([]byte) error) (string, error) {
	data, err := b.host.ReadFile(file)
	if err != nil {
		return "", err
	}
	if err := check(data); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	name = strconv.Itoa(len(b.remotePlan().Servers)) + "-" + name
	b.packing = append(b.packing, remoteFile{path.Join(netplan.Dir, name), why, data})
	return name, nil
}

// RemoteFiles has the keys and certificates of the image, as PID 1 sees them.
func (b *Build) RemoteFiles() fs.FS { return b.remoteFiles }

// files is a file system of names and contents.
type files map[string][]byte

// Open implements fs.FS.
func (f files) Open(name string) (fs.File, error) {
	data, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &openedFile{bytes.NewReader(data), fileInfo{path.Base(name), int64(len(data))}}, nil
}

type openedFile struct {
	*bytes.Reader
	info fileInfo
}

func (f *openedFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openedFile) Close() error               { return nil }

type fileInfo struct {
	name string
	size int64
}

func (i fileInfo) Name() string     { return i.name }
func (i fileInfo) Size() int64      { return i.size }
func (fileInfo) Mode() fs.FileMode  { return 0o600 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (fileInfo) IsDir() bool        { return false }
func (fileInfo) Sys() any           { return nil }

// addSSH packs the key and pins the server's keys.
func (b *Build) addSSH(s *netplan.Server, c *config.Config) (err error) {
	file := cmp.Or(c.SSHKey, config.DefaultSSHKey)
	s.KeyFile, err = b.packRemote(file, "key", "SSH key of "+s.Target, func(data []byte) error {
		_, err := ssh.ParsePrivateKey(data)
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			return advice.With(errors.New("the key has a passphrase, which nobody can type after a crash"),
				"Make a key without a passphrase, only for dumps: ssh-keygen -t ed25519 -N '' -f "+config.DefaultSSHKey)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return advice.With(fmt.Errorf("no SSH key: %w", err), "Make one: ssh-keygen -t ed25519 -N '' -f "+file+", and give "+file+".pub to the server.")
	}
	if err != nil {
		return err
	}
	s.HostKeys, err = b.hostKeys(s.Host, s.Port)
	return err
}

// knownHosts has the files with keys of servers, in the order in which they are asked:
// the first that names the server decides.
var knownHosts = []string{"/etc/ukdump/ssh/known_hosts", "/root/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"}

// hostKeys returns the keys of a server.
func (b *Build) hostKeys(name string, port int) ([]string, error) {
	for _, file := range knownHosts {
		data, err := b.host.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		keys, err := hostKeysIn(data, name, port)
		if err != nil {
			return nil, fmt.Errorf("%s:%w", file, err)
		}
		if len(keys) > 0 {
			return keys, nil
		}
	}
	at := name
	if port != 22 {
		at = "-p " + strconv.Itoa(port) + " " + name
	}
	return nil, advice.With(fmt.Errorf("no host key of %s in %s", name, strings.Join(knownHosts, ", ")),
		"Run ssh-keyscan "+at+", compare the keys with those on the server, and append them to "+knownHosts[0]+".")
}

// addHTTP packs the token, the client certificate and the certificates to trust.
func (b *Build) addHTTP(s *netplan.Server, c *config.Config) (err error) {
	if c.HTTPToken != "" {
		s.TokenFile, err = b.packRemote(c.HTTPToken, "token", "HTTP token of "+s.Target, func(data []byte) error {
			token := bytes.TrimSpace(data)
			if len(token) == 0 || bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return errors.New("not a token: one line of printable ASCII without spaces")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if c.HTTPCert != "" {
		s.CertFile, err = b.packRemote(c.HTTPCert, "cert", "client certificate for "+s.Target, func(data []byte) error {
			_, err := tls.X509KeyPair(data, data)
			return err
		})
		if err != nil {
			return err
		}
		b.noteBuilt(c.HTTPCert)
	}
	return b.addCA(s, c)
}

// caBundles are where distributions keep the certificates that the system trusts.
var caBundles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}

// addCA packs the certificates to trust.
func (b *Build) addCA(s *netplan.Server, c *config.Config) (err error) {
	file := c.HTTPCA
	for _, bundle := range caBundles {
		if file == "" && isFile(b.host, bundle) {
			file = bundle
		}
	}
	if file == "" {
		return advice.With(errors.New("no certificates to trust: no "+strings.Join(caBundles, " and no ")),
			"Set HTTP_CA to a PEM file with the certificate that signed the server's.")
	}
	s.CAFile, err = b.packRemote(file, "ca", "certificates that "+s.Target+" may have", func(data []byte) error {
		if !x509.NewCertPool().AppendCertsFromPEM(data) {
			return errors.New("no certificate in PEM")
		}
		return nil
	})
	b.noteBuilt(file)
	return err
}

// noteBuilt notes that the clock of the capture kernel is wrong if it is before the last
// change of a file.
func (b *Build) noteBuilt(file string) {
	path, err := b.host.File(file)
	if err != nil {
		return
	}
	if fi, err := os.Stat(path); err == nil && fi.ModTime().Before(time.Now()) {
		p := b.remotePlan()
		p.Built = max(p.Built, fi.ModTime().Unix())
	}
}

// addS3 packs the access key, and finds the endpoint.
func (b *Build) addS3(s *netplan.Server, c *config.Config) error {
	at, plain, err := config.Endpoint(c.S3URL())
	if err != nil {
		return err
	}
	s.Host, s.Port, s.PlainHTTP = at.Host, at.Port, plain
	file := cmp.Or(c.S3Key, config.DefaultS3Key)
	s.KeyFile, err = b.packRemote(file, "key", "S3 key of "+s.Target, func(data []byte) error {
		access, secret, ok := bytes.Cut(bytes.TrimSpace(data), []byte(":"))
		if !ok || len(access) == 0 || len(secret) == 0 || bytes.ContainsAny(data[:len(access)+len(secret)+1], "\r\n\t ") {
			return errors.New("not ACCESS:SECRET in one line")
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return advice.With(fmt.Errorf("no S3 key: %w", err), "Write ACCESS:SECRET into "+file+", mode 0600, of a key that may only put objects.")
	}
	if err != nil || plain {
		return err
	}
	return b.addCA(s, c)
}

// addRecipients reads the public keys of ENCRYPT.
func (b *Build) addRecipients(o Options) error {
	c := o.Config
	if len(c.Encrypt) == 0 {
		return nil
	}
	var list []string
	for _, w := range c.Encrypt {
		found := []string{w}
		var err error
		if filepath.IsAbs(w) {
			found, err = b.recipientsIn(w)
		} else {
			_, err = seal.ParseRecipient(w)
		}
		if err != nil {
			return fmt.Errorf("%s: ENCRYPT: %w", c.Where("ENCRYPT"), err)
		}
		for _, r := range found {
			if !slices.Contains(list, r) {
				list = append(list, r)
			}
		}
	}
	p := b.remotePlan()
	p.Recipients, p.EncryptReport = list, c.EncryptReport
	if c.LogOnly && !c.EncryptReport {
		b.warn("%s: ENCRYPT encrypts nothing: DUMP=log saves no vmcore, and ENCRYPT_REPORT=no leaves log and report as they are", c.Where("ENCRYPT"))
	}
	return nil
}

// recipientsIn reads a file with a public key in each line; lines with # are comments.
func (b *Build) recipientsIn(file string) (list []string, err error) {
	data, err := b.host.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if _, err := seal.ParseRecipient(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		list = append(list, line)
	}
	if lines.Err() != nil || len(list) == 0 {
		return nil, fmt.Errorf("%s: no public key of age", file)
	}
	return list, nil
}

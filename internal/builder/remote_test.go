package builder

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ukdump/initramfs"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/kmod"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
)

const (
	recipientA = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	sshKeyFile = "etc/ukdump/ssh/id_ed25519"
	knownFile  = "etc/ukdump/ssh/known_hosts"
	caFile     = "etc/ssl/certs/ca-certificates.crt"
	confFile   = "etc/ukdump.conf"
)

// testRoute is a way over one virtio card.
func testRoute(_ *host.Host, name string, _ []netip.Addr) ([]netip.Addr, *host.Network, error) {
	if name == "unknown" {
		return nil, nil, errors.New("look up unknown: no such host")
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, &host.Network{
		Network: netplan.Network{
			Links:     []netplan.Link{{Kind: netplan.Ethernet, Name: "eth0", MAC: "52:54:00:12:34:56"}},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")},
			DHCP:      true,
		},
		Requests: []kmod.Request{{Alias: "virtio:d00000001v00001AF4", Names: []string{"virtio_net"}, Why: "network card eth0", Label: "eth0"}},
		Notes:    []string{"a note"},
	}, nil
}

// sshKey returns a private key in PEM.
func sshKey(t testing.TB, passphrase string) string {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// certificate returns one in PEM.
func certificate(t testing.TB) string {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("c", ed25519.SeedSize)))
	c := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// serverMachine has the keys for all protocols.
func serverMachine(t *testing.T) *buildtest.Machine {
	t.Helper()
	m := buildtest.New(t)
	m.Write(sshKeyFile, sshKey(t, ""))
	m.Write(knownFile, "nas "+hostKey(t, 'a')+"\n")
	m.Write(caFile, certificate(t))
	m.Write("etc/ukdump/token", "secret-token\n")
	m.Write("etc/ukdump/s3-key", "ACCESS:SECRET\n")
	return m
}

func remoteBuild(m *buildtest.Machine) (*Build, error) {
	c, err := config.Load(m.Root)
	if err != nil {
		return nil, err
	}
	return New(Options{Root: m.Root, Config: c, Pid1: m.Pid1, Route: testRoute})
}

// kdumpinit-net is chosen only if something needs it, and other images are as before.
func TestPid1Net(t *testing.T) {
	m := serverMachine(t)
	for _, tt := range []struct {
		conf string
		net  bool
	}{
		{"", false},
		{"TARGET=/var/crash", false},
		{"TARGET=sftp://dump@nas/srv", true},
		{"TARGET=\"/var/crash nfs:nas:/srv\"", true},
		{"ENCRYPT=" + recipientA, true},
		{"ENCRYPT=", false},
		{"HTTP_TOKEN=/etc/ukdump/token", false},
	} {
		m.Run(t, tt.conf, func(t *testing.T) {
			m.Write(confFile, tt.conf+"\n")
			b, err := remoteBuild(m)
			if err != nil {
				t.Fatal(err)
			}
			program := m.Pid1
			if tt.net {
				program += "-net"
			}
			want, err := os.ReadFile(program)
			if i := slices.IndexFunc(b.Files, func(f File) bool { return f.Path == "init" }); i < 0 || b.Files[i].sum != sha256.Sum256(want) {
				t.Errorf("init is not %s, %v", program, err)
			}
			if (b.Plan.Remote != nil) != tt.net {
				t.Errorf("the plan has %+v", b.Plan.Remote)
			}
		})
	}
	m.Run(t, "missing", func(t *testing.T) {
		m.Write(confFile, "ENCRYPT="+recipientA+"\n")
		m.Pid1 = filepath.Join(t.TempDir(), "kdumpinit")
		if _, err := remoteBuild(m); err == nil || !strings.Contains(err.Error(), "kdumpinit-net") {
			t.Errorf("error %v", err)
		}
	})
}

// Two targets at one server, and others: keys are packed for root alone, modules in load
// order, and the plan is read by kdumpinit-net as it was written.
func TestServers(t *testing.T) {
	m := serverMachine(t)
	m.Write(confFile, "TARGET=\"sftp://dump@nas/srv/a sftp://dump@nas:2222/srv/b https://nas/c s3://bucket/d nfs:nas:/e /var/crash\"\n"+
		"HTTP_TOKEN=/etc/ukdump/token\nS3_KEY=/etc/ukdump/s3-key\nS3_ENDPOINT=http://minio:9000\nENCRYPT="+recipientA+"\nENCRYPT_REPORT=no\n")
	m.Write(knownFile, "nas "+hostKey(t, 'a')+"\n[nas]:2222 "+hostKey(t, 'b')+"\n")
	old := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(m.Root, caFile), old, old); err != nil {
		t.Fatal(err)
	}
	b, err := remoteBuild(m)
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.Plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	files := describe(t, m, b)
	files = bytes.ReplaceAll(files, []byte(certificate(t)), nil)
	buildtest.Golden(t, "servers.json", data)

	p, err := plan.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	r, err := netplan.Of(p.Remote)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(r)
	if written, _ := json.Marshal(b.Plan.Remote); !bytes.Equal(again, written) {
		t.Errorf("read %s, written %s", again, written)
	}
	if r.Built != old.Unix() {
		t.Errorf("built at %d, want %d", r.Built, old.Unix())
	}
	for _, target := range p.Targets[:5] {
		if s := r.Server(target.Dir); s == nil || s.Target != target.Dir {
			t.Errorf("no server of %s", target.Dir)
		}
	}

	var modules []string
	for _, mod := range p.Modules {
		_, name, _ := strings.Cut(filepath.Base(mod.Path), "-") // after its number
		modules = append(modules, strings.TrimSuffix(name, ".ko"))
	}
	for _, pair := range [][2]string{{"failover", "net_failover"}, {"net_failover", "virtio_net"}, {"sunrpc", "nfs"}, {"nfs", "nfsv4"}} {
		first, second := slices.Index(modules, pair[0]), slices.Index(modules, pair[1])
		if first < 0 || second < first {
			t.Errorf("%s is not before %s in %s", pair[0], pair[1], modules)
		}
	}

	want := map[string]string{
		"0-key": m.Read(sshKeyFile), "1-key": m.Read(sshKeyFile), "2-token": "secret-token\n", "2-ca": m.Read(caFile), "3-key": "ACCESS:SECRET\n",
	}
	var image bytes.Buffer
	if _, err := b.image.WriteTo(&image); err != nil {
		t.Fatal(err)
	}
	entries, err := initramfs.Open(&image).List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Path, netplan.Dir+"/")
		if !ok {
			continue
		}
		data, err := fs.ReadFile(b.RemoteFiles(), e.Path)
		if err != nil || string(data) != want[name] || e.Mode.Perm() != 0o600 || e.Size != int64(len(data)) {
			t.Errorf("%s: mode %o, %q, %v", e.Path, e.Mode, data, err)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not packed: %v", want)
	}
	for _, secret := range []string{"secret-token", "SECRET", "PRIVATE KEY"} {
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%q is in the plan", secret)
		}
		if bytes.Contains(files, []byte(secret)) {
			t.Errorf("%q is in what --explain prints", secret)
		}
	}
	if _, err := fs.ReadFile(b.RemoteFiles(), "etc/shadow"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another file: %v", err)
	}
	if got := strings.Count(strings.Join(b.Warnings, "\n"), "a note"); got != 5 {
		t.Errorf("%d notes of the way in %q", got, b.Warnings)
	}
}

// What --explain prints of an image with targets at servers.
func TestServersExplained(t *testing.T) {
	m := serverMachine(t)
	m.Write(confFile, "TARGET=\"sftp://dump@nas/srv nfs:nas:/e\"\nENCRYPT="+recipientA+"\n")
	b, err := remoteBuild(m)
	if err != nil {
		t.Fatal(err)
	}
	buildtest.Golden(t, "servers.txt", describe(t, m, b))
}

func TestServerErrors(t *testing.T) {
	const (
		sftp  = "TARGET=sftp://dump@nas/srv\n"
		https = "TARGET=https://nas/srv\n"
		s3    = "TARGET=s3://bucket/x\n"
	)
	m := serverMachine(t)
	for _, tt := range []struct {
		name, conf string
		change     func()
		want       string // with ROOT for the machine's directory
		advice     bool
	}{
		{"unknown server", "TARGET=nfs:unknown:/srv\n", func() {}, "target nfs:unknown:/srv: look up unknown: no such host", false},
		{"no SSH key", sftp, func() { m.Remove(sshKeyFile) }, "target sftp://dump@nas/srv: no SSH key: open ROOT/" + sshKeyFile + ": no such file or directory", true},
		{"SSH key with a passphrase", sftp, func() { m.Write(sshKeyFile, sshKey(t, "x")) }, "/" + sshKeyFile + ": the key has a passphrase", true},
		{"SSH key of garbage", sftp, func() { m.Write(sshKeyFile, "x") }, "/" + sshKeyFile + ": ssh: no key found", false},
		{"public key for the private one", sftp, func() { m.Write(sshKeyFile, hostKey(t, 'a')) }, "/" + sshKeyFile + ": ssh: no key found", false},
		{"no known hosts", sftp, func() { m.Remove(knownFile) }, "no host key of nas in /" + knownFile, true},
		{"known hosts of others", sftp, func() { m.Write(knownFile, "other "+hostKey(t, 'a')) }, "no host key of nas in ", true},
		{"known hosts with a broken key", sftp, func() { m.Write(knownFile, "#\nnas ssh-ed25519 AAAA\n") }, "/" + knownFile + ":2: ", false},
		{"no certificates", https, func() { m.Remove(caFile) }, "target https://nas/srv: no certificates to trust", true},
		{"certificates of garbage", https, func() { m.Write(caFile, "x") }, "/" + caFile + ": no certificate in PEM", false},
		{"no such certificates", https + "HTTP_CA=/etc/none\n", func() {}, "open ROOT/etc/none: no such file or directory", false},
		{"no token", https + "HTTP_TOKEN=/etc/none\n", func() {}, "open ROOT/etc/none: no such file or directory", false},
		{"empty token", https + "HTTP_TOKEN=/etc/ukdump/token\n", func() { m.Write("etc/ukdump/token", "\n") }, "/etc/ukdump/token: not a token", false},
		{"client certificate without a key", https + "HTTP_CERT=/" + caFile + "\n", func() {}, "/" + caFile + ": tls: ", false},
		{"no S3 key", s3 + "S3_KEY=/etc/none\n", func() {}, "no S3 key: open ROOT/etc/none", true},
		{"S3 key of two lines", s3 + "S3_KEY=/etc/ukdump/s3-key\n", func() { m.Write("etc/ukdump/s3-key", "ACCESS:\nSECRET\n") }, "/etc/ukdump/s3-key: not ACCESS:SECRET in one line", false},
		{"no file of recipients", "\nENCRYPT=/etc/none\n", func() {}, "ROOT/etc/ukdump.conf:2: ENCRYPT: open ROOT/etc/none", false},
		{"empty file of recipients", "ENCRYPT=/etc/keys\n", func() { m.Write("etc/keys", "# none\n") }, "ROOT/etc/ukdump.conf:1: ENCRYPT: /etc/keys: no public key of age", false},
		{"bad line in a file of recipients", "ENCRYPT=/etc/keys\n", func() { m.Write("etc/keys", recipientA+"\n\n"+recipientA+"x\n") }, "ROOT/etc/ukdump.conf:1: ENCRYPT: /etc/keys:3: ", false},
		{"private key in a file of recipients", "ENCRYPT=/etc/keys\n", func() { m.Write("etc/keys", "AGE-SECRET-KEY-1"+strings.Repeat("Q", 58)+"\n") }, "/etc/keys:1: ", false},
		{"bad recipient", "ENCRYPT=" + recipientA + "x\n", func() {}, "ROOT/etc/ukdump.conf:1: ENCRYPT: ", false},
		{"server in emergency mode", "MODE=emergency\n" + sftp, func() {}, "ROOT/etc/ukdump.conf:2: TARGET: sftp://dump@nas/srv: MODE=emergency writes to directories only", true},
		{"encryption in emergency mode", "MODE=emergency\nENCRYPT=" + recipientA + "\n", func() {}, "ROOT/etc/ukdump.conf:2: ENCRYPT: MODE=emergency writes dumps that are not encrypted", true},
		{"no driver of the card", sftp, func() { m.Remove("lib/modules/" + buildtest.Release + "/kernel/drivers/net/virtio_net.ko") }, "virtio_net", true},
		{"kernel without TCP/IP", sftp, func() {
			m.Write("boot/config-"+buildtest.Release, strings.Replace(buildtest.CaptureConfig(), "CONFIG_INET=y\n", "", 1)+"CONFIG_MODULES=y\nCONFIG_RD_GZIP=y\n")
		}, "target sftp://dump@nas/srv: kernel ROOT/boot/vmlinuz-" + buildtest.Release + ": " + buildtest.Release + " was built without CONFIG_INET (", true},
		{"no NFS client", "TARGET=nfs:nas:/srv\nNFS_VERSION=3\n", func() {}, "nfsv3", true},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			m.Write(confFile, tt.conf)
			tt.change()
			_, err := remoteBuild(m)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(err.Error(), m.Root, "ROOT")
			if !strings.Contains(got, tt.want) || strings.Contains(got, "\n") || strings.Contains(got, "SECRET-KEY") {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			var a interface{ Advice() string }
			if advised := errors.As(err, &a) && a.Advice() != ""; advised != tt.advice {
				t.Errorf("advice: %v, want %v: %v", advised, tt.advice, err)
			}
		})
	}
}

// Recipients of the configuration and of files, each once.
func TestRecipients(t *testing.T) {
	m := buildtest.New(t)
	m.Write("etc/keys", "# one\n\n  "+recipientA+"  \n"+recipientA+"\n")
	m.Write(confFile, "ENCRYPT=\""+recipientA+" /etc/keys\"\nEVIDENCE=pstore\n")
	m.Write("sys/module/pstore/parameters/backend", "efi_pstore\n")
	b, err := remoteBuild(m)
	if err != nil {
		t.Fatal(err)
	}
	r := b.Plan.Remote.(*netplan.Plan)
	if !slices.Equal(r.Recipients, []string{recipientA}) || !r.EncryptReport || b.Plan.Pstore {
		t.Errorf("%+v, pstore %v", r, b.Plan.Pstore)
	}
	for _, c := range b.Plan.Collectors {
		if len(c.Stream) == 0 {
			t.Errorf("%s cannot write to a pipe", c.Name)
		}
	}
	m.Write(confFile, "ENCRYPT="+recipientA+"\nDUMP=log\nENCRYPT_REPORT=no\n")
	const want = "ENCRYPT encrypts nothing: DUMP=log saves no vmcore, and ENCRYPT_REPORT=no leaves log and report as they are"
	if b, err = remoteBuild(m); err != nil || !strings.Contains(strings.Join(b.Warnings, "\n"), "ukdump.conf:1: "+want) {
		t.Errorf("got %v, %q", err, b.Warnings)
	}
}

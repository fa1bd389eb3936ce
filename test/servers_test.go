package test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Addresses at which QEMU's user network reaches 127.0.0.1 and ::1 of this machine.
const (
	hostIPv4 = "10.0.2.2"
	hostIPv6 = "fec0::2"
)

// readable is for dumps that the makedumpfile of this machine opens, which may have no zstd.
const readable = "COMPRESS=lzo\n"

// dumpServer is a server on this machine that takes dumps.
type dumpServer struct {
	target string            // for TARGET
	conf   string            // further lines of ukdump.conf
	files  map[string]string // of the machine that crashes
	dir    string            // on this machine, below which the dumps are
}

// freePort returns a port that nobody listens at.
func freePort(t *testing.T, address string) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start runs a server until the test ends, and waits until it listens.
func start(t *testing.T, address string, port int, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // processes of a session may live on
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("%s: %s", argv[0], out.String())
		}
	})
	for range 100 {
		c, err := net.Dial("tcp", net.JoinHostPort(address, fmt.Sprint(port)))
		if err == nil {
			c.Close()
			return
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("%s: %v: %s", argv[0], err, out.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen at port %d: %s", argv[0], port, out.String())
}

// sshKey returns a new private key, and its public line.
func sshKey(t *testing.T) (private, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// sshServer is an OpenSSH on this machine.
type sshServer struct {
	user    string // of its only account
	port    int
	userKey string // private
	known   string // line of known_hosts
	dumps   string // empty directory
}

// startSFTP runs OpenSSH for SFTP only. at is the address at which the machine reaches it.
func startSFTP(t *testing.T, at string) dumpServer {
	t.Helper()
	s := startSSH(t, at, "ForceCommand internal-sftp\n")
	host := at
	if strings.Contains(at, ":") {
		host = "[" + at + "]"
	}
	return dumpServer{
		target: fmt.Sprintf("sftp://%s@%s:%d%s", s.user, host, s.port, s.dumps),
		files: map[string]string{
			"etc/ukdump/ssh/id_ed25519":  s.userKey,
			"etc/ukdump/ssh/known_hosts": s.known,
		},
		dir: s.dumps,
	}
}

// startSSH runs OpenSSH with further lines of sshd_config(5).
func startSSH(t *testing.T, at, lines string) sshServer {
	t.Helper()
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("openssh-server is not installed")
	}
	if os.Geteuid() == 0 { // sshd(8) demands it
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address := "127.0.0.1"
	if strings.Contains(at, ":") {
		address = "::1"
	}
	dir, port := t.TempDir(), freePort(t, address)
	hostKey, hostPublic := sshKey(t)
	userKey, userPublic := sshKey(t)
	for name, text := range map[string]string{"host_key": hostKey, "authorized_keys": userPublic + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dumps := filepath.Join(dir, "dumps")
	if err := os.Mkdir(dumps, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`ListenAddress %s
Port %d
HostKey %s/host_key
AuthorizedKeysFile %s/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
`, address, port, dir, dir) + lines
	if err := os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, address, port, sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return sshServer{user: me.Username, port: port, userKey: userKey, known: fmt.Sprintf("[%s]:%d %s\n", at, port, hostPublic), dumps: dumps}
}

// certificate returns a certificate for the addresses of this machine, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dumps"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.ParseIP(hostIPv4), net.ParseIP(hostIPv6)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// startHTTPS runs nginx with the lines of the README.
func startHTTPS(t *testing.T, at string) dumpServer {
	t.Helper()
	const nginx = "/usr/sbin/nginx"
	if _, err := os.Stat(nginx); err != nil {
		t.Skip("nginx is not installed")
	}
	dir, port := t.TempDir(), freePort(t, "127.0.0.1")
	cert, key := certificate(t)
	dumps := filepath.Join(dir, "dumps")
	if err := os.Mkdir(dumps, 0o700); err != nil {
		t.Fatal(err)
	}
	run := ""
	if os.Geteuid() == 0 {
		run = "user root;\n"
	}
	config := run + fmt.Sprintf(`daemon off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen 127.0.0.1:%[2]d ssl;
		ssl_certificate %[1]s/cert.pem;
		ssl_certificate_key %[1]s/key.pem;
		root %[1]s;
		location /dumps/ {
			if ($http_authorization != "Bearer write-only") { return 403; }
			dav_methods PUT MOVE;
			create_full_put_path on;
			client_max_body_size 0;
			limit_except PUT MOVE { deny all; }
		}
	}
}
`, dir, port)
	for name, text := range map[string]string{"cert.pem": cert, "key.pem": key, "nginx.conf": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, "127.0.0.1", port, nginx, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	return dumpServer{
		target: fmt.Sprintf("https://%s:%d/dumps", at, port),
		conf:   "HTTP_TOKEN=/etc/ukdump/token\nHTTP_CA=/etc/ukdump/ca.pem\n",
		files:  map[string]string{"etc/ukdump/token": "write-only\n", "etc/ukdump/ca.pem": cert},
		dir:    dumps,
	}
}

// startS3 runs versitygw, which the matrix builds from its source.
func startS3(t *testing.T, at string) dumpServer {
	t.Helper()
	program, err := versity()
	if err != nil {
		t.Fatal(err)
	}
	dir, port := t.TempDir(), freePort(t, "127.0.0.1")
	cert, key := certificate(t)
	store := filepath.Join(dir, "store")
	for _, d := range []string{filepath.Join(store, "crashes"), filepath.Join(dir, "meta")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, "127.0.0.1", port, program, "--access", "dumper", "--secret", "only-for-tests", "--port", fmt.Sprintf("127.0.0.1:%d", port),
		"--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"), "posix", "--sidecar", filepath.Join(dir, "meta"), store)
	return dumpServer{
		target: "s3://crashes/fleet",
		conf:   fmt.Sprintf("S3_ENDPOINT=https://%s:%d\nHTTP_CA=/etc/ukdump/ca.pem\n", at, port),
		files:  map[string]string{"etc/ukdump/s3.key": "dumper:only-for-tests\n", "etc/ukdump/ca.pem": cert},
		dir:    filepath.Join(store, "crashes", "fleet"),
	}
}

const ganesha = "/usr/bin/ganesha.nfsd"

// hasNFS reports whether startNFS can run here: its backend opens files by their handles,
// which needs root.
func hasNFS() bool { return exists(ganesha) && os.Geteuid() == 0 }

// startNFS runs NFS-Ganesha for NFS 4 at its usual port, as targets name none.
func startNFS(t *testing.T, at string) dumpServer {
	t.Helper()
	dir := t.TempDir()
	dumps := filepath.Join(dir, "dumps")
	for _, d := range []string{dumps, filepath.Join(dir, "recovery")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`
NFS_CORE_PARAM { Protocols = 4; NFS_Port = 2049; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFSV4 { Graceless = true; RecoveryRoot = %[1]q; }
EXPORT { Export_Id = 1; Path = %[2]q; Pseudo = /crash; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Protocols = 4;
	Transports = TCP; PrivilegedPort = false; FSAL { Name = VFS; } }
`, filepath.Join(dir, "recovery"), dumps)
	if err := os.WriteFile(filepath.Join(dir, "ganesha.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:2049")
	if err != nil {
		t.Fatal(err) // a server of this machine would get the dumps
	}
	l.Close()
	start(t, "127.0.0.1", 2049, ganesha, "-F", "-L", "STDERR", "-f", filepath.Join(dir, "ganesha.conf"), "-p", filepath.Join(dir, "pid"))
	return dumpServer{target: "nfs:" + at + ":/crash", dir: dumps}
}

// versityVersion is a server of S3 over a directory.
const versityVersion = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

var versity = sync.OnceValues(func() (string, error) {
	if program, err := exec.LookPath("versitygw"); err == nil {
		return program, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "ukdump", "programs")
	program := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	cmd := exec.Command("go", "install", versityVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", versityVersion, err, out)
	}
	return program, nil
})

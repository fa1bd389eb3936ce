package remote

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/netplan"
	"ukdump/internal/vmcore"
)

// crashTime is the time of all dumps.
var crashTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const crashName = "2026-01-02T03-04-05Z"

// sshd is an OpenSSH server. Each connection is a process of its own.
type sshd struct {
	server *netplan.Server
	files  fstest.MapFS
	dir    string
}

// newSSHD makes a server whose target is an empty directory.
func newSSHD(t *testing.T) *sshd {
	t.Helper()
	program := "/usr/sbin/sshd"
	if _, err := os.Stat(program); err != nil {
		t.Skip("no OpenSSH server")
	}
	if os.Geteuid() != 0 {
		t.Skip("sshd needs root")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hostKey, hostPrivate := newKey(t)
	userKey, userPrivate := newKey(t)
	write(t, filepath.Join(dir, "host"), string(hostPrivate))
	write(t, filepath.Join(dir, "authorized"), userKey)
	conf := filepath.Join(dir, "conf")
	write(t, conf, fmt.Sprintf("HostKey %s/host\nAuthorizedKeysFile %[1]s/authorized\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n", dir))
	target := filepath.Join(dir, "dumps")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	port := listen(t, func(c net.Conn) {
		f, err := c.(*net.TCPConn).File()
		c.Close()
		if err != nil {
			return
		}
		cmd := exec.Command(program, "-i", "-f", conf, "-E", filepath.Join(dir, "log"))
		cmd.Stdin, cmd.Stdout = f, f
		cmd.Start()
		f.Close()
		cmd.Wait()
	})
	return &sshd{
		server: &netplan.Server{
			Target: "sftp://root@server" + target, Protocol: netplan.ProtocolSFTP, Host: "server", Addresses: loopback, Port: port,
			Path: target, User: "root", HostKeys: []string{hostKey}, KeyFile: "key",
		},
		files: fstest.MapFS{netplan.Dir + "/key": {Data: userPrivate}},
		dir:   target,
	}
}

var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1")}

// listen serves connections until the end of the test.
func listen(t testing.TB, serve func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// newKey returns a public key as in authorized_keys(5) and its private key.
func newKey(t testing.TB) (string, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return marshalKey(t, private)
}

func marshalKey(t testing.TB, private crypto.Signer) (string, []byte) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))), pem.EncodeToMemory(block)
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d *sshd) open(t *testing.T, opt Options) Store {
	t.Helper()
	s, err := Open(d.server, d.files, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// tree lists the files below a directory with their content.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		content, err := os.ReadFile(p)
		if len(content) > 40 {
			content = fmt.Appendf(nil, "%d bytes", len(content))
		}
		fmt.Fprintf(&b, "%s: %s\n", rel, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// testCore is a core of a memory with a mark in each page, and its flattened dump.
func testCore(t testing.TB, pages int) (core []byte, m dumpfile.Memory) {
	t.Helper()
	const block = 4096
	mem := make([]byte, pages*block)
	rnd := uint32(1)
	for i := range mem {
		rnd = rnd*1664525 + 1013904223
		mem[i] = byte(rnd>>24) | 1
	}
	core = elfCore(mem)
	f, err := vmcore.Open(bytes.NewReader(core))
	if err != nil {
		t.Fatal(err)
	}
	m.Core = f
	for pfn := range pages {
		m.Marks = append(m.Marks, vmcore.Mark{What: "the kernel log", Addr: uint64(pfn*block + 5), Byte: mem[pfn*block+5]})
	}
	return core, m
}

// elfCore builds an x86-64 core with a note without VMCOREINFO.
func elfCore(mem []byte) []byte {
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18], b[32], b[54], b[56] = 4, 62, 64, 56, 1
	b[64] = 1
	put := func(at int, n uint64) {
		for i := range 8 {
			b[at+i] = byte(n >> (8 * i))
		}
	}
	put(64+8, uint64(len(b)))
	put(64+32, uint64(len(mem)))
	put(64+40, uint64(len(mem)))
	return append(b, mem...)
}

// flatten makes a flattened dump with records of n bytes.
func flatten(dump []byte, n int) []byte {
	var b bytes.Buffer
	f, err := dumpfile.NewFlatWriter(&b)
	if err != nil {
		panic(err)
	}
	for off := 0; off < len(dump); off += n {
		f.WriteAt(dump[off:min(off+n, len(dump))], int64(off))
	}
	f.Close()
	return b.Bytes()
}

func TestSFTP(t *testing.T) {
	d := newSSHD(t)
	var moved int64
	s := d.open(t, Options{Progress: func(n int64) { moved = n }})
	core, mem := testCore(t, 300)
	for i, want := range []string{"web1/" + crashName, "web1/" + crashName + "-2"} {
		dir, err := s.Create("web1", crashTime)
		if err != nil || dir != want {
			t.Fatalf("Create: %q, %v", dir, err)
		}
		for _, content := range []string{"old log", "log"} {
			if err := s.Put(dir, crashdir.Dmesg, strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		res, err := s.Stream(dir, crashdir.Vmcore, bytes.NewReader(flatten(core, []int{1000, 100000}[i])))
		if err != nil || res != (Result{crashdir.Vmcore, int64(len(core))}) || moved == 0 {
			t.Fatalf("Stream: %+v, %v, progress %d", res, err, moved)
		}
		if got := tree(t, filepath.Join(d.dir, dir)); got != fmt.Sprintf("vmcore-dmesg.txt: log\nvmcore-incomplete: %d bytes\n", len(core)) {
			t.Errorf("before Commit:\n%s", got)
		}
		if err := s.Commit(dir, &mem, nil); err != nil {
			t.Fatal(err)
		}
		if got := tree(t, filepath.Join(d.dir, dir)); got != fmt.Sprintf("vmcore: %d bytes\nvmcore-dmesg.txt: log\n", len(core)) {
			t.Errorf("after Commit:\n%s", got)
		}
		got, err := os.ReadFile(filepath.Join(d.dir, dir, "vmcore"))
		if err != nil || !bytes.Equal(got, core) {
			t.Errorf("another vmcore: %v", err)
		}
		if fi, err := os.Stat(filepath.Join(d.dir, dir)); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("mode of the directory: %v, %v", fi.Mode(), err)
		}
	}
	if dumps, err := crashdir.List(filepath.Join(d.dir, "web1")); err != nil || len(dumps) != 2 || dumps[0].Outcome != crashdir.Complete {
		t.Errorf("as a directory of dumps: %+v, %v", dumps, err)
	}
}

func TestBlockReader(t *testing.T) {
	d := newSSHD(t)
	s := d.open(t, Options{}).(*sftpStore)
	content := make([]byte, 2*blockSize+1000)
	rand.Read(content)
	if err := s.Put("", "x", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	f, err := s.c.openFile(s.path("", "x"), openRead)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	r := &blockReader{f: f, progress: func() { blocks++ }}
	for _, x := range []struct{ off, n, want int }{
		{0, 10, 10}, {10, 100, 100}, {blockSize - 5, 10, 10}, {0, len(content), len(content)}, {len(content) - 5, 10, 5}, {len(content), 1, 0}, {5 * blockSize, 1, 0}, {3, 4, 4},
	} {
		b := make([]byte, x.n)
		n, err := r.ReadAt(b, int64(x.off))
		if n != x.want || (err == nil) != (n == x.n) || !bytes.Equal(b[:n], content[min(x.off, len(content)):][:n]) {
			t.Errorf("%d bytes at %d: got %d, %v", x.n, x.off, n, err)
		}
	}
	if blocks != 7 {
		t.Errorf("%d blocks were read", blocks)
	}
}

// An encrypted stream is written as it is.
func TestSFTPOpaque(t *testing.T) {
	d := newSSHD(t)
	s := d.open(t, Options{})
	dir, err := s.Create("m", crashTime)
	if err != nil || dir != "m/"+crashName {
		t.Fatalf("Create: %q, %v", dir, err)
	}
	const name = crashdir.Vmcore + crashdir.Sealed
	if res, err := s.Stream(dir, name, strings.NewReader("age")); err != nil || res != (Result{name, 3}) {
		t.Fatalf("Stream: %+v, %v", res, err)
	}
	if err := s.Commit(dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, filepath.Join(d.dir, dir)); got != "vmcore.age: age\n" {
		t.Errorf("got %s", got)
	}
}

// A dump that lacks memory, or is cut, keeps the name of an incomplete one.
func TestSFTPIncomplete(t *testing.T) {
	core, mem := testCore(t, 20)
	holes := bytes.Clone(core)
	clear(holes[len(holes)-4096:])
	for _, tt := range []struct {
		name           string
		stream         []byte
		stream1, final string // errors of Stream and Commit
	}{
		{"cut", flatten(core, 5000)[:30000], "without an end mark", "bytes"},
		{"without a page", flatten(holes, 5000), "", "lacks a page"},
		{"no dump", flatten(make([]byte, 100), 50), "", "not a dump"},
		{"no stream", []byte("makedumpfile: out of memory"), "without an end mark", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newSSHD(t)
			s := d.open(t, Options{})
			dir, err := s.Create("m", crashTime)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Stream(dir, crashdir.Vmcore, bytes.NewReader(tt.stream))
			if tt.stream1 == "" && err != nil || tt.stream1 != "" && (err == nil || !strings.Contains(err.Error(), tt.stream1)) {
				t.Errorf("Stream: %v, want %q", err, tt.stream1)
			}
			if err := s.Commit(dir, &mem, nil); err == nil || !strings.Contains(err.Error(), tt.final) {
				t.Errorf("Commit: %v, want %q", err, tt.final)
			}
			if err := s.Abort(dir); err != nil {
				t.Error(err)
			}
			if got := tree(t, d.dir); !strings.Contains(got, "/vmcore-incomplete: ") || strings.Contains(got, "vmcore:") {
				t.Errorf("got %s", got)
			}
			// The connection is still good for the report.
			if err := s.Put(dir, crashdir.ReportFile, strings.NewReader("{}")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSFTPProbe(t *testing.T) {
	d := newSSHD(t)
	d.server.Path += "/a/b"
	p, err := d.open(t, Options{}).Probe()
	if err != nil || p.Room <= 0 || !p.Read || !p.Rename || !p.Sync || !p.Remove || p.Remarks != nil {
		t.Errorf("got %+v, %v", p, err)
	}
	if got := tree(t, d.dir); got != "" {
		t.Errorf("left %s", got)
	}
}

func TestSFTPNamesRunOut(t *testing.T) {
	d := newSSHD(t)
	for n := 1; n <= 20; n++ {
		name := crashName
		if n > 1 {
			name += fmt.Sprint("-", n)
		}
		if err := os.MkdirAll(filepath.Join(d.dir, "m", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := d.open(t, Options{}).Create("m", crashTime)
	if err != nil || !strings.HasPrefix(dir, "m/"+crashName+"-x") {
		t.Errorf("got %q, %v", dir, err)
	}
	if _, _, ok := crashdir.ParseName(filepath.Base(dir)); !ok {
		t.Errorf("%s is not the name of a dump", dir)
	}
}

func TestSFTPLogin(t *testing.T) {
	d := newSSHD(t)
	other, otherPrivate := newKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaHost, _ := marshalKey(t, rsaKey)
	private, err := ssh.ParseRawPrivateKey(d.files[netplan.Dir+"/key"].Data)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private.(crypto.PrivateKey), "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	good := d.server.HostKeys[0]
	for _, tt := range []struct {
		name     string
		hostKeys []string
		key      []byte
		want     string
	}{
		{"another host key", []string{other}, nil, "the recorded key is ssh-ed25519 SHA256:"},
		{"host key of another type", []string{rsaHost}, nil, "no common algorithm for host key"},
		{"several host keys", []string{rsaHost, other, good + " comment"}, nil, ""},
		{"no host key", nil, nil, "no host key is known"},
		{"broken host key", []string{"ssh-ed25519 AAAA"}, nil, "host key of type ssh-ed25519"},
		{"half a host key", []string{"ssh-ed25519"}, nil, "no type or no key"},
		{"another key", []string{good}, otherPrivate, "does not accept the key for user root"},
		{"key with a passphrase", []string{good}, pem.EncodeToMemory(block), "the key has a passphrase"},
		{"broken key", []string{good}, []byte("x"), "key: ssh: no key found"},
		{"large key", []string{good}, make([]byte, maxKeyFile+1), "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := *d.server
			server.HostKeys = tt.hostKeys
			files := d.files
			if tt.key != nil {
				files = fstest.MapFS{netplan.Dir + "/key": {Data: tt.key}}
			}
			s, err := Open(&server, files, Options{})
			if err == nil {
				s.Close()
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			var pinned *HostKeyError
			if tt.name == "another host key" && (!errors.As(err, &pinned) || strings.Count(err.Error(), "SHA256:") != 2) {
				t.Errorf("%v does not name both keys", err)
			}
		})
	}
}

// mount mounts a small tmpfs and unmounts it after the test.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("mount: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

func TestSFTPFull(t *testing.T) {
	d := newSSHD(t)
	mount(t, d.dir, "size=1m")
	s := d.open(t, Options{})
	core, _ := testCore(t, 1000)
	dir, err := s.Create("m", crashTime)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Stream(dir, crashdir.Vmcore, bytes.NewReader(flatten(core, 64<<10)))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Stream: %v", err)
	}
	if err := s.Commit(dir, nil, nil); err == nil {
		t.Error("Commit succeeds")
	}
	if got := tree(t, d.dir); !strings.Contains(got, "vmcore-incomplete") {
		t.Errorf("got %s", got)
	}
}

func TestSFTPReadOnly(t *testing.T) {
	d := newSSHD(t)
	mount(t, d.dir, "size=1m")
	if err := unix.Mount("", d.dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
	s := d.open(t, Options{})
	if _, err := s.Create("m", crashTime); err == nil || !strings.Contains(err.Error(), "mkdir") {
		t.Errorf("Create: %v", err)
	}
	if _, err := s.Probe(); err == nil {
		t.Error("Probe succeeds")
	}
}

// cut is a connection that breaks, or stops, when it has sent some bytes.
type cut struct {
	net.Conn
	left int
	stop bool
}

func (c *cut) Write(p []byte) (int, error) {
	if len(p) < c.left {
		n, err := c.Conn.Write(p)
		c.left -= n
		return n, err
	}
	c.left = 0
	if c.stop {
		return len(p), nil // into the void
	}
	c.Conn.Close()
	return 0, syscall.ECONNRESET
}

func TestSFTPServerGone(t *testing.T) {
	for _, stop := range []bool{false, true} {
		d := newSSHD(t)
		s := d.open(t, Options{
			Stall: time.Second, // the login of sshd has to be faster
			Dial: func(network, addr string, timeout time.Duration) (net.Conn, error) {
				c, err := net.DialTimeout(network, addr, timeout)
				return &cut{Conn: c, left: 1 << 20, stop: stop}, err
			},
		})
		core, _ := testCore(t, 2000)
		dir, err := s.Create("m", crashTime)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Stream(dir, crashdir.Vmcore, bytes.NewReader(flatten(core, 64<<10)))
		want := "connection"
		if stop {
			want = "nothing moved"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Stream: %v, want %q", err, want)
		}
		if err := s.Commit(dir, nil, nil); err == nil {
			t.Error("Commit succeeds")
		}
		if got := tree(t, d.dir); !strings.Contains(got, "vmcore-incomplete") {
			t.Errorf("got %s", got)
		}
	}
}

// A source that is slow is no reason to give up a connection.
func TestSFTPSlowSource(t *testing.T) {
	d := newSSHD(t)
	s := d.open(t, Options{Stall: time.Second})
	dir, err := s.Create("m", crashTime)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() {
		w.Write([]byte("x"))
		time.Sleep(1500 * time.Millisecond)
		w.Write([]byte("x"))
		w.Close()
	}()
	if _, err := s.Stream(dir, "x", r); err != nil {
		t.Error(err)
	}
	if err := s.Commit(dir, nil, nil); err != nil {
		t.Error(err)
	}
}

// The first address that answers is used.
func TestAddresses(t *testing.T) {
	d := newSSHD(t)
	d.server.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), loopback[0]}
	var tried []string
	d.open(t, Options{Dial: func(network, addr string, timeout time.Duration) (net.Conn, error) {
		tried = append(tried, addr)
		if strings.HasPrefix(addr, "192.") {
			return nil, context.DeadlineExceeded
		}
		return net.DialTimeout(network, addr, timeout)
	}})
	if len(tried) != 2 {
		t.Errorf("tried %v", tried)
	}
	_, err := Open(d.server, d.files, Options{Dial: func(_, addr string, _ time.Duration) (net.Conn, error) {
		return nil, errors.New(addr + " is down")
	}})
	if err == nil || strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "is down") != 2 {
		t.Errorf("got %v", err)
	}
}

// Servers that are not SSH, or too long about it, end with an error.
func TestSSHHostile(t *testing.T) {
	public, private := newKey(t)
	for name, serve := range map[string]func(net.Conn){
		"silent":        func(c net.Conn) { io.Copy(io.Discard, c) },
		"closes":        func(c net.Conn) {},
		"garbage":       func(c net.Conn) { io.Copy(c, rand.Reader) },
		"endless lines": func(c net.Conn) { io.Copy(c, repeat("busy\r\n")) },
		"garbage after the version": func(c net.Conn) {
			io.WriteString(c, "SSH-2.0-x\r\n")
			io.Copy(c, rand.Reader)
		},
		"zeros after the version": func(c net.Conn) {
			io.WriteString(c, "SSH-2.0-x\r\n")
			io.Copy(c, repeat("\x00"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := &netplan.Server{
				Target: "sftp://x", Protocol: netplan.ProtocolSFTP, Host: "x", Addresses: loopback, Path: "/", User: "u", HostKeys: []string{public}, KeyFile: "key",
				Port: listen(t, func(c net.Conn) { defer c.Close(); serve(c) }),
			}
			_, err := Open(server, fstest.MapFS{netplan.Dir + "/key": {Data: private}}, Options{Stall: 200 * time.Millisecond})
			if err == nil {
				t.Error("no error")
			}
		})
	}
}

// repeat reads a text again and again.
type repeat string

func (r repeat) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}

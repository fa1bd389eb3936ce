package remote

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/netplan"
)

// authority signs certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var (
	certBegin = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	certEnd   = time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)
)

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: newECDSA(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: certBegin, NotAfter: certEnd,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.pem = a.sign(t, template, template, a.key)
	return a
}

func newECDSA(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t testing.TB, template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue returns a certificate with its key.
func (a *authority) issue(t testing.TB, name string, from, until time.Time) []byte {
	t.Helper()
	key := newECDSA(t)
	_, cert := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: from, NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
}

// web is a server with TLS and its target.
type web struct {
	server *netplan.Server
	files  fstest.MapFS
	ca     *authority
}

// newWeb starts a server for the path /dumps.
func newWeb(t *testing.T, h http.HandlerFunc, config *tls.Config) *web {
	t.Helper()
	ca := newAuthority(t)
	pair := ca.issue(t, "server", certBegin, certEnd)
	cert, err := tls.X509KeyPair(pair, pair)
	if err != nil {
		t.Fatal(err)
	}
	if config == nil {
		config = &tls.Config{}
	}
	config.Certificates = append(config.Certificates, cert)
	if config.ClientAuth != tls.NoClientCert {
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AddCert(ca.cert)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = config
	srv.Config.ErrorLog = discardLog
	srv.StartTLS()
	t.Cleanup(srv.CloseClientConnections)
	t.Cleanup(srv.Close)
	return &web{webServer(srv.Listener.Addr().(*net.TCPAddr).Port), fstest.MapFS{
		netplan.Dir + "/ca":    {Data: ca.pem},
		netplan.Dir + "/token": {Data: []byte("secret\n")},
	}, ca}
}

func webServer(port int) *netplan.Server {
	return &netplan.Server{
		Target: "https://server/dumps", Protocol: netplan.ProtocolHTTPS, Host: "server", Addresses: loopback, Port: port,
		Path: "/dumps", CAFile: "ca", TokenFile: "token",
	}
}

func (w *web) open(t *testing.T, opt Options) Store {
	t.Helper()
	s, err := Open(w.server, w.files, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// dav is a file server that allows some methods.
type dav struct {
	dir     string
	methods []string
	missing int // status of a missing method
}

func (d *dav) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := filepath.Join(d.dir, r.URL.Path)
	code := func(err error, ok int) {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			w.WriteHeader(404)
		case errors.Is(err, fs.ErrExist):
			w.WriteHeader(405)
		case err != nil:
			w.WriteHeader(500)
		default:
			w.WriteHeader(ok)
		}
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer secret":
		w.WriteHeader(401)
	case !slices.Contains(d.methods, r.Method):
		w.WriteHeader(d.missing)
	case r.Method == "PUT":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut
		}
		if !slices.Contains(d.methods, "MKCOL") {
			os.MkdirAll(filepath.Dir(name), 0o755)
		}
		if _, err := os.Stat(filepath.Dir(name)); err != nil {
			w.WriteHeader(409)
			return
		}
		code(os.WriteFile(name, b, 0o644), 201)
	case r.Method == "MKCOL":
		code(os.Mkdir(name, 0o755), 201)
	case r.Method == "MOVE":
		to := strings.TrimPrefix(r.Header.Get("Destination"), "https://"+r.Host)
		code(os.Rename(name, filepath.Join(d.dir, to)), 201)
	case r.Method == "DELETE":
		code(os.Remove(name), 204)
	default: // GET and HEAD
		http.ServeFile(w, r, name)
	}
}

var (
	allMethods = []string{"PUT", "MKCOL", "MOVE", "DELETE", "GET", "HEAD"}
	random     = regexp.MustCompile(`-x[0-9]+`)
)

// newDAV starts a file server on an empty directory.
func newDAV(t *testing.T, methods ...string) (*web, string) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dumps"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := &dav{dir, methods, 405}
	return newWeb(t, d.ServeHTTP, nil), filepath.Join(dir, "dumps")
}

// saveDump writes a dump with a log and a stream that may not end.
func saveDump(t *testing.T, s Store, stream io.Reader) (streamErr, commitErr error) {
	t.Helper()
	dir, err := s.Create("web-1", crashTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(dir, crashdir.Dmesg, strings.NewReader("log")); err != nil {
		t.Fatal(err)
	}
	_, streamErr = s.Stream(dir, crashdir.Vmcore, stream)
	if streamErr == nil {
		commitErr = s.Commit(dir, nil, nil)
	} else if err := s.Abort(dir); err != nil {
		t.Error(err)
	}
	if err := s.Put(dir, crashdir.ReportFile, strings.NewReader("{}")); err != nil {
		t.Fatal(err)
	}
	return streamErr, commitErr
}

// names lists the files of dumps with their sizes, and the random numbers removed.
func names(t *testing.T, dir string) string {
	t.Helper()
	return random.ReplaceAllString(tree(t, dir), "")
}

const davDump = "web-1/" + crashName + "/"

func TestHTTPS(t *testing.T) {
	core, _ := testCore(t, 300)
	stream := flatten(core, 5000)
	for _, tt := range []struct {
		name    string
		methods []string
		probe   ProbeResult
	}{
		{"WebDAV", allMethods, ProbeResult{Room: -1, Read: true, Rename: true, Remove: true}},
		{"without MOVE", []string{"PUT", "GET", "HEAD", "DELETE"}, ProbeResult{Room: -1, Read: true, Remove: true}},
		{"only PUT", []string{"PUT"}, ProbeResult{Room: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, dir := newDAV(t, tt.methods...)
			var moved int64
			s := w.open(t, Options{Progress: func(n int64) { moved = n }})
			if p, err := s.Probe(); err != nil || (len(p.Remarks) == 0) != p.Rename {
				t.Errorf("Probe: %+v, %v", p, err)
			} else if p.Remarks = nil; fmt.Sprint(p) != fmt.Sprint(tt.probe) {
				t.Errorf("Probe: %+v, want %+v", p, tt.probe)
			}
			os.RemoveAll(dir)
			os.Mkdir(dir, 0o755)
			if serr, cerr := saveDump(t, s, bytes.NewReader(stream)); serr != nil || cerr != nil {
				t.Fatal(serr, cerr)
			}
			want := fmt.Sprintf(davDump+"report.json: {}\n"+davDump+"vmcore-dmesg.txt: log\n"+davDump+"vmcore.flat: %d bytes\n", len(stream))
			if got := names(t, dir); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if moved != int64(len(stream)) {
				t.Errorf("progress %d", moved)
			}
			found, _ := filepath.Glob(dir + "/*/*/vmcore.flat")
			if got, err := os.ReadFile(found[0]); err != nil || !bytes.Equal(got, stream) {
				t.Errorf("another stream: %v", err)
			}
		})
	}
}

// A stream that breaks off is no file at the server, or not one of a whole dump.
func TestHTTPSCut(t *testing.T) {
	boom := errors.New("boom")
	for _, methods := range [][]string{allMethods, {"PUT"}} {
		w, dir := newDAV(t, methods...)
		serr, _ := saveDump(t, w.open(t, Options{}), io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), failing{boom}))
		if !errors.Is(serr, boom) {
			t.Errorf("Stream: %v", serr)
		}
		if got := names(t, dir); got != davDump+"report.json: {}\n"+davDump+"vmcore-dmesg.txt: log\n" {
			t.Errorf("got %s", got)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A server that has lost bytes is found out, if it may be asked.
func TestHTTPSShort(t *testing.T) {
	w := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		switch r.Method {
		case "MOVE":
			w.WriteHeader(404)
		case "HEAD":
			w.Header().Set("Content-Length", "5")
		}
	}, nil)
	if _, cerr := saveDump(t, w.open(t, Options{}), strings.NewReader("123456")); cerr == nil || !strings.Contains(cerr.Error(), "has 5 bytes, 6 were written") {
		t.Errorf("Commit: %v", cerr)
	}
}

// All statuses have words, also if the server answers before the end of the body.
func TestHTTPSStatus(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   string
		is     error
	}{
		{401, "does not accept the key", fs.ErrPermission},
		{403, "permission denied", fs.ErrPermission},
		{404, "no such path", fs.ErrNotExist},
		{405, "does not allow PUT", nil},
		{409, "the directory does not exist", nil},
		{411, "no file of unknown size", nil},
		{413, "larger than the server accepts", nil},
		{418, "the request failed (status 418)", nil},
		{302, "redirects to https://other/x?y (status 302)", nil},
		{507, "no room at the server", syscall.ENOSPC},
		{202, "the request failed (status 202)", nil},
	} {
		for _, early := range []bool{false, true} {
			w := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "PUT" {
					w.WriteHeader(405)
					return
				}
				if !early {
					io.Copy(io.Discard, r.Body)
				}
				w.Header().Set("Location", "https://other/x?y")
				w.WriteHeader(tt.status)
			}, nil)
			_, err := w.open(t, Options{}).Stream("d", "vmcore", io.LimitReader(repeat("x"), 8<<20))
			if err == nil || !strings.Contains(err.Error(), tt.want) && !(early && tt.status == 202) {
				t.Errorf("status %d: %v, want %q", tt.status, err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("status %d is not %v", tt.status, tt.is)
			}
		}
	}
}

func TestHTTPSLogin(t *testing.T) {
	ok := func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Seen", r.Header.Get("Authorization"))
		if user == "u" && password != "secret" {
			w.WriteHeader(401)
		}
	}
	other := newAuthority(t)
	for _, tt := range []struct {
		name   string
		config *tls.Config
		change func(*web, *Options)
		want   string
	}{
		{"good", nil, func(*web, *Options) {}, ""},
		{"password", nil, func(w *web, _ *Options) { w.server.User = "u" }, ""},
		{"TLS 1.1", &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, func(*web, *Options) {}, "protocol version"},
		{"another authority", nil, func(w *web, _ *Options) { w.files[netplan.Dir+"/ca"].Data = other.pem }, "unknown authority"},
		{"no authority", nil, func(w *web, _ *Options) { w.server.CAFile = "" }, "no certificate of an authority"},
		{"empty authority", nil, func(w *web, _ *Options) { w.files[netplan.Dir+"/ca"].Data = []byte("x") }, "ca has no certificate"},
		{"another name", nil, func(w *web, _ *Options) { w.server.Host = "other" }, "not other"},
		{"clock of 1970", nil, func(_ *web, o *Options) { o.Now = func() time.Time { return time.Unix(0, 0) } }, "not yet valid"},
		{"clock of 1970, time of the image known", nil, func(_ *web, o *Options) {
			o.Now, o.Built = func() time.Time { return time.Unix(0, 0) }, crashTime
		}, ""},
		{"expired", nil, func(_ *web, o *Options) { o.Now = func() time.Time { return certEnd.AddDate(1, 0, 0) } }, "expired"},
		{"client certificate", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}, func(w *web, _ *Options) {
			w.server.CertFile = "cert"
			w.files[netplan.Dir+"/cert"] = &fstest.MapFile{Data: w.ca.issue(t, "client", certBegin, certEnd)}
		}, ""},
		{"no client certificate", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}, func(*web, *Options) {}, "certificate required"},
		{"broken client certificate", nil, func(w *web, _ *Options) {
			w.server.CertFile = "cert"
			w.files[netplan.Dir+"/cert"] = &fstest.MapFile{Data: []byte("x")}
		}, "cert: tls:"},
		{"two tokens", nil, func(w *web, _ *Options) { w.files[netplan.Dir+"/token"].Data = []byte("a b") }, "token has 2 words"},
		{"token with a control character", nil, func(w *web, _ *Options) { w.files[netplan.Dir+"/token"].Data = []byte("a\x01b") }, "not printable"},
		{"plain HTTP to TLS", nil, func(w *web, _ *Options) { w.server.PlainHTTP = true }, "status 400"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, opt := newWeb(t, ok, tt.config), Options{}
			tt.change(w, &opt)
			s, err := Open(w.server, w.files, opt)
			if err == nil {
				err = s.Put("d", "x", strings.NewReader("x"))
				s.Close()
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPlainHTTP(t *testing.T) {
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Host, " ", string(b))
	}))
	defer srv.Close()
	port := srv.Listener.Addr().(*net.TCPAddr).Port
	server := &netplan.Server{Protocol: netplan.ProtocolHTTPS, Host: "::1", Addresses: loopback, Port: port, Path: "/du mps", PlainHTTP: true}
	s, err := Open(server, fstest.MapFS{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put("d", "a%?b~", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("PUT /du%%20mps/d/a%%25%%3Fb~ [::1]:%d x", port); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A connection that the server has closed since the last request is replaced, and a short
// file is sent again after one that broke.
func TestHTTPSReconnects(t *testing.T) {
	n := 0
	w := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if n++; n == 1 || n == 3 || n == 4 {
			panic(http.ErrAbortHandler)
		}
		if string(b) != "content" {
			w.WriteHeader(400)
		}
	}, nil)
	s := w.open(t, Options{})
	for i := range 2 {
		if err := s.Put("d", "x", strings.NewReader("content")); err != nil {
			t.Errorf("Put %d: %v", i, err)
		}
	}
	if n != 5 {
		t.Errorf("%d requests", n)
	}
}

func TestHTTPSLargePut(t *testing.T) {
	w, dir := newDAV(t, "PUT")
	if err := w.open(t, Options{}).Put("d", "log", io.LimitReader(repeat("log\n"), 3<<20)); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); got != fmt.Sprintf("d/log: %d bytes\n", 3<<20) {
		t.Errorf("got %s", got)
	}
}

// Answers of servers that mean harm, or nothing.
func TestHTTPHostile(t *testing.T) {
	for name, answer := range map[string]io.Reader{
		"nothing":         strings.NewReader(""),
		"garbage":         rand.Reader,
		"zeros":           repeat("\x00"),
		"endless interim": repeat("HTTP/1.1 100 Continue\r\n\r\n"),
		"endless line":    io.MultiReader(strings.NewReader("HTTP/1.1 200 "), repeat("x")),
		"endless fields":  io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\n"), repeat("a: b\r\n")),
		"endless body":    io.MultiReader(strings.NewReader("HTTP/1.1 404 No\r\n\r\n"), repeat("x")),
		"endless chunks":  io.MultiReader(strings.NewReader("HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n"), repeat("1\r\nx\r\n")),
		"silent":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			server := webServer(listen(t, func(c net.Conn) {
				defer c.Close()
				http.ReadRequest(bufio.NewReader(c))
				if answer == nil {
					io.Copy(io.Discard, c)
				} else {
					io.Copy(c, io.LimitReader(answer, 64<<20))
				}
			}))
			server.PlainHTTP, server.TokenFile = true, ""
			s, err := Open(server, fstest.MapFS{}, Options{Stall: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Put("d", "x", strings.NewReader("x")); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestReadResponse(t *testing.T) {
	for _, tt := range []struct {
		name, answer, body, want string // want: an error
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "abc", ""},
		{"no reason, bare line feeds", "HTTP/1.1 200\ncontent-length:3\n\nabc", "abc", ""},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nA: b\r\n\r\n", "abc", ""},
		{"to the end", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", ""},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", ""},
		{"no body", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", "", ""},
		{"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "", "closed the connection"},
		{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "", "closed the connection"},
		{"cut trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "", "closed the connection"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "", "bad chunk size"},
		{"long chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "", "longer than its size"},
		{"cut head", "HTTP/1.1 200 OK\r\n", "", "closed the connection"},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "", "bad length"},
		{"bad status", "HTTP/1.1 99 OK\r\n\r\n", "", "not HTTP/1"},
		{"HTTP/2", "HTTP/2 200 OK\r\n\r\n", "", "not HTTP/1"},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", "", "not HTTP/1: \"SSH-2.0"},
		{"bad field", "HTTP/1.1 200 OK\r\nabc\r\n\r\n", "", "bad header field"},
		{"space before the colon", "HTTP/1.1 200 OK\r\nabc : d\r\n\r\n", "", "bad header field"},
		{"compressed", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "", "unknown transfer coding"},
	} {
		resp, err := readResponse(bufio.NewReaderSize(strings.NewReader(tt.answer), maxLine), "GET")
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
			}
			continue
		}
		if err != nil || string(resp.body) != tt.body {
			t.Errorf("%s: %+v, %v", tt.name, resp, err)
		}
	}
}

func FuzzReadResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		resp, err := readResponse(bufio.NewReaderSize(bytes.NewReader(answer), maxLine), "GET")
		if err != nil {
			return
		}
		if resp.status < 200 || resp.status > 999 || len(resp.body) > maxBody {
			t.Errorf("got %+v", resp)
		}
		// The library for healthy systems agrees on answers that both take.
		lib, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
		if err != nil || lib.StatusCode/100 == 1 || resp.status != lib.StatusCode {
			return
		}
		body, err := io.ReadAll(lib.Body)
		if err == nil && resp.length() >= 0 && lib.ContentLength == resp.length() && len(body) <= maxBody && !bytes.Equal(body, resp.body) {
			t.Errorf("body %q, want %q", resp.body, body)
		}
	})
}

// TestNginx saves dumps at a real server, as the manual describes it.
func TestNginx(t *testing.T) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("no nginx")
	}
	core, _ := testCore(t, 300)
	stream := flatten(core, 5000)
	for _, tt := range []struct{ name, methods, only string }{
		{"all methods", "PUT DELETE MKCOL MOVE", ""},
		{"only PUT", "PUT", "limit_except PUT { deny all; }"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			os.Chmod(filepath.Dir(dir), 0o755)
			ca := newAuthority(t)
			write(t, dir+"/cert", string(ca.issue(t, "server", certBegin, certEnd)))
			if err := os.Mkdir(dir+"/dumps", 0o777); err != nil {
				t.Fatal(err)
			}
			port := freePort(t)
			write(t, dir+"/conf", fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server {
    listen 127.0.0.1:%[2]d ssl;
    ssl_certificate %[1]s/cert; ssl_certificate_key %[1]s/cert;
    root %[1]s;
    location /dumps/ {
      if ($http_authorization != "Bearer secret") { return 401; }
      dav_methods %[3]s; create_full_put_path on; client_max_body_size 0;
      %[4]s
    }
  }
}
`, dir, port, tt.methods, tt.only))
			cmd := exec.Command(program, "-c", dir+"/conf", "-e", dir+"/error")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				cmd.Process.Kill()
				cmd.Wait()
			}()
			files := fstest.MapFS{netplan.Dir + "/ca": {Data: ca.pem}, netplan.Dir + "/token": {Data: []byte("secret")}}
			s, err := Open(webServer(port), files, Options{})
			for range 100 {
				if err == nil {
					break
				}
				time.Sleep(50 * time.Millisecond)
				s, err = Open(webServer(port), files, Options{})
			}
			if err != nil {
				log, _ := os.ReadFile(dir + "/error")
				t.Fatalf("%v\n%s", err, log)
			}
			defer s.Close()
			p, err := s.Probe()
			if err != nil {
				t.Fatal(err)
			}
			if all := tt.only == ""; p.Rename != all || p.Read != all || p.Remove != all {
				t.Errorf("Probe: %+v", p)
			}
			files2, _ := filepath.Glob(dir + "/dumps/.ukdump*")
			for _, f := range files2 {
				os.Remove(f)
			}
			if serr, cerr := saveDump(t, s, bytes.NewReader(stream)); serr != nil || cerr != nil {
				t.Fatal(serr, cerr)
			}
			whole := fmt.Sprintf(davDump+"report.json: {}\n"+davDump+"vmcore-dmesg.txt: log\n"+davDump+"vmcore.flat: %d bytes\n", len(stream))
			if got := names(t, dir+"/dumps"); got != whole {
				t.Errorf("got\n%swant\n%s", got, whole)
			}
			os.RemoveAll(dir + "/dumps/web-1")
			boom := errors.New("boom")
			if serr, _ := saveDump(t, s, io.MultiReader(bytes.NewReader(stream), failing{boom})); !errors.Is(serr, boom) {
				t.Errorf("cut stream: %v", serr)
			}
			if got := names(t, dir+"/dumps"); strings.Contains(got, "flat") {
				t.Errorf("after a cut stream: %s", got)
			}
		})
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

var discardLog = log.New(io.Discard, "", 0)

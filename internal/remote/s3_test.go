package remote

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/netplan"
)

// The examples of "Authenticating Requests: Using the Authorization Header" in the S3 API
// reference that sign the same fields.
func TestSignature(t *testing.T) {
	k := awsKey{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"}
	now := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		query []field
		want  string
	}{
		{[]field{{"lifecycle", ""}}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{[]field{{"prefix", "J"}, {"max-keys", "2"}}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		fields := k.sign("GET", "examplebucket.s3.amazonaws.com", "/", canonicalQuery(tt.query), nil, now)
		if got := fields[2].value; !strings.HasSuffix(got, "Signature="+tt.want) {
			t.Errorf("%v: got %s, want %s", tt.query, got, tt.want)
		}
	}
}

// fakeS3 is a strict S3 server in memory. It checks signatures by the text of the request
// that came.
type fakeS3 struct {
	t       *testing.T
	mu      sync.Mutex
	now     func() time.Time
	objects map[string]string
	uploads map[string]*fakeUpload
	deny    []string // methods, or method?query
	fail    func(r *http.Request) int
	parts   []int // sizes
}

type fakeUpload struct {
	key   string
	parts map[string]string
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	q := r.URL.Query()
	operation := r.Method
	for _, name := range []string{"uploads", "uploadId"} {
		if q.Has(name) {
			operation += "?" + name
		}
	}
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>No &quot;luck&quot;.</Message></Error>", code)
	}
	if f.fail != nil {
		if status := f.fail(r); status == -1 {
			panic(http.ErrAbortHandler)
		} else if status != 0 {
			refuse(status, "SlowDown")
			return
		}
	}
	w.Header().Set("Date", f.now().UTC().Format(http.TimeFormat))
	if code := f.check(r, body); code != "" {
		refuse(403, code)
		return
	}
	if slices.Contains(f.deny, operation) {
		refuse(403, "AccessDenied")
		return
	}
	u := f.uploads[q.Get("uploadId")]
	if strings.HasSuffix(operation, "?uploadId") && (u == nil || u.key != r.URL.Path) {
		refuse(404, "NoSuchUpload")
		return
	}
	switch operation {
	case "PUT":
		f.objects[r.URL.Path] = string(body)
	case "GET", "HEAD":
		b, ok := f.objects[r.URL.Path]
		if !ok {
			refuse(404, "NoSuchKey")
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		io.WriteString(w, b)
	case "DELETE":
		delete(f.objects, r.URL.Path)
		w.WriteHeader(204)
	case "POST?uploads":
		id := fmt.Sprintf("id&%d/+=", len(f.uploads))
		f.uploads[id] = &fakeUpload{r.URL.Path, map[string]string{}}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult xmlns=\"x\">\n <UploadId>%s</UploadId></InitiateMultipartUploadResult>", xmlEscape.Replace(id))
	case "PUT?uploadId":
		u.parts[q.Get("partNumber")] = string(body)
		f.parts = append(f.parts, len(body))
		w.Header().Set("ETag", `"`+hashOf(body)+`"`)
	case "POST?uploadId":
		var object, list strings.Builder
		for n := 1; n <= len(u.parts); n++ {
			part := u.parts[strconv.Itoa(n)]
			object.WriteString(part)
			fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>\"%s\"</ETag></Part>", n, hashOf([]byte(part)))
		}
		if string(body) != "<CompleteMultipartUpload>"+list.String()+"</CompleteMultipartUpload>" {
			fmt.Fprint(w, "<Error><Code>InvalidPart</Code></Error>") // with status 200, as AWS may
			return
		}
		f.objects[u.key] = object.String()
		delete(f.uploads, q.Get("uploadId"))
		fmt.Fprint(w, "<CompleteMultipartUploadResult/>")
	case "DELETE?uploadId":
		delete(f.uploads, q.Get("uploadId"))
		w.WriteHeader(204)
	case "GET?uploads":
		for id, u := range f.uploads {
			if key := strings.TrimPrefix(u.key, r.URL.Path+"/"); strings.HasPrefix(key, q.Get("prefix")) {
				fmt.Fprintf(w, "<Upload><Key>%s</Key><UploadId>%s</UploadId></Upload>", xmlEscape.Replace(key), xmlEscape.Replace(id))
			}
		}
	default:
		refuse(405, "MethodNotAllowed")
	}
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// check returns the code of S3 for a bad signature.
func (f *fakeS3) check(r *http.Request, body []byte) string {
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	if d := at.Sub(f.now()); err != nil || d > 15*time.Minute || d < -15*time.Minute {
		return "RequestTimeTooSkewed"
	}
	if r.Header.Get("X-Amz-Content-Sha256") != hashOf(body) {
		return "XAmzContentSHA256Mismatch"
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if p, err := url.PathUnescape(path); err != nil || p != r.URL.Path {
		return "InvalidURI"
	}
	parameters := strings.Split(query, "&")
	slices.Sort(parameters)
	text := strings.Join([]string{r.Method, path, strings.Join(parameters, "&"), "host:" + r.Host, "x-amz-content-sha256:" + hashOf(body), "x-amz-date:" + date, "",
		"host;x-amz-content-sha256;x-amz-date", hashOf(body)}, "\n")
	scope := date[:8] + "/garage/s3/aws4_request"
	key := []byte("AWS4SE:CRET")
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+hashOf([]byte(text))) {
		h := hmac.New(sha256.New, key)
		io.WriteString(h, part)
		key = h.Sum(nil)
	}
	if want := "AWS4-HMAC-SHA256 Credential=ACCESS/" + scope + ",SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=" + hex.EncodeToString(key); r.Header.Get("Authorization") != want {
		return "SignatureDoesNotMatch"
	}
	return ""
}

// newS3 starts a server for the bucket dumps.
func newS3(t *testing.T) (*web, *fakeS3) {
	f := &fakeS3{t: t, now: time.Now, objects: map[string]string{}, uploads: map[string]*fakeUpload{}}
	w := newWeb(t, f.ServeHTTP, nil)
	w.files[netplan.Dir+"/key"] = &fstest.MapFile{Data: []byte("ACCESS:SE:CRET\n")}
	w.server.Protocol, w.server.Path, w.server.KeyFile, w.server.Region = netplan.ProtocolS3, "/dumps/my fleet", "key", "garage"
	return w, f
}

// openS3 opens a store with small parts that does not wait between tries.
func (w *web) openS3(t *testing.T, opt Options) *s3Store {
	s := w.open(t, opt).(*s3Store)
	s.unit, s.max, s.pause = 1000, 4000, 0
	return s
}

// list lists the objects, with the random numbers removed.
func (f *fakeS3) list() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for key, b := range f.objects {
		if len(b) > 40 {
			b = fmt.Sprint(len(b), " bytes")
		}
		lines = append(lines, random.ReplaceAllString(key, "")+": "+b+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

const s3Dump = "/dumps/my fleet/" + davDump

func TestS3(t *testing.T) {
	core, _ := testCore(t, 30)
	stream := flatten(core, 5000)
	whole := fmt.Sprintf(s3Dump+"report.json: {}\n"+s3Dump+"vmcore-dmesg.txt: log\n"+s3Dump+"vmcore.flat: %d bytes\n", len(stream))
	lost := 0
	for _, tt := range []struct {
		name   string
		change func(*fakeS3)
		opt    Options
		want   string // error of Stream or Commit
		list   string
	}{
		{"good", func(*fakeS3) {}, Options{}, "", whole},
		{"only PUT", func(f *fakeS3) { f.deny = []string{"GET", "HEAD", "DELETE", "DELETE?uploadId", "GET?uploads"} }, Options{}, "", whole},
		{"clock of 1970", func(*fakeS3) {}, Options{Now: func() time.Time { return time.Unix(0, 0) }, Built: crashTime}, "", whole},
		{"clock of the future", func(*fakeS3) {}, Options{Now: func() time.Time { return time.Now().AddDate(3, 0, 0) }}, "", whole},
		{"each second request fails", func(f *fakeS3) {
			n := 0
			f.fail = func(*http.Request) int { n++; return []int{0, 503}[n%2] }
		}, Options{}, "", whole},
		{"each second connection breaks", func(f *fakeS3) {
			n := 0
			f.fail = func(*http.Request) int { n++; return []int{0, -1}[n%2] }
		}, Options{}, "", whole},
		{"the bucket is gone", func(f *fakeS3) {
			f.fail = func(r *http.Request) int {
				if r.Method == "POST" {
					return 404
				}
				return 0
			}
		}, Options{}, "no such path (status 404, SlowDown: No \"luck\".)", s3Dump + "report.json: {}\n" + s3Dump + "vmcore-dmesg.txt: log\n"},
		{"parts fail", func(f *fakeS3) {
			f.fail = func(r *http.Request) int {
				if r.URL.Query().Get("partNumber") == "5" {
					return 500
				}
				return 0
			}
		}, Options{}, "the server has failed", s3Dump + "report.json: {}\n" + s3Dump + "vmcore-dmesg.txt: log\n"},
		{"a part is forgotten", func(f *fakeS3) {
			f.fail = func(r *http.Request) int {
				if q := r.URL.Query(); r.Method == "POST" && q.Has("uploadId") {
					for _, u := range f.uploads {
						delete(u.parts, strconv.Itoa(len(u.parts)))
					}
				}
				return 0
			}
		}, Options{}, "InvalidPart", s3Dump + "report.json: {}\n" + s3Dump + "vmcore-dmesg.txt: log\n"},
		{"the answer to the last request is lost", func(f *fakeS3) {
			f.fail = func(r *http.Request) int {
				q := r.URL.Query()
				if r.Method == "POST" && q.Has("uploadId") && lost == 0 {
					lost++
					f.objects[r.URL.Path] = string(stream)
					delete(f.uploads, q.Get("uploadId"))
					return -1
				}
				return 0
			}
		}, Options{}, "", whole},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, f := newS3(t)
			tt.change(f)
			s := w.openS3(t, tt.opt)
			serr, cerr := saveDump(t, s, bytes.NewReader(stream))
			if err := errors.Join(serr, cerr); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if got := f.list(); got != tt.list {
				t.Errorf("got\n%swant\n%s", got, tt.list)
			}
			if serr != nil && len(f.uploads) > 0 {
				t.Errorf("%d uploads remain", len(f.uploads))
			}
			for key, b := range f.objects {
				if strings.HasSuffix(key, ".flat") && b != string(stream) {
					t.Error("another stream")
				}
			}
		})
	}
}

// A stream that breaks off is no object. Another store removes its parts.
func TestS3Cut(t *testing.T) {
	w, f := newS3(t)
	s := w.openS3(t, Options{})
	boom := errors.New("boom")
	dir, _ := s.Create("m", crashTime)
	if _, err := s.Stream(dir, crashdir.Vmcore, io.MultiReader(strings.NewReader(strings.Repeat("x", 2500)), failing{boom})); !errors.Is(err, boom) {
		t.Errorf("Stream: %v", err)
	}
	other, _ := s.Create("m2", crashTime)
	if _, err := w.openS3(t, Options{}).Stream(other, crashdir.Vmcore, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if f.list() != "" || len(f.uploads) != 2 {
		t.Errorf("objects %q, %d uploads", f.list(), len(f.uploads))
	}
	if err := w.openS3(t, Options{}).Abort(dir); err != nil || len(f.uploads) != 1 {
		t.Errorf("Abort: %v, %d uploads remain", err, len(f.uploads))
	}
	f.deny = []string{"GET?uploads"}
	if err := w.openS3(t, Options{}).Abort(dir); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Abort: %v", err)
	}
}

func TestS3Probe(t *testing.T) {
	for _, tt := range []struct {
		deny    []string
		want    ProbeResult
		remarks int
	}{
		{nil, ProbeResult{Room: -1, Read: true, Rename: true, Sync: true, Remove: true}, 0},
		{[]string{"GET", "DELETE", "DELETE?uploadId"}, ProbeResult{Room: -1, Rename: true, Sync: true}, 3},
	} {
		w, f := newS3(t)
		f.deny = tt.deny
		p, err := w.openS3(t, Options{}).Probe()
		if n := len(p.Remarks); err != nil || n != tt.remarks {
			t.Errorf("remarks %q, %v", p.Remarks, err)
		}
		if p.Remarks = nil; fmt.Sprint(p) != fmt.Sprint(tt.want) {
			t.Errorf("got %+v, want %+v", p, tt.want)
		}
	}
	w, f := newS3(t)
	f.deny = []string{"POST?uploads"}
	if _, err := w.openS3(t, Options{}).Probe(); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("without multipart uploads: %v", err)
	}
}

// A file that is longer than a part is a multipart upload, too.
func TestS3LongPut(t *testing.T) {
	w, f := newS3(t)
	s := w.openS3(t, Options{})
	for n, want := range map[int]string{0: "", 1: "x", 999: "999 bytes", 1000: "1000 bytes", 1001: "1001 bytes", 5000: "5000 bytes"} {
		if err := s.Put("d", "x", strings.NewReader(strings.Repeat("x", n))); err != nil {
			t.Fatal(err)
		}
		if got := f.list(); got != "/dumps/my fleet/d/x: "+want+"\n" || len(f.uploads) != 0 {
			t.Errorf("%d bytes: got %q", n, got)
		}
	}
}

// Parts grow, so that their number is enough for 5 TiB, but only as far as the memory
// allows.
func TestS3PartSize(t *testing.T) {
	s := &s3Store{unit: partUnit, max: 4 << 30}
	total := int64(0)
	for n := 1; n <= maxParts; n++ {
		total += int64(s.partSize(n))
	}
	if total < 5<<40 || s.partSize(1000) != partUnit || s.partSize(1001) != 2*partUnit || s.partSize(maxParts) > 5<<30 {
		t.Errorf("%d bytes in all parts, the last has %d", total, s.partSize(maxParts))
	}
	s.max = defaultPart
	if got := s.partSize(maxParts); got != defaultPart {
		t.Errorf("got %d", got)
	}
}

func TestS3Login(t *testing.T) {
	for _, tt := range []struct {
		name, key, path, want string
	}{
		{"another secret", "ACCESS:other", "/dumps", "permission denied (status 403, SignatureDoesNotMatch"},
		{"no secret", "ACCESS", "/dumps", "not ACCESS:SECRET"},
		{"no bucket", "ACCESS:SE:CRET", "/", "no bucket"},
	} {
		w, _ := newS3(t)
		w.files[netplan.Dir+"/key"].Data = []byte(tt.key)
		w.server.Path = tt.path
		s, err := Open(w.server, w.files, Options{})
		if err == nil {
			err = s.Put("d", "x", strings.NewReader("x"))
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestXML(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{"<a><Code>x</Code></a>", "x"},
		{"<Code>&lt;&amp;amp;&quot;</Code>", "<&amp;\""},
		{"<Code></Code>", ""},
		{"<Code>x", ""},
		{"<Code>x<y></Code>", ""},
		{"<Code>" + strings.Repeat("x", maxValue+1) + "</Code>", ""},
		{"", ""},
	} {
		if got := xmlValue(tt.body, "Code"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.body, got, tt.want)
		}
	}
}

func FuzzXML(f *testing.F) {
	f.Add("<R><Upload><Key>k</Key><UploadId>&amp;</UploadId></Upload><Upload></Upload></R>")
	f.Fuzz(func(t *testing.T, body string) {
		for _, e := range append(xmlElements(body, "Upload"), body) {
			if v := xmlValue(e, "Key"); len(v) > maxValue {
				t.Errorf("%d bytes", len(v))
			}
		}
	})
}

// TestVersity saves a dump at a real server, if versitygw is there.
func TestVersity(t *testing.T) {
	program, err := exec.LookPath("versitygw")
	if err != nil {
		t.Skip("no versitygw")
	}
	dir, ca := t.TempDir(), newAuthority(t)
	if err := os.Mkdir(dir+"/root", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"/root/dumps", "/meta"} {
		if err := os.Mkdir(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir+"/cert", string(ca.issue(t, "server", certBegin, certEnd)))
	port := freePort(t)
	cmd := exec.Command(program, "--access", "ACCESS", "--secret", "SE:CRET", "--region", "garage", "--cert", dir+"/cert", "--key", dir+"/cert", "--port", fmt.Sprintf("127.0.0.1:%d", port),
		"posix", "--sidecar", dir+"/meta", dir+"/root")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		t.Logf("%s", out.Bytes())
	}()
	server := webServer(port)
	server.Protocol, server.Path, server.KeyFile, server.Region = netplan.ProtocolS3, "/dumps/my fleet", "key", "garage"
	files := fstest.MapFS{netplan.Dir + "/ca": {Data: ca.pem}, netplan.Dir + "/key": {Data: []byte("ACCESS:SE:CRET")}}
	for _, wrong := range []bool{false, true} {
		opt := Options{}
		if wrong {
			opt.Now = func() time.Time { return time.Now().Add(-5 * time.Hour) }
		}
		s, err := Open(server, files, opt)
		for range 100 {
			if err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
			s, err = Open(server, files, opt)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if p, err := s.Probe(); err != nil || len(p.Remarks) > 0 {
			t.Fatalf("Probe: %+v, %v", p, err)
		}
		core, _ := testCore(t, 5000)
		stream := flatten(core, 50000)
		if serr, cerr := saveDump(t, s, bytes.NewReader(stream)); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		boom := errors.New("boom")
		if serr, _ := saveDump(t, s, io.MultiReader(bytes.NewReader(stream), failing{boom})); !errors.Is(serr, boom) {
			t.Fatal(serr)
		}
	}
	if got := names(t, dir+"/root/dumps/my fleet"); strings.Count(got, "vmcore.flat: 20") != 2 || strings.Count(got, "report.json: {}") != 4 {
		t.Errorf("got %s", got)
	}
}

// Answers without what the next request needs are errors.
func TestS3Empty(t *testing.T) {
	for _, tt := range []struct{ begin, etag, want string }{
		{"", "", "names no upload"},
		{"<UploadId>x", "", "names no upload"},
		{"<UploadId>x</UploadId>", "", "no ETag for part 1"},
		{"<UploadId>x</UploadId>", strings.Repeat("x", 300), "no ETag for part 1"},
	} {
		w := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("ETag", tt.etag)
			io.WriteString(w, tt.begin)
		}, nil)
		w.files[netplan.Dir+"/key"] = &fstest.MapFile{Data: []byte("a:b")}
		w.server.Protocol, w.server.KeyFile = netplan.ProtocolS3, "key"
		s := w.openS3(t, Options{})
		_, err := s.Stream("d", crashdir.Vmcore, strings.NewReader("x"))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
		if err := s.Commit("d", nil, nil); err == nil {
			t.Error("Commit succeeds")
		}
	}
}

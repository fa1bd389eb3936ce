package remote

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/netplan"
)

// Bounds of S3, "Amazon S3 multipart upload limits". A part has at least netplan.LeastPart.
const (
	partUnit    = 8 << 20
	defaultPart = 64 << 20
	maxParts    = 10000
	partStep    = 1000 // parts of one size
)

const (
	s3Tries = 4 // of one request
	// s3Skew is the difference of clocks that is corrected. Servers allow 15 minutes.
	s3Skew = 5 * time.Minute
)

// s3Store writes each file of a dump as an object below server.Path, which is the bucket
// and a prefix. A vmcore is a multipart upload: the object appears when it is whole.
type s3Store struct {
	c      *httpClient
	key    awsKey
	offset time.Duration // of the server's clock
	unit   int           // size of the first parts in bytes
	max    int           // of any part
	pause  time.Duration // before the second try
	buf    []byte        // of the part that is not acknowledged

	upload *s3Upload // of the last stream
	last   Result
}

// s3Upload is a multipart upload.
type s3Upload struct {
	key   string // path of the object
	id    string
	etags []string // of the parts
	size  int64
}

func openS3(t *target) (Store, error) {
	if strings.Trim(t.server.Path, "/") == "" {
		return nil, errors.New("no bucket")
	}
	c, err := newHTTP(t)
	if err != nil {
		return nil, err
	}
	s := &s3Store{c: c, unit: partUnit, max: defaultPart, pause: time.Second}
	if t.opt.MaxPart > 0 {
		s.max = int(min(max(t.opt.MaxPart, netplan.LeastPart), 4<<30))
		s.unit = min(s.unit, s.max)
	}
	if s.key, err = t.awsKey(); err != nil {
		return nil, err
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	return s, nil
}

// awsKey reads the key, "ACCESS:SECRET".
func (t *target) awsKey() (awsKey, error) {
	word, err := t.word(t.server.KeyFile)
	if err != nil {
		return awsKey{}, err
	}
	access, secret, ok := strings.Cut(word, ":")
	if !ok || access == "" || secret == "" {
		return awsKey{}, fmt.Errorf("%s: not ACCESS:SECRET", t.server.KeyFile)
	}
	k := awsKey{access, secret, t.server.Region}
	if k.region == "" {
		k.region = "us-east-1" // the default of AWS and of most others
	}
	return k, nil
}

// s3Request is a request for an object.
type s3Request struct {
	method   string
	path     string
	query    []field
	body     []byte
	progress func(int64)
	work     int64 // bytes that the server handles before it answers
}

// once sends a request and returns an error unless the status is wanted. If the clocks
// differ, it is sent again with the server's.
func (s *s3Store) once(q s3Request, want ...int) (*response, error) {
	for corrected := false; ; corrected = true {
		now := s.c.t.now().Add(s.offset)
		p, query := escape(q.path, "/"), canonicalQuery(q.query)
		h := request{method: q.method, path: p, body: q.body, progress: q.progress, work: q.work}
		h.fields = s.key.sign(q.method, s.c.host, p, query, q.body, now)
		if query != "" {
			h.path += "?" + query
		}
		resp, err := s.c.do(&h)
		if err != nil {
			return nil, err
		}
		if corrected || !s.correct(resp, now) {
			return resp, resp.checkS3(q.method, want)
		}
	}
}

// correct takes the clock of a server that refused a request of the time now.
func (s *s3Store) correct(resp *response, now time.Time) bool {
	if resp.status != 400 && resp.status != 403 {
		return false
	}
	date, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", resp.get("date")) // RFC 9110, section 5.6.7
	if err != nil {
		return false
	}
	if d := date.Sub(now); d > s3Skew || d < -s3Skew {
		s.offset += d
		return true
	}
	return false
}

// checkS3 is check with the code and the message of S3. Some answers of status 200 are an
// error, too.
func (r *response) checkS3(method string, want []int) error {
	err := r.check(method, want...)
	code := xmlValue(string(r.body), "Code")
	var status *StatusError
	switch {
	case errors.As(err, &status) && code != "":
		status.Reason = code
		if m := xmlValue(string(r.body), "Message"); m != "" {
			status.Reason += ": " + m
		}
	case err == nil && method == "POST" && strings.Contains(string(r.body), "<Error>"):
		return &StatusError{Method: method, Status: 500, Reason: code}
	}
	return err
}

// do is once with further tries on new connections, if the server is out of reach or
// overloaded.
func (s *s3Store) do(q s3Request, want ...int) (*response, error) {
	pause := s.pause
	for try := 1; ; try++ {
		resp, err := s.once(q, want...)
		if err == nil {
			return resp, nil
		}
		if try == s3Tries || !temporary(err) {
			return resp, fmt.Errorf("%s %s at %s: %w", q.method, q.path, s.c.host, err)
		}
		s.c.drop()
		time.Sleep(pause)
		pause *= 2
	}
}

// temporary reports whether another try may help.
func temporary(err error) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return true // the connection broke
	}
	return status.Status == 429 || status.Status/100 == 5 && status.Status != 501 && status.Status != 507
}

func (s *s3Store) path(dir, name string) string { return path.Join(s.c.t.server.Path, dir, name) }

// Create implements Store. S3 has no directories.
func (s *s3Store) Create(machine string, t time.Time) (string, error) {
	return randomDir(machine, t), nil
}

// Put implements Store. A file that is longer than a part is a multipart upload.
func (s *s3Store) Put(dir, name string, r io.Reader) error {
	to := s.path(dir, name)
	b, err := s.fill(r, s.unit)
	if err == io.EOF {
		_, err = s.do(s3Request{method: "PUT", path: to, body: b}, 200)
		return err
	}
	if err != nil {
		return err
	}
	u, err := s.begin(to)
	if err != nil {
		return err
	}
	if err = s.parts(u, b, err, r, nil); err == nil {
		err = s.complete(u)
	}
	if err != nil {
		s.abort(u)
	}
	return err
}

// fill reads up to n bytes into the buffer of the store. The error is io.EOF if these are
// the last.
func (s *s3Store) fill(r io.Reader, n int) ([]byte, error) {
	if cap(s.buf) < n {
		s.buf = nil // for the garbage collector, before the next one is made
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	m, err := io.ReadFull(r, b)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return b[:m], err
}

// partSize returns the size of part n: it doubles, so that 10000 parts are 7.8 TiB, unless
// there is not the memory.
func (s *s3Store) partSize(n int) int {
	size := s.unit
	for range (n - 1) / partStep {
		size = min(2*size, s.max)
	}
	return size
}

// begin begins a multipart upload.
func (s *s3Store) begin(key string) (*s3Upload, error) {
	resp, err := s.do(s3Request{method: "POST", path: key, query: []field{{"uploads", ""}}, body: []byte{}}, 200)
	if err != nil {
		return nil, err
	}
	u := &s3Upload{key: key, id: xmlValue(string(resp.body), "UploadId")}
	if u.id == "" {
		return nil, fmt.Errorf("POST %s at %s: the server names no upload", key, s.c.host)
	}
	return u, nil
}

// parts uploads a first part, which was read with err, and the rest of r.
func (s *s3Store) parts(u *s3Upload, b []byte, err error, r io.Reader, progress func(int64)) error {
	for n := 1; ; n++ {
		switch {
		case err != nil && err != io.EOF:
			return err
		case len(b) == 0 && n > 1:
			return nil
		case n > maxParts:
			return fmt.Errorf("%s: the stream is larger than %d parts of at most %d MiB", u.key, maxParts, s.max>>20)
		}
		if perr := s.part(u, n, b, progress); perr != nil {
			return perr
		}
		if err == io.EOF {
			return nil
		}
		b, err = s.fill(r, s.partSize(n+1))
	}
}

// part uploads a part.
func (s *s3Store) part(u *s3Upload, n int, b []byte, progress func(int64)) error {
	q := s3Request{method: "PUT", path: u.key, query: []field{{"partNumber", strconv.Itoa(n)}, {"uploadId", u.id}}, body: b}
	if progress != nil {
		q.progress = func(sent int64) { progress(u.size + sent) }
	}
	resp, err := s.do(q, 200)
	if err != nil {
		return err
	}
	etag := resp.get("etag")
	if etag == "" || len(etag) > 256 {
		return fmt.Errorf("PUT %s at %s: the server sends no ETag for part %d", u.key, s.c.host, n)
	}
	u.etags = append(u.etags, etag)
	u.size += int64(len(b))
	return nil
}

// complete makes the object of the parts.
func (s *s3Store) complete(u *s3Upload) error {
	b := []byte("<CompleteMultipartUpload>")
	for i, etag := range u.etags {
		b = append(b, "<Part><PartNumber>"+strconv.Itoa(i+1)+"</PartNumber><ETag>"+xmlEscape.Replace(etag)+"</ETag></Part>"...)
	}
	b = append(b, "</CompleteMultipartUpload>"...)
	_, err := s.do(s3Request{method: "POST", path: u.key, query: []field{{"uploadId", u.id}}, body: b, work: u.size}, 200)
	if err == nil {
		return s.verify(u, false)
	}
	// If the answer to the first try was lost, the upload is gone at the second.
	if errors.Is(err, fs.ErrNotExist) && s.verify(u, true) == nil {
		return nil
	}
	return err
}

// verify compares the size of the object. A key that may only write is not asked for more,
// unless must is set.
func (s *s3Store) verify(u *s3Upload, must bool) error {
	resp, err := s.do(s3Request{method: "HEAD", path: u.key}, 200)
	var status *StatusError
	if !must && errors.As(err, &status) && (status.Status == 401 || status.Status == 403 || status.Status == 405) {
		return nil
	}
	if err != nil {
		return err
	}
	if n := resp.length(); n != u.size {
		return fmt.Errorf("%s at %s has %d bytes, %d were written", u.key, s.c.host, n, u.size)
	}
	return nil
}

// abort removes the parts of an upload.
func (s *s3Store) abort(u *s3Upload) error {
	_, err := s.do(s3Request{method: "DELETE", path: u.key, query: []field{{"uploadId", u.id}}}, 200, 204, 404)
	return err
}

// Stream implements Store.
func (s *s3Store) Stream(dir, name string, r io.Reader) (Result, error) {
	if name == crashdir.Vmcore {
		name += FlatSuffix
	}
	s.last = Result{Name: name}
	var err error
	if s.upload, err = s.begin(s.path(dir, name)); err != nil {
		return s.last, err
	}
	b, err := s.fill(r, s.partSize(1))
	err = s.parts(s.upload, b, err, r, s.c.t.opt.Progress)
	s.last.Size = s.upload.size
	return s.last, err
}

// Commit implements Store.
func (s *s3Store) Commit(string, *dumpfile.Memory, func()) error {
	u := s.upload
	if u == nil || u.size == 0 {
		return errors.New("no stream to commit")
	}
	if err := s.complete(u); err != nil {
		return err
	}
	s.upload = nil
	return nil
}

// Abort implements Store.
func (s *s3Store) Abort(dir string) error {
	if u := s.upload; u != nil {
		s.upload = nil
		return s.abort(u)
	}
	bucket, prefix, _ := strings.Cut(s.path(dir, "")[1:], "/")
	resp, err := s.do(s3Request{method: "GET", path: "/" + bucket, query: []field{{"uploads", ""}, {"prefix", prefix + "/"}}}, 200)
	if err != nil {
		return err
	}
	for _, e := range xmlElements(string(resp.body), "Upload") {
		key, id := xmlValue(e, "Key"), xmlValue(e, "UploadId")
		if !strings.HasPrefix(key, prefix+"/") || id == "" {
			continue
		}
		if aerr := s.abort(&s3Upload{key: "/" + bucket + "/" + key, id: id}); err == nil {
			err = aerr
		}
	}
	return err
}

// Probe implements Store.
func (s *s3Store) Probe() (ProbeResult, error) {
	p := ProbeResult{Room: -1, Rename: true, Sync: true}
	name := s.path(probeName(), "")
	if _, err := s.do(s3Request{method: "PUT", path: name, body: []byte(probeText)}, 200); err != nil {
		return p, err
	}
	remark := func(err error) bool {
		if err != nil {
			p.Remarks = append(p.Remarks, err.Error())
		}
		return err == nil
	}
	resp, err := s.do(s3Request{method: "GET", path: name}, 200)
	p.Read = remark(err)
	if p.Read && string(resp.body) != probeText {
		return p, fmt.Errorf("%s at %s differs from the written content", name, s.c.host)
	}
	u, err := s.begin(name)
	if err != nil {
		return p, err
	}
	remark(s.abort(u))
	_, err = s.do(s3Request{method: "DELETE", path: name}, 200, 204)
	p.Remove = remark(err)
	return p, nil
}

// Close implements Store.
func (s *s3Store) Close() error {
	s.c.drop()
	return nil
}

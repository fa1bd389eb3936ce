package remote

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
)

// maxRetry bounds the memory for a small file that is sent again after a broken connection.
const maxRetry = 1 << 20

// httpsStore writes each file of a dump by PUT. If the server has MOVE of WebDAV
// (RFC 4918), a vmcore has the name of an incomplete one until it is whole. Without MOVE a
// body that was cut is the server's to discard, which it knows by the missing last chunk;
// only the report tells then.
type httpsStore struct {
	c     *httpClient
	auth  []field
	moves int // 1 if the server has MOVE, -1 if not, 0 if not known

	streamed string // path of the last stream
	last     Result
}

func openHTTPS(t *target) (Store, error) {
	c, err := newHTTP(t)
	if err != nil {
		return nil, err
	}
	s := &httpsStore{c: c}
	if t.server.TokenFile != "" {
		token, err := t.word(t.server.TokenFile)
		if err != nil {
			return nil, err
		}
		s.auth = []field{{"Authorization", authorization(t.server.User, token)}}
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	return s, nil
}

// authorization returns a bearer token (RFC 6750), or the password of a user (RFC 7617).
func authorization(user, token string) string {
	if user != "" {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+token))
	}
	return "Bearer " + token
}

// do sends a request for a path and returns an error unless the status is wanted.
func (s *httpsStore) do(q request, want ...int) (*response, error) {
	name := q.path
	q.path = escape(q.path, "/")
	q.fields = append(append([]field(nil), s.auth...), q.fields...)
	resp, err := s.c.do(&q)
	if err == nil {
		err = resp.check(q.method, want...)
	}
	if err != nil {
		return resp, fmt.Errorf("%s %s at %s: %w", q.method, name, s.c.host, err)
	}
	return resp, nil
}

func (s *httpsStore) path(dir, name string) string { return path.Join(s.c.t.server.Path, dir, name) }

// Create implements Store. Servers with WebDAV need collections, others refuse to make
// them: PUT will tell.
func (s *httpsStore) Create(machine string, t time.Time) (string, error) {
	dir := randomDir(machine, t)
	for _, d := range []string{path.Dir(dir), dir} {
		_, err := s.do(request{method: "MKCOL", path: s.path(d, "") + "/"}, 201)
		var status *StatusError
		if err != nil && (!errors.As(err, &status) || status.Status == 401) {
			return "", err
		}
	}
	return dir, nil
}

// Put implements Store.
func (s *httpsStore) Put(dir, name string, r io.Reader) error {
	return s.put(s.path(dir, name), r, nil)
}

// put sends a file. A short one is sent again if the connection was broken.
func (s *httpsStore) put(to string, r io.Reader, progress func(int64)) error {
	b, err := io.ReadAll(io.LimitReader(r, maxRetry))
	if err != nil {
		return err
	}
	q := request{method: "PUT", path: to, body: b, progress: progress}
	if len(b) == maxRetry {
		q.stream = r
	}
	return s.send(q)
}

// send sends the request of a PUT, and again if the connection broke and it is short.
func (s *httpsStore) send(q request) error {
	_, err := s.do(q, 200, 201, 204)
	var status *StatusError
	if err != nil && q.stream == nil && !errors.As(err, &status) {
		_, err = s.do(q, 200, 201, 204)
	}
	return err
}

// Stream implements Store.
func (s *httpsStore) Stream(dir, name string, r io.Reader) (Result, error) {
	if name == crashdir.Vmcore {
		name += FlatSuffix
	}
	moves, err := s.canMove(s.path(dir, ""))
	if err != nil {
		return Result{}, err
	}
	s.last, s.streamed = Result{Name: name}, s.path(dir, name)
	if moves {
		s.streamed += crashdir.Suffix
	}
	if err := s.stream(r); err != nil {
		s.streamed = ""
		return s.last, err
	}
	return s.last, nil
}

// stream sends the body of a stream. It waits for the first bytes without a connection, as
// servers give up those on which nothing comes.
func (s *httpsStore) stream(r io.Reader) error {
	b := make([]byte, 4<<10)
	n, err := readPart(r, b)
	if err == io.EOF {
		r = bytes.NewReader(nil)
	} else if err != nil {
		return err
	}
	s.c.drop()
	progress := func(n int64) {
		s.last.Size = n
		s.c.t.opt.Progress(n)
	}
	_, err = s.do(request{method: "PUT", path: s.streamed, body: b[:n], stream: r, progress: progress}, 200, 201, 204)
	return err
}

// canMove reports whether the server has MOVE: it then misses the file, and has not the
// method to complain about.
func (s *httpsStore) canMove(dir string) (bool, error) {
	if s.moves != 0 {
		return s.moves > 0, nil
	}
	name := path.Join(dir, "missing-"+strconv.FormatUint(uint64(rand.Uint32()), 10))
	err := s.move(name, name+"-moved")
	var status *StatusError
	if err != nil && !errors.As(err, &status) {
		return false, err
	}
	s.moves = -1
	if status != nil && status.Status == 404 {
		s.moves = 1
	}
	return s.moves > 0, nil
}

func (s *httpsStore) move(from, to string) error {
	_, err := s.do(request{method: "MOVE", path: from, fields: []field{
		{"Destination", s.c.base + escape(to, "/")}, {"Overwrite", "T"},
	}, work: s.last.Size}, 201, 204)
	return err
}

// Commit implements Store.
func (s *httpsStore) Commit(dir string, _ *dumpfile.Memory, _ func()) error {
	if s.streamed == "" {
		return errors.New("no stream to commit")
	}
	if err := s.verify(); err != nil {
		return err
	}
	from, to := s.streamed, s.path(dir, s.last.Name)
	s.streamed = ""
	if from == to {
		return nil
	}
	return s.move(from, to)
}

// verify compares the length of the last stream, if the server tells it.
func (s *httpsStore) verify() error {
	resp, err := s.do(request{method: "HEAD", path: s.streamed}, 200, 204)
	var status *StatusError
	if errors.As(err, &status) && (status.Status == 401 || status.Status == 403 || status.Status == 405 || status.Status == 501) {
		return nil // only writing is allowed
	}
	if err != nil {
		return err
	}
	if n := resp.length(); n >= 0 && n != s.last.Size {
		return fmt.Errorf("%s at %s has %d bytes, %d were written", s.streamed, s.c.host, n, s.last.Size)
	}
	return nil
}

// Abort implements Store.
func (s *httpsStore) Abort(string) error {
	s.streamed = ""
	return nil
}

// Probe implements Store.
func (s *httpsStore) Probe() (ProbeResult, error) {
	p := ProbeResult{Room: -1}
	name := s.path(probeName(), "")
	if err := s.put(name, strings.NewReader(probeText), nil); err != nil {
		return p, err
	}
	resp, err := s.do(request{method: "GET", path: name}, 200)
	switch {
	case err != nil:
		p.Remarks = append(p.Remarks, err.Error())
	case string(resp.body) != probeText:
		return p, fmt.Errorf("%s at %s differs from the written content", name, s.c.host)
	default:
		p.Read = true
	}
	moves, err := s.canMove(path.Dir(name))
	if err != nil {
		return p, err
	}
	if moves {
		if err := s.move(name, name+"-moved"); err != nil {
			return p, err // a vmcore would stay incomplete
		}
		name += "-moved"
		p.Rename = true
	} else {
		p.Remarks = append(p.Remarks, "the server has no MOVE: only the report tells whether a vmcore is whole")
	}
	if _, err := s.do(request{method: "DELETE", path: name}, 200, 204); err != nil {
		p.Remarks = append(p.Remarks, err.Error())
	} else {
		p.Remove = true
	}
	return p, nil
}

// Close implements Store.
func (s *httpsStore) Close() error {
	s.c.drop()
	return nil
}

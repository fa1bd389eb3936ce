package remote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// Bounds of an answer.
const (
	maxLine   = 16 << 10 // bytes of a line
	maxFields = 100
	maxHeader = 64 << 10  // bytes of all fields
	maxBody   = 256 << 10 // bytes that are read
	maxInfo   = 10        // answers of the class 1xx
)

// response is an answer of a server.
type response struct {
	status int
	fields []field
	body   []byte
	last   bool // no other request can be sent on this connection
	early  bool // it came before the end of the request
}

// get returns the first field of a lower-case name, or "".
func (r *response) get(name string) string {
	for _, f := range r.fields {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// length returns the field Content-Length, -1 if there is no valid one.
func (r *response) length() int64 {
	n, err := strconv.ParseUint(r.get("content-length"), 10, 63)
	if err != nil {
		return -1
	}
	return int64(n)
}

// readResponse reads the answer to a request of a method: RFC 9112. A body beyond maxBody
// is cut.
func readResponse(r *bufio.Reader, method string) (*response, error) {
	for range maxInfo {
		resp, err := readHead(r)
		if err != nil {
			return nil, fmt.Errorf("read the answer of the server: %w", lost(err))
		}
		if resp.status < 200 {
			continue
		}
		if method == "HEAD" || resp.status == 204 || resp.status == 304 {
			return resp, nil
		}
		if err := resp.readBody(r); err != nil {
			return nil, fmt.Errorf("read the answer of the server: %w", lost(err))
		}
		return resp, nil
	}
	return nil, errors.New("the server sends interim answers only")
}

// readHead reads the status line and the fields.
func readHead(r *bufio.Reader) (*response, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if !strings.HasPrefix(version, "HTTP/1.") || len(code) != 3 || err != nil || status < 100 {
		return nil, fmt.Errorf("not HTTP/1: %q", printable(line))
	}
	resp := &response{status: status, last: version == "HTTP/1.0"}
	total := 0
	for {
		line, err := readLine(r)
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		if total += len(line); total > maxHeader || len(resp.fields) == maxFields {
			return nil, errors.New("too many header fields")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("bad header field %q", printable(line))
		}
		resp.fields = append(resp.fields, field{strings.ToLower(name), strings.Trim(value, " \t")})
	}
	if strings.Contains(strings.ToLower(resp.get("connection")), "close") {
		resp.last = true
	}
	return resp, nil
}

// readLine reads a line of at most maxLine bytes and removes its end.
func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return "", errors.New("a line is too long")
	}
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(b[:len(b)-1], []byte("\r"))), nil
}

// readBody reads the body.
func (r *response) readBody(in *bufio.Reader) error {
	coding := strings.ToLower(r.get("transfer-encoding"))
	switch {
	case coding == "chunked":
		return r.readChunks(in)
	case coding != "":
		return fmt.Errorf("unknown transfer coding %q", printable(coding))
	case r.get("content-length") == "":
		r.last = true // the body ends with the connection
		return r.append(in, maxBody, false)
	}
	n := r.length()
	if n < 0 {
		return fmt.Errorf("bad length %q", printable(r.get("content-length")))
	}
	return r.append(in, n, true)
}

// readChunks reads a body in chunks.
func (r *response) readChunks(in *bufio.Reader) error {
	for {
		line, err := readLine(in)
		if err != nil {
			return err
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 62)
		if err != nil {
			return fmt.Errorf("bad chunk size %q", printable(size))
		}
		if n == 0 {
			return r.readTrailer(in)
		}
		if err := r.append(in, int64(n), true); err != nil {
			return err
		}
		if len(r.body) == maxBody {
			r.last = true
			return nil
		}
		if line, err = readLine(in); err != nil {
			return err
		}
		if line != "" {
			return errors.New("a chunk is longer than its size")
		}
	}
}

// readTrailer skips the fields behind the last chunk.
func (r *response) readTrailer(in *bufio.Reader) error {
	for range maxFields {
		line, err := readLine(in)
		if err != nil || line == "" {
			return err
		}
	}
	return errors.New("too many header fields")
}

// append appends n bytes to the body, or what there is unless whole is set. The body is
// cut at maxBody bytes, and the connection is of no use then.
func (r *response) append(in *bufio.Reader, n int64, whole bool) error {
	if room := int64(maxBody - len(r.body)); n > room {
		n, r.last = room, true
	}
	b, err := io.ReadAll(io.LimitReader(in, n))
	r.body = append(r.body, b...)
	if err == nil && whole && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// StatusError is a status of HTTP that means that a request failed.
type StatusError struct {
	Method string
	Status int
	Reason string // of the server: a code of S3, or the address of a redirect
}

func (e *StatusError) Error() string {
	words := map[int]string{
		400: "the server does not understand the request",
		401: "the server does not accept the key, token or certificate",
		403: "permission denied",
		404: "no such path",
		405: "the server does not allow " + e.Method + " there",
		409: "the directory does not exist, or is in use",
		411: "the server takes no file of unknown size",
		413: "the file is larger than the server accepts",
		429: "the server has too many requests",
		500: "the server has failed",
		501: "the server does not know " + e.Method,
		502: "the server behind a proxy does not answer",
		503: "the server is not available",
		504: "the server behind a proxy does not answer",
		507: "no room at the server",
	}
	text, ok := words[e.Status]
	switch {
	case e.Status/100 == 3:
		text = "the server redirects"
		if e.Reason != "" {
			text += " to " + printable(e.Reason)
		}
		return fmt.Sprintf("%s (status %d)", text, e.Status)
	case !ok:
		text = "the request failed"
	}
	text = fmt.Sprintf("%s (status %d", text, e.Status)
	if e.Reason != "" {
		text += ", " + printable(e.Reason)
	}
	return text + ")"
}

// Is makes errors.Is work with the errors of io/fs and with ENOSPC.
func (e *StatusError) Is(err error) bool {
	switch e.Status {
	case 401, 403:
		return err == fs.ErrPermission
	case 404:
		return err == fs.ErrNotExist
	case 507:
		return err == syscall.ENOSPC
	}
	return false
}

// check returns an error unless the status is among those wanted.
func (r *response) check(method string, want ...int) error {
	for _, w := range want {
		if r.status == w {
			return nil
		}
	}
	e := &StatusError{Method: method, Status: r.status}
	if r.status/100 == 3 {
		e.Reason = r.get("location")
	}
	return e
}

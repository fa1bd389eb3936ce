package remote

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// httpClient is a client of HTTP/1.1 (RFC 9112) for one server and one request at a time.
// It follows no redirect, uses no proxy, keeps no cookies, and is a third of net/http.
type httpClient struct {
	t    *target
	tls  *tls.Config // nil for plain HTTP
	host string      // for the field Host
	base string      // scheme and host

	link *link
	conn net.Conn // the link, or TLS on it
	r    *bufio.Reader
	used bool // for an earlier request
}

// field is a field of a header. Those of answers have lower-case names.
type field struct{ name, value string }

// request is a request to a path, which is escaped.
type request struct {
	method, path string
	fields       []field
	body         []byte // with its length, also if it is empty
	// stream is the body after body, sent in chunks.
	stream   io.Reader
	progress func(int64) // with the bytes of body and stream so far
	work     int64       // bytes that the server handles before it answers, beyond the body
}

// newHTTP prepares a client. It does not connect.
func newHTTP(t *target) (*httpClient, error) {
	s := t.server
	c := &httpClient{t: t, host: s.Host}
	if a, err := netip.ParseAddr(s.Host); err == nil && a.Is6() {
		c.host = "[" + s.Host + "]"
	}
	scheme, port := "https", 443
	if s.PlainHTTP {
		scheme, port = "http", 80
	}
	if s.Port != port {
		c.host += ":" + strconv.Itoa(s.Port)
	}
	c.base = scheme + "://" + c.host
	if s.PlainHTTP {
		return c, nil
	}
	var err error
	c.tls, err = t.tlsConfig()
	return c, err
}

// tlsConfig trusts the certificates of CAFile and no others.
func (t *target) tlsConfig() (*tls.Config, error) {
	s := t.server
	if s.CAFile == "" {
		return nil, errors.New("the image has no certificate of an authority")
	}
	pem, err := t.read(s.CAFile, maxCAFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.Host, RootCAs: x509.NewCertPool(), Time: t.now}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", s.CAFile)
	}
	if s.CertFile == "" {
		return config, nil
	}
	if pem, err = t.read(s.CertFile, maxKeyFile); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(pem, pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.CertFile, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// now returns the time at which certificates are checked.
func (t *target) now() time.Time {
	if now := t.opt.Now(); now.After(t.opt.Built) {
		return now
	}
	return t.opt.Built
}

// connect connects if that is necessary.
func (c *httpClient) connect() error {
	if c.conn != nil {
		return nil
	}
	l, err := c.t.dial()
	if err != nil {
		return err
	}
	c.link, c.conn, c.used = l, l, false
	if c.tls != nil {
		done, lift := l.wait(), l.limit(loginLimit, "the TLS handshake")
		conn := tls.Client(l, c.tls)
		err := conn.Handshake()
		done()
		lift()
		if err != nil {
			c.drop()
			return l.reason(err)
		}
		c.conn = conn
	}
	c.r = bufio.NewReaderSize(c.conn, maxLine)
	return nil
}

// drop ends the connection.
func (c *httpClient) drop() {
	if c.conn != nil {
		// Not by TLS, which would wait for room to write its alert.
		c.link.Close()
		c.conn = nil
	}
}

// do sends a request and returns the answer, whatever its status. A connection that the
// server closed since the last request is replaced, if the body can be sent again.
func (c *httpClient) do(q *request) (*response, error) {
	for {
		if err := c.connect(); err != nil {
			return nil, err
		}
		used, l := c.used, c.link
		c.used = true
		resp, err := c.try(q)
		if err == nil {
			return resp, nil
		}
		c.drop()
		var source *sourceError
		if errors.As(err, &source) {
			return nil, source.err
		}
		if !used || q.stream != nil || l.cause.Load() != nil {
			return nil, l.reason(err)
		}
	}
}

// sourceError is an error of the stream that is sent.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

// reply is the end of a request.
type reply struct {
	resp *response
	err  error
}

// try sends a request on the present connection. Servers may answer, and refuse, before
// they have read the body.
func (c *httpClient) try(q *request) (*response, error) {
	defer c.link.wait()()
	replies := make(chan reply, 1)
	r := c.r
	go func() {
		resp, err := readResponse(r, q.method)
		replies <- reply{resp, err}
	}()
	sent, early, serr := c.send(q, replies)
	var source *sourceError
	if errors.As(serr, &source) {
		c.drop() // without the last chunk
		<-replies
		return nil, serr
	}
	if early == nil {
		done := c.link.waitFor(sent + q.work)
		answer := <-replies
		done()
		early = &answer
	}
	switch {
	case early.err != nil && serr != nil:
		return nil, serr
	case early.err != nil:
		return nil, early.err
	case serr != nil || early.resp.early:
		c.drop() // a part of the body was not sent
		if early.resp.status < 300 {
			return nil, fmt.Errorf("the server answers %d before the end of the request", early.resp.status)
		}
	case early.resp.last:
		c.drop()
	}
	return early.resp, nil
}

// send sends a request and returns the bytes of its body. If the server answers meanwhile,
// send stops and returns the answer.
func (c *httpClient) send(q *request, replies <-chan reply) (int64, *reply, error) {
	b := make([]byte, 0, 1024+len(q.body))
	b = append(b, q.method+" "+q.path+" HTTP/1.1\r\nHost: "+c.host+"\r\nUser-Agent: ukdump\r\n"...)
	for _, f := range q.fields {
		b = append(b, f.name+": "+f.value+"\r\n"...)
	}
	if q.stream != nil {
		b = append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
		if _, err := c.conn.Write(b); err != nil {
			return 0, nil, err
		}
		return c.sendChunks(q, replies)
	}
	if q.body != nil {
		b = append(b, "Content-Length: "+strconv.Itoa(len(q.body))+"\r\n"...)
	}
	b = append(b, "\r\n"...)
	if len(q.body) <= maxLine {
		_, err := c.conn.Write(append(b, q.body...))
		return int64(len(q.body)), nil, err
	}
	if _, err := c.conn.Write(b); err != nil {
		return 0, nil, err
	}
	return c.sendBody(q, replies)
}

// sendBody sends a long body in parts, to see an answer between them.
func (c *httpClient) sendBody(q *request, replies <-chan reply) (int64, *reply, error) {
	const part = 256 << 10
	for n := 0; n < len(q.body); n += part {
		if early := poll(replies); early != nil {
			return int64(n), early, nil
		}
		end := min(n+part, len(q.body))
		if _, err := c.conn.Write(q.body[n:end]); err != nil {
			return int64(n), nil, err
		}
		if q.progress != nil {
			q.progress(int64(end))
		}
	}
	return int64(len(q.body)), nil, nil
}

// sendChunks sends body and stream in chunks: RFC 9112, section 7.1.
func (c *httpClient) sendChunks(q *request, replies <-chan reply) (int64, *reply, error) {
	const room = 16 // for the size and the end of its line
	b := make([]byte, room+64<<10+2)
	var sent int64
	r := io.MultiReader(bytes.NewReader(q.body), &pausingReader{c.link, q.stream})
	for {
		n, err := readPart(r, b[room:len(b)-2])
		if err != nil && err != io.EOF {
			return sent, nil, &sourceError{err}
		}
		if early := poll(replies); early != nil {
			return sent, early, nil
		}
		if n > 0 {
			if _, err := c.conn.Write(frame(b, room, n)); err != nil {
				return sent, nil, err
			}
			sent += int64(n)
			if q.progress != nil {
				q.progress(sent)
			}
		}
		if err == io.EOF {
			_, err := io.WriteString(c.conn, "0\r\n\r\n")
			return sent, nil, err
		}
	}
}

// readPart reads until p is full enough to be worth a chunk. The error is io.EOF at the end.
func readPart(r io.Reader, p []byte) (n int, err error) {
	for n < len(p)/2 && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// frame makes a chunk of the n bytes at b[room:].
func frame(b []byte, room, n int) []byte {
	size := strconv.AppendInt(nil, int64(n), 16)
	start := room - 2 - len(size)
	copy(b[start:], size)
	copy(b[room-2:], "\r\n")
	copy(b[room+n:], "\r\n")
	return b[start : room+n+2]
}

// poll returns an answer that is there already.
func poll(replies <-chan reply) *reply {
	select {
	case early := <-replies:
		if early.resp != nil {
			early.resp.early = true
		}
		return &early
	default:
		return nil
	}
}

// escape escapes a path for a URL, as S3 does too: all but unreserved characters and "/".
func escape(path string, keep string) string {
	const digits = "0123456789ABCDEF"
	var b []byte
	for i := range len(path) {
		if c := path[i]; isUnreserved(c) || keep != "" && c == keep[0] {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

package remote

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"syscall"
)

// The SSH file transfer protocol, version 3: draft-ietf-secsh-filexfer-02. Extensions:
// PROTOCOL of OpenSSH.
const (
	sftpInit     = 1
	sftpVersion  = 2
	sftpOpen     = 3
	sftpClose    = 4
	sftpRead     = 5
	sftpWrite    = 6
	sftpFstat    = 8
	sftpFsetstat = 10
	sftpRemove   = 13
	sftpMkdir    = 14
	sftpRmdir    = 15
	sftpStat     = 17
	sftpRename   = 18
	sftpStatus   = 101
	sftpHandle   = 102
	sftpData     = 103
	sftpAttrs    = 105
	sftpExtended = 200
	sftpReply    = 201

	openRead  = 0x1
	openWrite = 0x2
	openCreat = 0x8
	openTrunc = 0x10

	attrSize        = 0x1
	attrOwner       = 0x2
	attrPermissions = 0x4

	statusOK   = 0
	statusEOF  = 1
	statusNone = 2 // no such file
	statusPerm = 3

	extRename = "posix-rename@openssh.com"
	extFsync  = "fsync@openssh.com"
	extStatfs = "statvfs@openssh.com"
)

const (
	// sftpChunk is the data of one request: it and its head fit into one packet of SSH.
	sftpChunk = 31 << 10
	// sftpWindow is how many requests are in flight: OpenSSH takes 2 MiB at a time.
	sftpWindow = 64
	// maxSFTPAnswer bounds an answer: 256 KiB is the bound of OpenSSH.
	maxSFTPAnswer = 256 << 10
	maxHandle     = 256 // draft, section 6.2
)

var errSFTPShort = errors.New("an answer of the server is too short")

// sftpError is a status other than OK.
type sftpError struct {
	code    uint32
	message string
}

func (e *sftpError) Error() string {
	words := map[uint32]string{
		statusEOF: "end of file", statusNone: "no such file", statusPerm: "permission denied",
		4: "failure", 5: "bad message", 6: "no connection", 7: "connection lost", 8: "not supported",
	}
	text, ok := words[e.code]
	if !ok {
		text = fmt.Sprintf("status %d", e.code)
	}
	if m := printable(e.message); m != "" && !equalFold(m, text) {
		text += " (" + m + ")"
	}
	return text
}

// equalFold compares ASCII texts.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i]|0x20 != b[i]|0x20 {
			return false
		}
	}
	return true
}

// Is makes errors.Is work with the errors of io/fs.
func (e *sftpError) Is(err error) bool {
	return e.code == statusNone && err == fs.ErrNotExist || e.code == statusPerm && err == fs.ErrPermission
}

// sftpClient sends requests and reads their answers, in one goroutine. An error that is
// no *sftpError ends the connection.
type sftpClient struct {
	w    io.Writer
	r    *bufio.Reader
	ext  map[string]bool // that the server has
	id   uint32          // of the last request
	out  []byte          // the request that is being made
	in   []byte          // the answer that was read last
	open int             // writes without an answer
	err  error           // ended the connection
}

// newSFTP begins the protocol on an open channel.
func newSFTP(w io.Writer, r io.Reader) (*sftpClient, error) {
	c := &sftpClient{w: w, r: bufio.NewReaderSize(r, 64<<10), ext: map[string]bool{}}
	if err := c.write(append([]byte(nil), 0, 0, 0, 5, sftpInit, 0, 0, 0, 3)); err != nil {
		return nil, err
	}
	kind, p, err := c.read()
	if err != nil {
		return nil, err
	}
	version := p.uint32()
	if p.short || kind != sftpVersion {
		return nil, errors.New("the server does not speak SFTP")
	}
	if version != 3 {
		return nil, fmt.Errorf("the server speaks version %d of SFTP, not 3", version)
	}
	for len(p.b) > 0 && !p.short && len(c.ext) < 100 {
		name := p.string()
		p.string()
		c.ext[name] = true
	}
	return c, nil
}

// begin begins a request and returns its number.
func (c *sftpClient) begin(kind byte) uint32 {
	c.id++
	c.out = append(c.out[:0], 0, 0, 0, 0, kind)
	c.uint32(c.id)
	return c.id
}

func (c *sftpClient) uint32(n uint32)   { c.out = binary.BigEndian.AppendUint32(c.out, n) }
func (c *sftpClient) uint64(n uint64)   { c.out = binary.BigEndian.AppendUint64(c.out, n) }
func (c *sftpClient) string(s string)   { c.uint32(uint32(len(s))); c.out = append(c.out, s...) }
func (c *sftpClient) extended(s string) { c.begin(sftpExtended); c.string(s) }

// send sends the request.
func (c *sftpClient) send() error {
	binary.BigEndian.PutUint32(c.out, uint32(len(c.out)-4))
	return c.write(c.out)
}

func (c *sftpClient) write(b []byte) error {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
	return c.err
}

// read reads an answer.
func (c *sftpClient) read() (kind byte, p sftpParser, err error) {
	if c.err == nil {
		c.err = c.fill()
	}
	if c.err != nil {
		return 0, sftpParser{}, c.err
	}
	return c.in[0], sftpParser{b: c.in[1:]}, nil
}

// fill reads an answer into c.in.
func (c *sftpClient) fill() error {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return lost(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > maxSFTPAnswer {
		return fmt.Errorf("the server sends an SFTP answer of %d bytes", n)
	}
	if cap(c.in) < int(n) {
		c.in = make([]byte, n)
	}
	c.in = c.in[:n]
	_, err := io.ReadFull(c.r, c.in)
	return lost(err)
}

// lost returns a better error for the end of a connection.
func lost(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// answer reads the answer to request id, the only one in flight.
func (c *sftpClient) answer(id uint32) (kind byte, p sftpParser, err error) {
	kind, p, err = c.read()
	if err != nil {
		return 0, p, err
	}
	if got := p.uint32(); p.short || got != id {
		c.err = fmt.Errorf("the server answers SFTP request %d, not %d", got, id)
		return 0, p, c.err
	}
	return kind, p, nil
}

// status returns the error in an answer of that kind. The parser is behind its number.
func (c *sftpClient) status(kind byte, p sftpParser) error {
	if kind != sftpStatus {
		return c.unexpected(kind)
	}
	code := p.uint32()
	if p.short {
		c.err = errSFTPShort
		return c.err
	}
	if code == statusOK {
		return nil
	}
	return &sftpError{code, p.string()} // the message may be missing
}

func (c *sftpClient) unexpected(kind byte) error {
	c.err = fmt.Errorf("the server sends an unexpected SFTP answer of type %d", kind)
	return c.err
}

// call sends the request and expects a status.
func (c *sftpClient) call() error {
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.send(); err != nil {
		return err
	}
	kind, p, err := c.answer(c.id)
	if err != nil {
		return err
	}
	return c.status(kind, p)
}

// get sends the request and expects an answer of one kind, or the status of an error.
func (c *sftpClient) get(want byte) (sftpParser, error) {
	if err := c.flush(); err != nil {
		return sftpParser{}, err
	}
	if err := c.send(); err != nil {
		return sftpParser{}, err
	}
	kind, p, err := c.answer(c.id)
	if err != nil {
		return p, err
	}
	if kind == want {
		return p, nil
	}
	if err := c.status(kind, p); err != nil {
		return p, err
	}
	return p, c.unexpected(kind) // OK without an answer
}

// flush reads the answers to all writes. It returns the first error among them.
func (c *sftpClient) flush() error { return c.drain(0) }

// drain reads answers until only most writes are open.
func (c *sftpClient) drain(most int) error {
	var first error
	for c.open > most {
		kind, p, err := c.read()
		if err != nil {
			return err
		}
		c.open--
		p.uint32()
		if p.short {
			c.err = errSFTPShort
			return c.err
		}
		err = c.status(kind, p)
		if c.err != nil {
			return c.err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// mkdir makes a directory of mode 0700.
func (c *sftpClient) mkdir(path string) error {
	c.begin(sftpMkdir)
	c.string(path)
	c.uint32(attrPermissions)
	c.uint32(0o700)
	return c.call()
}

func (c *sftpClient) remove(path string) error {
	c.begin(sftpRemove)
	c.string(path)
	return c.call()
}

func (c *sftpClient) rmdir(path string) error {
	c.begin(sftpRmdir)
	c.string(path)
	return c.call()
}

// rename replaces the new name if the server has the extension for that.
func (c *sftpClient) rename(from, to string) error {
	if c.ext[extRename] {
		c.extended(extRename)
	} else {
		c.begin(sftpRename)
	}
	c.string(from)
	c.string(to)
	return c.call()
}

// stat follows links.
func (c *sftpClient) stat(path string) (sftpAttrsOf, error) {
	c.begin(sftpStat)
	c.string(path)
	return c.attrs()
}

// sftpAttrsOf are the attributes of a file that we use.
type sftpAttrsOf struct {
	size int64 // -1 if the server does not tell
	mode uint32
}

func (a sftpAttrsOf) isDir() bool { return a.mode&syscall.S_IFMT == syscall.S_IFDIR }

func (c *sftpClient) attrs() (sftpAttrsOf, error) {
	p, err := c.get(sftpAttrs)
	if err != nil {
		return sftpAttrsOf{}, err
	}
	a := sftpAttrsOf{size: -1}
	flags := p.uint32()
	if flags&attrSize != 0 {
		a.size = int64(min(p.uint64(), math.MaxInt64))
	}
	if flags&attrOwner != 0 {
		p.uint64()
	}
	if flags&attrPermissions != 0 {
		a.mode = p.uint32()
	}
	if p.short {
		c.err = errSFTPShort
		return a, c.err
	}
	return a, nil
}

// room returns the bytes that the user may still write in a file system, -1 if the server
// does not tell.
func (c *sftpClient) room(path string) (int64, error) {
	if !c.ext[extStatfs] {
		return -1, nil
	}
	c.extended(extStatfs)
	c.string(path)
	p, err := c.get(sftpReply)
	if err != nil {
		return -1, err
	}
	p.uint64() // f_bsize
	fragment := p.uint64()
	p.uint64() // f_blocks
	p.uint64() // f_bfree
	available := p.uint64()
	if p.short {
		c.err = errSFTPShort
		return -1, c.err
	}
	if fragment != 0 && available > math.MaxInt64/fragment {
		return math.MaxInt64, nil
	}
	return int64(available * fragment), nil
}

// sftpFile is an open file.
type sftpFile struct {
	c      *sftpClient
	handle string
}

// openFile opens a file with flags of SFTP. A new one has mode 0600.
func (c *sftpClient) openFile(path string, flags uint32) (*sftpFile, error) {
	c.begin(sftpOpen)
	c.string(path)
	c.uint32(flags)
	c.uint32(attrPermissions)
	c.uint32(0o600)
	p, err := c.get(sftpHandle)
	if err != nil {
		return nil, err
	}
	handle := p.string()
	if p.short || len(handle) > maxHandle {
		c.err = errors.New("the server sends a bad SFTP handle")
		return nil, c.err
	}
	return &sftpFile{c, handle}, nil
}

// WriteAt sends writes without waiting for their answers. The error may be that of an
// earlier write.
func (f *sftpFile) WriteAt(p []byte, off int64) (int, error) {
	c := f.c
	for n := 0; n < len(p); {
		part := p[n:min(len(p), n+sftpChunk)]
		if err := c.drain(sftpWindow - 1); err != nil {
			return n, err
		}
		c.begin(sftpWrite)
		c.string(f.handle)
		c.uint64(uint64(off) + uint64(n))
		c.uint32(uint32(len(part)))
		c.out = append(c.out, part...)
		if err := c.send(); err != nil {
			return n, err
		}
		c.open++
		n += len(part)
	}
	return len(p), nil
}

// Truncate sets the size.
func (f *sftpFile) Truncate(size int64) error {
	f.c.begin(sftpFsetstat)
	f.c.string(f.handle)
	f.c.uint32(attrSize)
	f.c.uint64(uint64(size))
	return f.c.call()
}

// ReadAt implements io.ReaderAt.
func (f *sftpFile) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := f.readSome(p[n:min(len(p), n+sftpWindow*sftpChunk)], off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readSome fills p by requests that are in flight together.
func (f *sftpFile) readSome(p []byte, off int64) (int, error) {
	c := f.c
	if err := c.flush(); err != nil {
		return 0, err
	}
	first := c.id + 1
	for n := 0; n < len(p); n += sftpChunk {
		c.begin(sftpRead)
		c.string(f.handle)
		c.uint64(uint64(off) + uint64(n))
		c.uint32(uint32(min(len(p)-n, sftpChunk)))
		if err := c.send(); err != nil {
			return 0, err
		}
	}
	return f.readAnswers(p, first, c.id)
}

// readAnswers reads the answers to the requests first to last, in any order. A short one
// is the end: the caller reads again from there.
func (f *sftpFile) readAnswers(p []byte, first, last uint32) (int, error) {
	c := f.c
	var got [sftpWindow]int
	var failed [sftpWindow]error
	var answered [sftpWindow]bool
	for range int(last-first) + 1 {
		kind, q, err := c.read()
		if err != nil {
			return 0, err
		}
		i := q.uint32() - first
		if q.short || i > last-first || answered[i] {
			c.err = errors.New("the server answers an SFTP request that was not sent")
			return 0, c.err
		}
		answered[i] = true
		want := min(len(p)-int(i)*sftpChunk, sftpChunk)
		if kind != sftpData {
			if failed[i] = c.status(kind, q); failed[i] == nil {
				failed[i] = c.unexpected(kind)
			}
			if c.err != nil {
				return 0, c.err
			}
			continue
		}
		data := q.bytes()
		if q.short || len(data) > want || len(data) == 0 {
			c.err = fmt.Errorf("the server sends %d bytes, %d were asked for", len(data), want)
			return 0, c.err
		}
		got[i] = copy(p[int(i)*sftpChunk:], data)
	}
	n := 0
	for i := range int(last-first) + 1 {
		n += got[i]
		var e *sftpError
		if errors.As(failed[i], &e) && e.code == statusEOF {
			return n, io.EOF
		}
		if failed[i] != nil {
			return n, failed[i]
		}
		if got[i] < min(len(p)-i*sftpChunk, sftpChunk) {
			return n, nil
		}
	}
	return n, nil
}

// size returns the size of the file, -1 if the server does not tell.
func (f *sftpFile) size() (int64, error) {
	f.c.begin(sftpFstat)
	f.c.string(f.handle)
	a, err := f.c.attrs()
	return a.size, err
}

// sync makes the file durable, if the server can.
func (f *sftpFile) sync() error {
	if !f.c.ext[extFsync] {
		return f.c.flush()
	}
	f.c.extended(extFsync)
	f.c.string(f.handle)
	return f.c.call()
}

// abandon closes a file of which a write has failed.
func (f *sftpFile) abandon() {
	for f.c.open > 0 && f.c.err == nil {
		f.c.flush()
	}
	f.close()
}

func (f *sftpFile) close() error {
	f.c.begin(sftpClose)
	f.c.string(f.handle)
	return f.c.call()
}

// sftpParser reads the fields of an answer. short is set if one is missing.
type sftpParser struct {
	b     []byte
	short bool
}

func (p *sftpParser) take(n int) []byte {
	if n > len(p.b) {
		p.short, p.b = true, nil
		return nil
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *sftpParser) uint32() uint32 {
	if b := p.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (p *sftpParser) uint64() uint64 {
	if b := p.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bytes returns a string in the buffer of the answer.
func (p *sftpParser) bytes() []byte { return p.take(int(min(p.uint32(), math.MaxInt32))) }

func (p *sftpParser) string() string { return string(p.bytes()) }

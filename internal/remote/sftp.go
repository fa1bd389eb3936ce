package remote

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
)

// sftpStore writes dumps as directories below server.Path.
type sftpStore struct {
	t      *target
	link   *link
	client *ssh.Client
	c      *sftpClient

	file *sftpFile // of the last stream, which Commit has not closed
	last Result
}

func openSFTP(t *target) (Store, error) {
	client, l, err := dialSSH(t)
	if err != nil {
		return nil, err
	}
	s := &sftpStore{t: t, link: l, client: client}
	if err := s.begin(); err != nil {
		s.Close()
		return nil, l.reason(err)
	}
	return s, nil
}

// begin begins SFTP on the connection.
func (s *sftpStore) begin() error {
	defer s.link.wait()()
	defer s.link.limit(loginLimit, "the beginning of SFTP")()
	session, err := s.client.NewSession()
	if err != nil {
		return err
	}
	w, err := session.StdinPipe()
	if err != nil {
		return err
	}
	r, err := session.StdoutPipe()
	if err != nil {
		return err
	}
	if err := session.RequestSubsystem("sftp"); err != nil {
		return fmt.Errorf("the server has no SFTP for this user: %w", err)
	}
	s.c, err = newSFTP(w, r)
	return err
}

// fail returns the error of an operation on a path at the server.
func (s *sftpStore) fail(op, name string, err error) error {
	return fmt.Errorf("%s %s at %s: %w", op, name, s.t.server.Host, s.full(s.link.reason(err)))
}

// full finds the reason of a failure for which SFTP has no code: a full file system.
func (s *sftpStore) full(err error) error {
	var e *sftpError
	if !errors.As(err, &e) || e.code == statusNone || e.code == statusPerm || s.c.err != nil {
		return err
	}
	if room, rerr := s.c.room(s.t.server.Path); rerr == nil && room >= 0 && room < 1<<20 {
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	return err
}

// path returns the path of a file of a dump.
func (s *sftpStore) path(dir, name string) string { return path.Join(s.t.server.Path, dir, name) }

// Create implements Store.
func (s *sftpStore) Create(machine string, t time.Time) (string, error) {
	defer s.link.wait()()
	parent := s.path(machine, "")
	if err := s.mkdirAll(parent); err != nil {
		return "", s.fail("mkdir", parent, err)
	}
	base := path.Join(machine, crashdir.Name(t))
	dir := base
	const most = 20 // as crashdir.Create
	for n := 2; ; n++ {
		err := s.c.mkdir(s.path(dir, ""))
		if err == nil {
			return dir, nil
		}
		// SFTP has no status for a name that exists.
		if _, serr := s.c.stat(s.path(dir, "")); serr != nil || n > 2*most {
			return "", s.fail("mkdir", s.path(dir, ""), err)
		}
		dir = base + "-" + strconv.Itoa(n)
		if n > most {
			dir = randomDir(machine, t)
		}
	}
}

// mkdirAll makes a directory and those above it.
func (s *sftpStore) mkdirAll(dir string) error {
	a, err := s.c.stat(dir)
	switch {
	case err == nil && a.isDir():
		return nil
	case err == nil:
		return errors.New("not a directory")
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if up := path.Dir(dir); up != dir {
		if err := s.mkdirAll(up); err != nil {
			return err
		}
	}
	err = s.c.mkdir(dir)
	if err == nil {
		return nil
	}
	if a, serr := s.c.stat(dir); serr == nil && a.isDir() { // another machine was faster
		return nil
	}
	return err
}

// Put implements Store.
func (s *sftpStore) Put(dir, name string, r io.Reader) error {
	defer s.link.wait()()
	to := s.path(dir, name)
	if err := s.put(to, r); err != nil {
		return s.fail("write", to, err)
	}
	return nil
}

func (s *sftpStore) put(to string, r io.Reader) error {
	f, err := s.c.openFile(to+crashdir.Suffix, openWrite|openCreat|openTrunc)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(&appender{f: f}, s.pausing(r), make([]byte, sftpChunk))
	if err == nil {
		err = f.sync()
	}
	if err != nil {
		f.abandon()
		return err
	}
	if err := f.close(); err != nil {
		return err
	}
	return s.replace(to+crashdir.Suffix, to)
}

// replace renames a file, also to a name that is taken.
func (s *sftpStore) replace(from, to string) error {
	err := s.c.rename(from, to)
	var e *sftpError
	if err == nil || s.c.ext[extRename] || !errors.As(err, &e) {
		return err
	}
	if s.c.remove(to) != nil {
		return err
	}
	return s.c.rename(from, to)
}

// pausing reads from r, for which no server is responsible.
func (s *sftpStore) pausing(r io.Reader) io.Reader { return &pausingReader{s.link, r} }

type pausingReader struct {
	link *link
	r    io.Reader
}

func (p *pausingReader) Read(b []byte) (int, error) {
	p.link.await.Add(-1)
	defer p.link.await.Add(1)
	return p.r.Read(b)
}

// appender writes one block after the other.
type appender struct {
	f        *sftpFile
	at       int64
	progress func(int64)
}

func (a *appender) Write(p []byte) (int, error) {
	n, err := a.f.WriteAt(p, a.at)
	a.at += int64(n)
	if a.progress != nil {
		a.progress(a.at)
	}
	return n, err
}

// Stream implements Store.
func (s *sftpStore) Stream(dir, name string, r io.Reader) (Result, error) {
	defer s.link.wait()()
	s.drop()
	to := s.path(dir, name) + crashdir.Suffix
	f, err := s.c.openFile(to, openRead|openWrite|openCreat|openTrunc)
	if err != nil {
		return Result{}, s.fail("write", to, err)
	}
	s.file, s.last = f, Result{Name: name}
	if name == crashdir.Vmcore {
		s.last.Size, err = dumpfile.Unflatten(&unflattened{sftpFile: f, progress: s.t.opt.Progress}, s.pausing(r))
	} else {
		s.last.Size, err = io.CopyBuffer(&appender{f: f, progress: s.t.opt.Progress}, struct{ io.Reader }{s.pausing(r)}, make([]byte, 8*sftpChunk))
	}
	if err == nil {
		err = s.c.flush()
	}
	if err != nil {
		return s.last, s.fail("write", to, err)
	}
	return s.last, nil
}

// unflattened is the plain vmcore of a flattened stream. Small records that follow each
// other go in one request.
type unflattened struct {
	*sftpFile
	progress func(int64)
	done     int64
	buf      []byte
	at       int64 // of buf
}

// WriteAt implements io.WriterAt.
func (u *unflattened) WriteAt(p []byte, off int64) (int, error) {
	if len(u.buf) > 0 && (off != u.at+int64(len(u.buf)) || len(u.buf)+len(p) > sftpChunk) {
		if err := u.write(); err != nil {
			return 0, err
		}
	}
	if len(u.buf) == 0 {
		u.at = off
	}
	if len(p) > sftpChunk/2 {
		n, err := u.sftpFile.WriteAt(p, off)
		u.count(n)
		return n, err
	}
	u.buf = append(u.buf, p...)
	return len(p), nil
}

// write writes the records that were kept back.
func (u *unflattened) write() error {
	n, err := u.sftpFile.WriteAt(u.buf, u.at)
	u.count(n)
	u.buf = u.buf[:0]
	return err
}

func (u *unflattened) count(n int) {
	u.done += int64(n)
	u.progress(u.done)
}

// Truncate implements dumpfile.Unflattened.
func (u *unflattened) Truncate(size int64) error {
	if err := u.write(); err != nil {
		return err
	}
	return u.sftpFile.Truncate(size)
}

// Commit implements Store.
func (s *sftpStore) Commit(dir string, m *dumpfile.Memory, progress func()) error {
	defer s.link.wait()()
	if s.file == nil {
		return errors.New("no stream to commit")
	}
	to := s.path(dir, s.last.Name)
	if err := s.verify(m, progress); err != nil {
		return s.fail("verify", to+crashdir.Suffix, err)
	}
	f := s.file
	s.file = nil
	if err := f.close(); err != nil {
		return s.fail("close", to+crashdir.Suffix, err)
	}
	if err := s.replace(to+crashdir.Suffix, to); err != nil {
		return s.fail("rename", to+crashdir.Suffix, err)
	}
	return nil
}

// verify reads back the file of the last stream.
func (s *sftpStore) verify(m *dumpfile.Memory, progress func()) error {
	done := s.link.waitFor(s.last.Size)
	err := s.file.sync()
	done()
	if err != nil {
		return err
	}
	size, err := s.file.size()
	if err != nil {
		return err
	}
	if size != s.last.Size {
		return fmt.Errorf("the file has %d bytes, %d were written", size, s.last.Size)
	}
	if s.last.Name != crashdir.Vmcore {
		return nil
	}
	r := &blockReader{f: s.file, progress: progress}
	h, err := dumpfile.ReadHeader(r)
	if err != nil {
		return err
	}
	if m == nil {
		return h.Verify(r, size)
	}
	return h.VerifyMemory(r, size, *m)
}

// blockReader reads a file in blocks, as each answer takes the time of a round trip. It
// keeps the last one: reads go forward, by some bytes or by many.
type blockReader struct {
	f        *sftpFile
	progress func()
	block    []byte
	at       int64 // of block
}

// blockSize needs about half of the requests that may be in flight.
const blockSize = 1 << 20

// ReadAt implements io.ReaderAt.
func (b *blockReader) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		if err := b.load((off + int64(n)) / blockSize * blockSize); err != nil {
			return n, err
		}
		m := copy(p[n:], b.block[min(off+int64(n)-b.at, int64(len(b.block))):])
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

// load reads the block at an offset, of which only the last is short.
func (b *blockReader) load(at int64) error {
	if b.block != nil && at == b.at {
		return nil
	}
	if b.block == nil {
		b.block = make([]byte, blockSize)
	}
	n, err := b.f.ReadAt(b.block[:blockSize], at)
	if err != nil && err != io.EOF {
		b.block = nil
		return err
	}
	b.block, b.at = b.block[:n], at
	if b.progress != nil {
		b.progress()
	}
	return nil
}

// drop closes the file of an earlier stream.
func (s *sftpStore) drop() {
	if s.file != nil {
		s.file.abandon()
		s.file = nil
	}
}

// Abort implements Store.
func (s *sftpStore) Abort(string) error {
	defer s.link.wait()()
	s.drop()
	return nil
}

// Probe implements Store.
func (s *sftpStore) Probe() (ProbeResult, error) {
	defer s.link.wait()()
	p := ProbeResult{Room: -1, Rename: true, Sync: s.c.ext[extFsync]}
	root := s.t.server.Path
	if err := s.mkdirAll(root); err != nil {
		return p, s.fail("mkdir", root, err)
	}
	dir := s.path(probeName(), "")
	if err := s.c.mkdir(dir); err != nil {
		return p, s.fail("mkdir", dir, err)
	}
	name := path.Join(dir, "test")
	if err := s.put(name, strings.NewReader(probeText)); err != nil {
		return p, s.fail("write", name, err)
	}
	if err := s.readBack(name); err != nil {
		p.Remarks = append(p.Remarks, s.fail("read", name, err).Error())
	} else {
		p.Read = true
	}
	err := s.c.remove(name)
	if err == nil {
		err = s.c.rmdir(dir)
	}
	if err != nil {
		p.Remarks = append(p.Remarks, s.fail("remove", name, err).Error())
	} else {
		p.Remove = true
	}
	if room, err := s.c.room(root); err == nil {
		p.Room = room
	}
	return p, s.link.reason(s.c.err)
}

// readBack reads the file of Probe.
func (s *sftpStore) readBack(name string) error {
	f, err := s.c.openFile(name, openRead)
	if err != nil {
		return err
	}
	b := make([]byte, len(probeText)+1)
	n, err := f.ReadAt(b, 0)
	if cerr := f.close(); err == nil || err == io.EOF {
		err = cerr
	}
	if err == nil && string(b[:n]) != probeText {
		err = errors.New("the file differs from the written content")
	}
	return err
}

// Close implements Store.
func (s *sftpStore) Close() error {
	err := s.client.Close()
	s.link.Close()
	return err
}

// probeText is the content of the file that Probe writes.
const probeText = "kdumpctl verify wrote this file and will remove it.\n"

func probeName() string { return ".ukdump-verify-" + strconv.FormatUint(uint64(rand.Uint32()), 10) }

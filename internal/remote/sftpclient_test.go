package remote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
)

// packet makes an answer of a server.
func packet(kind byte, fields ...any) []byte {
	b := []byte{0, 0, 0, 0, kind}
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(f))
		case uint64:
			b = binary.BigEndian.AppendUint64(b, f)
		case string:
			b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
			b = append(b, f...)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

var sftpHello = packet(sftpVersion, 3, extStatfs, "2", extRename, "1", extFsync, "1")

func TestSFTPAnswers(t *testing.T) {
	stat := func(c *sftpClient) error { _, err := c.stat("/x"); return err }
	mkdir := func(c *sftpClient) error { return c.mkdir("/x") }
	open := func(c *sftpClient) error { _, err := c.openFile("/x", openRead); return err }
	read := func(c *sftpClient) error {
		_, err := (&sftpFile{c, "h"}).ReadAt(make([]byte, 2*sftpChunk), 0)
		return err
	}
	writes := func(c *sftpClient) error {
		f := &sftpFile{c, "h"}
		for range 3 {
			if _, err := f.WriteAt([]byte("x"), 0); err != nil {
				return err
			}
		}
		return f.close()
	}
	full := strings.Repeat("x", sftpChunk)
	for _, tt := range []struct {
		name   string
		do     func(*sftpClient) error
		answer []byte
		want   string
	}{
		{"stat", stat, packet(sftpAttrs, 1, attrSize|attrPermissions, uint64(5), 0o100600), ""},
		{"stat, no file", stat, packet(sftpStatus, 1, statusNone, "No such file", ""), "no such file"},
		{"stat, message", stat, packet(sftpStatus, 1, 4, "Quota\nexceeded", ""), "failure (Quota?exceeded)"},
		{"stat, status without message", stat, packet(sftpStatus, 1, 99), "status 99"},
		{"stat, OK", stat, packet(sftpStatus, 1, 0), "unexpected"},
		{"stat, short", stat, packet(sftpAttrs, 1, attrSize, 0), "too short"},
		{"stat, no number", stat, packet(sftpAttrs), "answers SFTP request"},
		{"stat, another number", stat, packet(sftpAttrs, 2, 0), "answers SFTP request 2, not 1"},
		{"stat, end", stat, nil, "closed the connection"},
		{"stat, cut", stat, packet(sftpAttrs, 1, 0)[:7], "closed the connection"},
		{"stat, huge", stat, []byte{0xff, 0xff, 0xff, 0xff}, "answer of 4294967295 bytes"},
		{"stat, empty", stat, make([]byte, 4), "answer of 0 bytes"},
		{"mkdir", mkdir, packet(sftpStatus, 1, 0), ""},
		{"mkdir, short", mkdir, packet(sftpStatus, 1), "too short"},
		{"mkdir, handle", mkdir, packet(sftpHandle, 1, "h"), "unexpected SFTP answer of type 102"},
		{"open", open, packet(sftpHandle, 1, "h"), ""},
		{"open, long handle", open, packet(sftpHandle, 1, strings.Repeat("h", 257)), "bad SFTP handle"},
		{"open, short", open, packet(sftpHandle, 1, 5), "bad SFTP handle"},
		{"read, in another order", read, join(packet(sftpData, 2, full), packet(sftpData, 1, full)), ""},
		{"read, end", read, join(packet(sftpData, 1, full), packet(sftpStatus, 2, statusEOF)), "EOF"},
		{"read, short, then the rest", read, join(packet(sftpData, 1, full[1:]), packet(sftpData, 2, full), packet(sftpData, 3, full), packet(sftpData, 4, "x")), ""},
		{"read, twice the same", read, join(packet(sftpData, 1, full), packet(sftpData, 1, full)), "was not sent"},
		{"read, too much", read, packet(sftpData, 1, full+"x"), "were asked for"},
		{"read, nothing", read, packet(sftpData, 1, ""), "were asked for"},
		{"read, lies", read, packet(sftpData, 1, -1), "were asked for"},
		{"writes", writes, join(packet(sftpStatus, 1, 0), packet(sftpStatus, 3, 0), packet(sftpStatus, 2, 0), packet(sftpStatus, 4, 0)), ""},
		{"second write fails", writes, join(packet(sftpStatus, 1, 0), packet(sftpStatus, 2, statusPerm), packet(sftpStatus, 3, 0)), "permission denied"},
	} {
		c, err := newSFTP(io.Discard, bytes.NewReader(join(sftpHello, tt.answer)))
		if err != nil {
			t.Fatal(err)
		}
		if err := tt.do(c); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if !errors.Is(&sftpError{code: statusNone}, fs.ErrNotExist) || !errors.Is(&sftpError{code: statusPerm}, fs.ErrPermission) || errors.Is(&sftpError{code: 4}, fs.ErrNotExist) {
		t.Error("errors.Is")
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestSFTPVersion(t *testing.T) {
	for _, tt := range []struct {
		name, answer, want string
	}{
		{"version 3", string(packet(sftpVersion, 3)), ""},
		{"version 6", string(packet(sftpVersion, 6)), "version 6"},
		{"another answer", string(packet(sftpStatus, 1, 0)), "does not speak SFTP"},
		{"text", "This account is not available.\n", "SFTP answer of"},
		{"half an extension", string(packet(sftpVersion, 3, 100)), ""},
	} {
		_, err := newSFTP(io.Discard, strings.NewReader(tt.answer))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

// FuzzSFTP runs all requests against any answers.
func FuzzSFTP(f *testing.F) {
	ok := func(id int) []byte { return packet(sftpStatus, id, 0, "", "") }
	f.Add(join(packet(sftpHandle, 1, "h"), ok(2), ok(3), packet(sftpAttrs, 4, attrSize, uint64(3)), packet(sftpData, 5, "abc"), packet(sftpStatus, 6, statusEOF), ok(7), ok(8),
		packet(sftpReply, 9, uint64(1), uint64(4096), uint64(1), uint64(1), uint64(1)), ok(10)))
	f.Add(packet(sftpStatus, 1, 4, "Failure", "en"))
	f.Fuzz(func(t *testing.T, answers []byte) {
		c, err := newSFTP(io.Discard, bytes.NewReader(join(sftpHello, answers)))
		if err != nil {
			t.Fatal(err)
		}
		file, err := c.openFile("/x", openWrite)
		if err != nil {
			return
		}
		file.WriteAt([]byte("abc"), 0)
		file.sync()
		file.size()
		b := make([]byte, 3*sftpChunk)
		if n, err := file.ReadAt(b, 0); n < len(b) && err == nil {
			t.Errorf("%d bytes without an error", n)
		}
		file.close()
		c.rename("/x", "/y")
		c.room("/")
		c.mkdir("/z")
	})
}

package journal

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEncode(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fields []Field
		want   string
	}{
		{"no field", nil, ""},
		{"plain", []Field{{"MESSAGE", "a = b"}, {"PRIORITY", "2"}}, "MESSAGE=a = b\nPRIORITY=2\n"},
		{"empty", []Field{{"A", ""}}, "A=\n"},
		{"lines", []Field{{"A_1", "x\ny"}, {"B", "z"}}, "A_1\n\x03\x00\x00\x00\x00\x00\x00\x00x\ny\nB=z\n"},
		{"a field in a value", []Field{{"A", "x\nMESSAGE=y"}}, "A\n\x0b\x00\x00\x00\x00\x00\x00\x00x\nMESSAGE=y\n"},
	} {
		if got, err := encode(tt.fields); err != nil || string(got) != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	for _, name := range []string{"", "a", "_A", "1A", "A=", "A\n", "Ä", "A B", strings.Repeat("A", 65)} {
		if _, err := encode([]Field{{name, "x"}}); err == nil {
			t.Errorf("%q is the name of a field", name)
		}
	}
}

func TestSend(t *testing.T) {
	dir, err := os.MkdirTemp("", "journal") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	fields := []Field{{"MESSAGE", "x"}}
	if err := Send(socket, fields, 5*time.Second); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a journal: %v", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := Send(socket, fields, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil || string(b[:n]) != "MESSAGE=x\n" {
		t.Errorf("got %q, %v", b[:n], err)
	}
	if err := Send(socket, []Field{{"MESSAGE", strings.Repeat("x", 16<<20)}}, 5*time.Second); err == nil {
		t.Error("an entry that is too large was sent")
	}
	conn.Close()
	if err := Send(socket, fields, 5*time.Second); err == nil {
		t.Error("an entry was sent to nobody")
	}
}

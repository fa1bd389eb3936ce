package fsid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// luksHeader returns a LUKS header with that JSON.
func luksHeader(version uint16, size uint64, text string) []byte {
	b := make([]byte, 16384)
	copy(b, "LUKS\xba\xbe")
	binary.BigEndian.PutUint16(b[6:], version)
	binary.BigEndian.PutUint64(b[8:], size)
	copy(b[4096:], text)
	return b
}

func TestLUKSText(t *testing.T) {
	const text = `{"keyslots":{"0":{"type":"luks2"}},"segments":{"0":{"type":"crypt"}},"config":{}}`
	for _, tt := range []struct {
		name   string
		header []byte
		want   string
		err    string // part of it
	}{
		{"LUKS2", luksHeader(2, 16384, text), text, ""},
		{"LUKS1", luksHeader(1, 0, ""), "", ""},
		{"no more than the header", luksHeader(2, 16384, text)[:4096+len(text)], text, ""},
		{"no LUKS", make([]byte, 8192), "", "no known"},
		{"empty", nil, "", "no known"},
		{"too large", luksHeader(2, 5<<20, text), "", "impossible size"},
		{"too small", luksHeader(2, 4096, text), "", "impossible size"},
	} {
		got, err := LUKSText(bytes.NewReader(tt.header))
		if string(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if _, err := LUKSText(unreadable{}); !errors.Is(err, errUnreadable) {
		t.Errorf("unreadable: %v", err)
	}
}

var errUnreadable = errors.New("unreadable")

type unreadable struct{}

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, errUnreadable }

func FuzzLUKSText(f *testing.F) {
	f.Add(luksHeader(2, 16384, `{"segments":{}}`))
	f.Add(luksHeader(1, 0, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := LUKSText(bytes.NewReader(b)); err == nil && bytes.IndexByte(s, 0) >= 0 {
			t.Errorf("%q has a NUL", s)
		}
	})
}

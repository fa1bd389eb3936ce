package fsid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

const segments = `{"0":{"type":"crypt","offset":"16777216","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":512}}`

// luksHeader returns a LUKS header with that JSON.
func luksHeader(version uint16, size uint64, text string) []byte {
	b := make([]byte, 16384)
	copy(b, "LUKS\xba\xbe")
	binary.BigEndian.PutUint16(b[6:], version)
	binary.BigEndian.PutUint64(b[8:], size)
	copy(b[4096:], text)
	return b
}

func TestLUKSSegments(t *testing.T) {
	const text = `{"keyslots":{"0":{"type":"luks2"}},"segments":` + segments + `,"config":{}}`
	for _, tt := range []struct {
		name   string
		header []byte
		want   string
		err    string // part of it
	}{
		{"LUKS2", luksHeader(2, 16384, text), segments, ""},
		{"LUKS1", luksHeader(1, 0, ""), "", ""},
		{"no more than the header", luksHeader(2, 16384, text)[:4096+len(text)], segments, ""},
		{"no LUKS", make([]byte, 8192), "", "no known"},
		{"empty", nil, "", "no known"},
		{"too large", luksHeader(2, 5<<20, text), "", "LUKS header of 5242880 bytes"},
		{"too small", luksHeader(2, 4096, text), "", "LUKS header of 4096 bytes"},
		{"no JSON", luksHeader(2, 16384, "x"), "", "invalid character"},
		{"no segments", luksHeader(2, 16384, "{}"), "", "without segments"},
	} {
		got, err := LUKSSegments(bytes.NewReader(tt.header))
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if _, err := LUKSSegments(unreadable{}); !errors.Is(err, errUnreadable) {
		t.Errorf("unreadable: %v", err)
	}
}

var errUnreadable = errors.New("unreadable")

type unreadable struct{}

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, errUnreadable }

func FuzzLUKSSegments(f *testing.F) {
	f.Add(luksHeader(2, 16384, `{"segments":`+segments+`}`))
	f.Add(luksHeader(1, 0, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := LUKSSegments(bytes.NewReader(b)); err == nil && s != "" && !bytes.Contains(b, []byte(s)) {
			t.Errorf("%q is not in the header", s)
		}
	})
}

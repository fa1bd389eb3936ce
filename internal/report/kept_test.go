package report

import (
	"bytes"
	"strings"
	"testing"

	"ukdump/internal/cli"
)

func TestReadFingerprint(t *testing.T) {
	var b bytes.Buffer
	if err := cli.WriteJSON(&b, fixture()); err != nil {
		t.Fatal(err)
	}
	if f, err := ReadFingerprint(&b); err != nil || f.ID != fixture().Fingerprint.ID || len(f.Frames) != 2 {
		t.Errorf("got %+v, %v", f, err)
	}
	for _, text := range []string{
		"", "{", "[]", "{}", `{"version":1,"dump":{}}`, `{"fingerprint":null}`, `{"fingerprint":{"id":"v1:0"}}`, `{"fingerprint":7}`,
		`{"software":"` + strings.Repeat("x", maxHead) + `","fingerprint":{"id":"v1:0123456789abcdef"}}`,
	} {
		if f, err := ReadFingerprint(strings.NewReader(text)); err == nil {
			t.Errorf("%.40s: got %+v", text, f)
		}
	}
}

func TestSummary(t *testing.T) {
	for want, r := range map[string]*Report{
		"fingerprint not known": {},
		"v1:0123456789abcdef, BUG: kernel NULL pointer dereference, address: 0000000000000008, in bad_function": fixture(),
	} {
		if got := r.Summary(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func FuzzReadFingerprint(f *testing.F) {
	f.Add([]byte(`{"version":1,"fingerprint":{"id":"v1:0123456789abcdef","kind":"x","frames":["a"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ReadFingerprint(bytes.NewReader(b)); err == nil && !fingerprintID.MatchString(p.ID) {
			t.Error(p.ID)
		}
	})
}

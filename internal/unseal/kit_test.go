package unseal

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	agetest "c2sp.org/CCTV/age"
)

// The vectors that all implementations of the format share.
func TestKit(t *testing.T) {
	vectors, err := fs.ReadDir(agetest.Vectors, ".")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, v := range vectors {
		t.Run(v.Name(), func(t *testing.T) {
			b, err := fs.ReadFile(agetest.Vectors, v.Name())
			if err != nil {
				t.Fatal(err)
			}
			head, file, _ := bytes.Cut(b, []byte("\n\n"))
			var keys []string
			facts := map[string]string{}
			for line := range strings.SplitSeq(string(head), "\n") {
				name, value, _ := strings.Cut(line, ": ")
				if facts[name] = value; name == "identity" {
					keys = append(keys, value)
				}
			}
			if facts["armored"] != "" || len(keys) == 0 {
				t.Skip("armor and passphrases are not supported")
			}
			tried++
			if facts["compressed"] != "" {
				z, err := zlib.NewReader(bytes.NewReader(file))
				if err != nil {
					t.Fatal(err)
				}
				if file, err = io.ReadAll(z); err != nil {
					t.Fatal(err)
				}
			}
			list, err := parseIdentities([]byte(strings.Join(keys, "\n")))
			if err != nil {
				t.Fatal(err)
			}
			checkVector(t, file, &Identities{list, "kit"}, facts)
		})
	}
	if tried < 80 {
		t.Errorf("%d vectors were tried", tried)
	}
}

func checkVector(t *testing.T, file []byte, ids *Identities, facts map[string]string) {
	var b bytes.Buffer
	_, err := Decrypt(&b, bytes.NewReader(file), ids)
	if got := kindOf(err); got != facts["expect"] {
		t.Errorf("got %s (%v), want %s", got, err, facts["expect"])
	}
	if sum := sha256.Sum256(b.Bytes()); facts["payload"] != "" && hex.EncodeToString(sum[:]) != facts["payload"] {
		t.Errorf("another content, %d bytes", b.Len())
	}
	r, err := Open(bytes.NewReader(file), int64(len(file)), ids)
	if err != nil {
		if facts["expect"] == "success" {
			t.Errorf("by offsets: %v", err)
		}
		return
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	switch {
	case err == nil && facts["expect"] != "success":
		t.Errorf("by offsets: success, want %s", facts["expect"])
	case facts["expect"] == "success" && (err != nil || !bytes.Equal(got, b.Bytes())):
		t.Errorf("by offsets: another content, %v", err)
	}
}

// kindOf names an error as the kit does.
func kindOf(err error) string {
	var wrong *KeyError
	var damaged *DamagedError
	switch {
	case err == nil:
		return "success"
	case errors.As(err, &wrong):
		return "no match"
	case errors.As(err, &damaged) && damaged.Part == Header && strings.Contains(err.Error(), "MAC"):
		return "HMAC failure"
	case errors.As(err, &damaged) && damaged.Part == Header:
		return "header failure"
	case errors.As(err, &damaged):
		return "payload failure"
	}
	return err.Error()
}

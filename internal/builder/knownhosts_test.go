package builder

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// hostKey returns a key as it is in known_hosts.
func hostKey(t testing.TB, seed byte) string {
	t.Helper()
	public := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize))).Public()
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func TestHostKeys(t *testing.T) {
	a, b := hostKey(t, 'a'), hostKey(t, 'b')
	hash := func(at string) string {
		salt := []byte("01234567890123456789")
		h := hmac.New(sha1.New, salt)
		h.Write([]byte(at))
		return "|1|" + base64.StdEncoding.EncodeToString(salt) + "|" + base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	for _, tt := range []struct {
		name, file string
		host       string
		port       int
		want       []string
	}{
		{"plain", "nas " + a + "\nother " + b, "nas", 22, []string{a}},
		{"case", "NAS.example.org " + a, "nas.Example.org", 22, []string{a}},
		{"two keys", "nas,192.0.2.1 " + a + "\nnas " + b + "\nnas " + a, "nas", 22, []string{a, b}},
		{"address", "nas,192.0.2.1 " + a, "192.0.2.1", 22, []string{a}},
		{"IPv6 in another form", "2001:DB8:0::1 " + a, "2001:db8::1", 22, []string{a}},
		{"port", "nas " + a + "\n[nas]:2222 " + b, "nas", 2222, []string{b}},
		{"no port", "[nas]:2222 " + b, "nas", 22, nil},
		{"wildcard", "*.example.org,!bad.example.org " + a, "x.example.org", 22, []string{a}},
		{"negated", "*.example.org,!bad.example.org " + a, "bad.example.org", 22, nil},
		{"hashed", hash("nas") + " " + a, "nas", 22, []string{a}},
		{"hashed port", hash("[nas]:2222") + " " + a, "nas", 2222, []string{a}},
		{"hashed, case", hash("nas") + " " + a, "NAS", 22, []string{a}},
		{"hash of another", hash("sna") + " " + a, "nas", 22, nil},
		{"revoked", "nas " + a + "\nnas " + b + "\n@revoked * " + a, "nas", 22, []string{b}},
		{"revoked first", "@revoked nas " + a + "\nnas " + a, "nas", 22, nil},
		{"authority", "@cert-authority nas " + a, "nas", 22, nil},
		{"comments", "# nas\n\n  nas " + a + " root@here", "nas", 22, []string{a}},
		{"unknown type of another host", "other ssh-future AAAA\nnas " + a, "nas", 22, []string{a}},
		{"empty", "", "nas", 22, nil},
	} {
		got, err := hostKeysIn([]byte(tt.file), tt.host, tt.port)
		if err != nil || strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	if _, err := hostKeysIn([]byte("other "+a+"\nnas ssh-ed25519 AAAA!"), "nas", 22); err == nil || !strings.HasPrefix(err.Error(), "2: ") {
		t.Errorf("bad key: %v", err)
	}
}

func FuzzHostKeys(f *testing.F) {
	f.Add("nas "+hostKey(f, 'a'), "nas", 22)
	f.Add("|1|AAAA|BBBB ssh-ed25519 AAAA\n@revoked * x y", "nas", 2222)
	f.Fuzz(func(t *testing.T, file, host string, port int) {
		keys, err := hostKeysIn([]byte(file), host, port)
		if err != nil && len(keys) > 0 {
			t.Error("keys and an error")
		}
	})
}

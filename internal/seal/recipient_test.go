package seal

import (
	"strings"
	"testing"

	"filippo.io/age"
)

// public is the key of the examples in age's README.
const public = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"

func TestParseRecipient(t *testing.T) {
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	zeros := "age1" + strings.Repeat("q", dataLen)
	for _, tt := range []struct{ name, text, want string }{ // want is part of the error
		{"key of age-keygen", public, ""},
		{"empty", "", "begins with age1"},
		{"one character wrong", strings.Replace(public, "ql3z", "ql3q", 1), "checksum"},
		{"two characters swapped", strings.Replace(public, "ql3z", "q3lz", 1), "checksum"},
		{"last character missing", public[:len(public)-1], "61 characters, not 62"},
		{"space behind it", public + " ", "63 characters"},
		{"upper case", strings.ToUpper(public), "begins with age1"},
		{"mixed case", strings.Replace(public, "ql3z", "qL3z", 1), "character 6"},
		{"letter that Bech32 lacks", strings.Replace(public, "ql3z", "qb3z", 1), "character 6"},
		{"not ASCII", strings.Replace(public, "ql3z", "qé3", 1), "character 6"},
		{"zeros", withChecksum(zeros), "small order"},
		{"last bits", withChecksum(zeros[:len(zeros)-1] + "p"), "last bits"},
		{"post-quantum key", pq.Recipient().String(), "post-quantum"},
		{"token", "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e", "hardware token"},
		{"post-quantum token", "age1tagpq1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53", "hardware token"},
		{"plugin", "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "plugin age-plugin-yubikey"},
		{"SSH key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN", "SSH key"},
		{"RSA key", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAA", "SSH key"},
		{"ECDSA key", "ecdsa-sha2-nistp256 AAAA", "SSH key"},
		{"security key", "sk-ssh-ed25519@openssh.com AAAA", "hardware token"},
		{"user of a forge", "github:torvalds", "begins with age1"},
		{"long", "age1" + strings.Repeat("x", 1<<20), "characters, not 62"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseRecipient(tt.text)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			if len(err.Error()) > 600 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

// A message must not show a private key.
func TestPrivateKeyIsNotShown(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := id.String()
	for _, text := range []string{key, strings.ToLower(key), " " + key} {
		_, err := ParseRecipient(text)
		if err == nil || !strings.Contains(err.Error(), "private key") || strings.Contains(strings.ToUpper(err.Error()), key[20:30]) {
			t.Errorf("got %v", err)
		}
	}
}

// withChecksum appends the checksum of Bech32.
func withChecksum(s string) string {
	sum := checksumOfPrefix()
	for _, c := range []byte(s[len(prefix)+1:]) {
		sum = step(sum, uint32(strings.IndexByte(alphabet, c)))
	}
	for range checksumLen {
		sum = step(sum, 0)
	}
	sum ^= 1
	for i := range checksumLen {
		s += alphabet[sum>>(5*(checksumLen-1-i))&31:][:1]
	}
	return s
}

// A recipient is accepted if and only if age accepts it, except for weak keys.
func FuzzParseRecipient(f *testing.F) {
	for _, s := range []string{public, "", "age1", "age1pq1qqqq", "ssh-ed25519 AAAA", withChecksum("age1" + strings.Repeat("p", dataLen-1) + "q"), withChecksum("age1" + strings.Repeat("q", dataLen))} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, s := range []string{s, fixed(s)} {
			r, err := ParseRecipient(s)
			want, wantErr := age.ParseX25519Recipient(s)
			if err != nil {
				if wantErr == nil && !strings.Contains(err.Error(), "small order") {
					t.Errorf("%q: %v, age accepts it", s, err)
				}
				continue
			}
			if wantErr != nil {
				t.Fatalf("%q is accepted, but age says: %v", s, wantErr)
			}
			var b strings.Builder
			w, err := NewWriter(&b, random(t, ""), r)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if want.String() != s {
				t.Errorf("%q is %s for age", s, want)
			}
		}
	})
}

// fixed makes a recipient with a right checksum of any text.
func fixed(s string) string {
	data := []byte(strings.Repeat("q", dataLen))
	for i := range min(len(s), len(data)-1) {
		data[i] = alphabet[s[i]&31]
	}
	return withChecksum("age1" + string(data))
}

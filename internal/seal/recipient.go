package seal

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"strings"
)

// Recipient is a public key that files are encrypted to: an X25519 key of age-keygen(1).
type Recipient struct{ key [32]byte }

// ParseRecipient parses a public key as age-keygen(1) prints it, "age1…". Every other kind
// of recipient that age knows is refused by its name.
func ParseRecipient(s string) (Recipient, error) {
	r, err := parseRecipient(s)
	if err != nil && secret(s) {
		return r, errors.New("recipient: a private key; ENCRYPT takes the public key that age-keygen -y prints")
	}
	if err != nil {
		return r, fmt.Errorf("recipient %.100q: %w", s, err)
	}
	return r, nil
}

// secret reports whether a string is a private key, which no message may show.
func secret(s string) bool {
	s = strings.ToUpper(s)
	return strings.Contains(s, "AGE-SECRET-KEY-") || strings.Contains(s, "AGE-PLUGIN-") || strings.Contains(s, "PRIVATE KEY")
}

// Form of a recipient: Bech32 (BIP 173) of 32 bytes, without its limit of 90 characters.
const (
	prefix       = "age"
	alphabet     = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	checksumLen  = 6
	dataLen      = 52 // 32 bytes, 5 bits a character
	recipientLen = len(prefix) + 1 + dataLen + checksumLen
)

func parseRecipient(s string) (Recipient, error) {
	var r Recipient
	if err := refused(s); err != nil {
		return r, err
	}
	if len(s) != recipientLen {
		return r, fmt.Errorf("%d characters, not %d", len(s), recipientLen)
	}
	data := s[len(prefix)+1:]
	sum := checksumOfPrefix()
	bits, n, at := uint32(0), 0, 0
	for i := range len(data) {
		v := strings.IndexByte(alphabet, data[i])
		if v < 0 {
			return r, fmt.Errorf("character %d is not one of Bech32 in lower case", len(prefix)+2+i)
		}
		sum = step(sum, uint32(v))
		if i >= dataLen {
			continue
		}
		if bits, n = bits<<5|uint32(v), n+5; n >= 8 {
			n -= 8
			r.key[at] = byte(bits >> n)
			at++
		}
	}
	if sum != 1 {
		return r, errors.New("the checksum does not match: a character is wrong")
	}
	if bits&(1<<n-1) != 0 {
		return r, errors.New("the last bits of the key are not 0")
	}
	return r, r.check()
}

// refused returns the reason why a recipient of another kind is refused.
func refused(s string) error {
	for _, kind := range []struct{ prefix, what string }{
		{"age1pq1", "a post-quantum key"},
		{"age1tag1", "a key on a hardware token"},
		{"age1tagpq1", "a post-quantum key on a hardware token"},
		{"ssh-", "an SSH key"},
		{"ecdsa-", "an SSH key"},
		{"sk-", "an SSH key on a hardware token"},
	} {
		if strings.HasPrefix(s, kind.prefix) {
			return fmt.Errorf("%s: dumps are encrypted to X25519 keys of age-keygen only", kind.what)
		}
	}
	rest, ok := strings.CutPrefix(s, prefix+"1")
	if !ok {
		return errors.New("a public key of age-keygen begins with age1")
	}
	// "1" is not in the alphabet: it ends the name of a plugin.
	if i := strings.LastIndexByte(rest, '1'); i >= 0 {
		return fmt.Errorf("a key of the plugin age-plugin-%.40s: dumps are encrypted to X25519 keys of age-keygen only", rest[:i])
	}
	return nil
}

// check refuses keys with which every secret would be known to all.
func (r *Recipient) check() error {
	scalar := make([]byte, 32)
	scalar[0] = 8 // any; the exchange sets the bits that it needs
	key, err := ecdh.X25519().NewPrivateKey(scalar)
	if err != nil {
		return err
	}
	if _, err := r.exchange(key); err != nil {
		return errors.New("a point of small order, which age-keygen never makes")
	}
	return nil
}

// step is the checksum of Bech32 with one more value of 5 bits.
func step(sum, v uint32) uint32 {
	top := sum >> 25
	sum = sum&0x1ffffff<<5 ^ v
	for i, g := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
		if top>>i&1 == 1 {
			sum ^= g
		}
	}
	return sum
}

// checksumOfPrefix is the checksum of the prefix, expanded as Bech32 requires.
func checksumOfPrefix() uint32 {
	sum := uint32(1)
	for i := range len(prefix) {
		sum = step(sum, uint32(prefix[i]>>5))
	}
	sum = step(sum, 0)
	for i := range len(prefix) {
		sum = step(sum, uint32(prefix[i]&31))
	}
	return sum
}

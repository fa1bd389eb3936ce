package unseal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"

	"ukdump/internal/advice"
	"ukdump/internal/seal"
)

// Identities are private keys.
type Identities struct {
	list   []age.Identity
	source string // file that they are from, for messages
}

// maxIdentities bounds a file of identities, in bytes.
const maxIdentities = 1 << 20

// ReadIdentities reads a file of private keys as age-keygen(1) writes it; "-" is standard
// input. No error shows a part of the file.
func ReadIdentities(path string) (*Identities, error) {
	name := path
	if name == "-" {
		path, name = "/dev/stdin", "standard input"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIdentities+1))
	if err != nil {
		return nil, err
	}
	list, err := parseIdentities(b)
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", name, err)
	}
	return &Identities{list, name}, nil
}

const armorBegin = "-----BEGIN AGE ENCRYPTED FILE-----"

func parseIdentities(b []byte) (list []age.Identity, err error) {
	switch {
	case len(b) > maxIdentities:
		return nil, fmt.Errorf("larger than %d bytes", maxIdentities)
	case bytes.HasPrefix(b, []byte(seal.Magic)), bytes.HasPrefix(bytes.TrimSpace(b), []byte(armorBegin)):
		return nil, advice.With(errors.New("protected by a passphrase"), "Run age -d FILE | kdumpctl decrypt --identity - DUMP.")
	case bytes.Contains(b, []byte("-----BEGIN ")):
		return nil, advice.With(errors.New("an SSH or TLS key: dumps are encrypted to keys of age-keygen"), "Give the file that age-keygen has written.")
	}
	n := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		n++
		line = strings.TrimSuffix(line, "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := parseIdentity(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, id)
	}
	if len(list) == 0 {
		return nil, errors.New("no private key")
	}
	return list, nil
}

func parseIdentity(line string) (id age.Identity, err error) {
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
		id, err = age.ParseHybridIdentity(line)
	case strings.HasPrefix(line, "AGE-SECRET-KEY-1"):
		id, err = age.ParseX25519Identity(line)
	case strings.HasPrefix(line, "AGE-PLUGIN-"):
		return nil, errors.New("a key of a plugin: dumps are encrypted to keys of age-keygen")
	case strings.HasPrefix(line, "age1"):
		return nil, advice.With(errors.New("a public key: only the private key decrypts"), "Give the file that age-keygen has written.")
	default:
		return nil, errors.New("not a private key of age-keygen")
	}
	if err != nil { // it may quote the key
		return nil, errors.New("not a valid private key: a character is wrong or missing")
	}
	return id, nil
}

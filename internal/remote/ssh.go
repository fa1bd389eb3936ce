package remote

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/cpu"
)

// dialSSH logs in to an SSH server that has one of the recorded keys.
func dialSSH(t *target) (*ssh.Client, *link, error) {
	s := t.server
	pins, err := parseHostKeys(s.HostKeys)
	if err != nil {
		return nil, nil, err
	}
	signer, err := t.sshKey()
	if err != nil {
		return nil, nil, err
	}
	l, err := t.dial()
	if err != nil {
		return nil, nil, err
	}
	config := &ssh.ClientConfig{
		User:              s.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: pins.algorithms(),
		HostKeyCallback:   pins.check,
	}
	config.Ciphers = ciphers()
	defer l.wait()()
	defer l.limit(loginLimit, "the login")()
	conn, channels, requests, err := ssh.NewClientConn(l, s.Host, config)
	if err != nil {
		l.Close()
		return nil, nil, loginError(s.User, l.reason(err))
	}
	return ssh.NewClient(conn, channels, requests), l, nil
}

// loginError names the key in an error of the login, if the server accepts no key.
func loginError(user string, err error) error {
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fmt.Errorf("the server does not accept the key for user %s: %w", user, err)
	}
	return err
}

// sshKey reads the private key.
func (t *target) sshKey() (ssh.Signer, error) {
	b, err := t.read(t.server.KeyFile, maxKeyFile)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(b)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("%s: the key has a passphrase, and nobody can enter it after a crash", t.server.KeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.server.KeyFile, err)
	}
	return signer, nil
}

// ciphers prefers the one that the CPU does in hardware. The others are for servers with a
// policy of their own.
func ciphers() []string {
	list := []string{"aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr", "aes256-ctr"}
	if !cpu.X86.HasAES && !cpu.ARM64.HasAES {
		list[0], list[2] = list[2], list[0]
	}
	return list
}

// hostKeys are the keys of a server when the image was built.
type hostKeys []ssh.PublicKey

// parseHostKeys parses keys in the form of authorized_keys(5).
func parseHostKeys(lines []string) (hostKeys, error) {
	var keys hostKeys
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 2 {
			return nil, fmt.Errorf("host key %q has no type or no key", line)
		}
		b, err := base64.StdEncoding.DecodeString(f[1])
		if err != nil {
			return nil, fmt.Errorf("host key of type %s: %w", f[0], err)
		}
		key, err := ssh.ParsePublicKey(b)
		if err != nil {
			return nil, fmt.Errorf("host key of type %s: %w", f[0], err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no host key is known")
	}
	return keys, nil
}

// algorithms returns those of the keys: a server with several keys must show one that is
// known.
func (h hostKeys) algorithms() []string {
	var list []string
	for _, key := range h {
		algorithms := []string{key.Type()}
		if key.Type() == ssh.KeyAlgoRSA { // without SHA-1, RFC 8332
			algorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, a := range algorithms {
			if !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list
}

// check implements ssh.HostKeyCallback.
func (h hostKeys) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	var known []string
	for _, k := range h {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return nil
		}
		known = append(known, k.Type()+" "+ssh.FingerprintSHA256(k))
	}
	return &HostKeyError{Got: key.Type() + " " + ssh.FingerprintSHA256(key), Known: known}
}

// HostKeyError reports a server that has none of the recorded host keys.
type HostKeyError struct {
	Got   string   // type and fingerprint
	Known []string // likewise
}

func (e *HostKeyError) Error() string {
	return fmt.Sprintf("the host key of the server is %s, the recorded key is %s", e.Got, strings.Join(e.Known, ", "))
}

// Package seal encrypts dumps to public keys in the format of age
// (https://age-encryption.org/v1). It is the half that a capture kernel needs: recipients
// and writing. Package unseal has the other half.
//
// The age library is not linked here for two reasons. It makes kdumpinit-net larger by
// 320 KB, this package by 60 KB. And it takes random numbers from getrandom(2) alone, which
// may wait for long in a capture kernel.
package seal

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// Magic is the beginning of every age file that is not armored.
const Magic = "age-encryption.org/v1\n"

// MaxRecipients is the largest number of recipients of a file.
const MaxRecipients = 64

// Sizes in bytes, by the specification.
const (
	chunkSize   = 64 << 10 // plaintext of a chunk
	chunkTag    = chacha20poly1305.Overhead
	fileKeySize = 16
	nonceSize   = 16 // of the payload
	stanzaSize  = len(stanzaBegin) + 43 + 1 + 43 + 1
	footerSize  = len(footerBegin) + 1 + 43 + 1
)

// Parts of a header.
const (
	stanzaBegin = "-> X25519 "
	footerBegin = "---"
)

// Labels of HKDF, by the specification.
const (
	labelX25519  = "age-encryption.org/v1/X25519"
	labelHeader  = "header"
	labelPayload = "payload"
)

// Size returns the size in bytes of an age file with plain bytes of content.
func Size(plain int64, recipients int) int64 {
	chunks := max(1, (plain+chunkSize-1)/chunkSize)
	return int64(len(Magic)+recipients*stanzaSize+footerSize+nonceSize) + plain + chunks*chunkTag
}

// writer is the payload of an age file.
type writer struct {
	w     io.Writer
	aead  cipher.AEAD
	nonce [chacha20poly1305.NonceSize]byte // a counter, and a flag for the last chunk
	buf   []byte                           // plaintext of the current chunk, with room for its tag
	err   error                            // ends all further writing
}

// NewWriter writes the header of an age file for the recipients to w and returns a writer
// of its content. The file is whole after Close, which does not close w. The memory in use
// is that of one chunk. rand must be a secure source, see NewRand.
func NewWriter(w io.Writer, rand io.Reader, recipients ...Recipient) (io.WriteCloser, error) {
	s, err := newWriter(w, rand, recipients)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return s, nil
}

func newWriter(w io.Writer, rand io.Reader, recipients []Recipient) (*writer, error) {
	if len(recipients) == 0 || len(recipients) > MaxRecipients {
		return nil, fmt.Errorf("%d recipients, not 1 to %d", len(recipients), MaxRecipients)
	}
	secret := make([]byte, fileKeySize+nonceSize)
	if _, err := io.ReadFull(rand, secret); err != nil {
		return nil, err
	}
	fileKey, nonce := secret[:fileKeySize], secret[fileKeySize:]
	head, err := header(fileKey, rand, recipients)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(fileKey, nonce, labelPayload)
	if err != nil {
		return nil, err
	}
	if err := writeAll(w, append(head, nonce...)); err != nil {
		return nil, err
	}
	return &writer{w: w, aead: aead, buf: make([]byte, 0, chunkSize+chunkTag)}, nil
}

// header returns the header of a file: a stanza for each recipient and a MAC of them.
func header(fileKey []byte, rand io.Reader, recipients []Recipient) ([]byte, error) {
	head := []byte(Magic)
	for _, r := range recipients {
		share, body, err := r.wrap(fileKey, rand)
		if err != nil {
			return nil, err
		}
		head = append(head, stanzaBegin...)
		head = append(base64.RawStdEncoding.AppendEncode(head, share), '\n')
		head = append(base64.RawStdEncoding.AppendEncode(head, body), '\n')
	}
	head = append(head, footerBegin...)
	key, err := hkdf.Key(sha256.New, fileKey, nil, labelHeader, sha256.Size)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(head)
	head = append(head, ' ')
	return append(base64.RawStdEncoding.AppendEncode(head, mac.Sum(nil)), '\n'), nil
}

// wrap encrypts the key of a file to a recipient. It returns the share and the body of the
// stanza.
func (r *Recipient) wrap(fileKey []byte, rand io.Reader) (share, body []byte, err error) {
	scalar := make([]byte, 32)
	if _, err := io.ReadFull(rand, scalar); err != nil {
		return nil, nil, err
	}
	ephemeral, err := ecdh.X25519().NewPrivateKey(scalar)
	if err != nil {
		return nil, nil, err
	}
	secret, err := r.exchange(ephemeral)
	if err != nil {
		return nil, nil, err
	}
	share = ephemeral.PublicKey().Bytes()
	aead, err := newAEAD(secret, append(share[:len(share):len(share)], r.key[:]...), labelX25519)
	if err != nil {
		return nil, nil, err
	}
	// Each wrapping key is used once, so its nonce is 0.
	return share, aead.Seal(nil, make([]byte, chacha20poly1305.NonceSize), fileKey, nil), nil
}

// exchange returns the secret that the key has in common with the recipient's. It is an
// error if that does not depend on key, as for points of a small order (RFC 7748, 6.1).
func (r *Recipient) exchange(key *ecdh.PrivateKey) ([]byte, error) {
	public, err := ecdh.X25519().NewPublicKey(r.key[:])
	if err != nil {
		return nil, err
	}
	return key.ECDH(public)
}

// newAEAD returns the cipher with a key that is derived from a secret.
func newAEAD(secret, salt []byte, label string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, salt, label, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	return chacha20poly1305.New(key)
}

var errClosed = errors.New("encrypt: the file has ended")

// Write implements io.Writer.
func (s *writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && s.err == nil {
		// A full chunk waits for more data: the last one has a flag and may be full.
		if len(s.buf) == chunkSize {
			s.flush(false)
			continue
		}
		part := p[:min(len(p), chunkSize-len(s.buf))]
		s.buf = append(s.buf, part...)
		n, p = n+len(part), p[len(part):]
	}
	return n, s.err
}

// Close ends the file.
func (s *writer) Close() error {
	if s.err == nil {
		s.flush(true)
	}
	if s.err != nil {
		return s.err
	}
	s.err = errClosed
	return nil
}

// flush writes the current chunk.
func (s *writer) flush(last bool) {
	if last {
		s.nonce[len(s.nonce)-1] = 1
	}
	s.buf = s.aead.Seal(s.buf[:0], s.nonce[:], s.buf, nil)
	s.err = writeAll(s.w, s.buf)
	s.buf = s.buf[:0]
	for i := len(s.nonce) - 2; i >= 0; i-- { // 88 bits do not overflow
		if s.nonce[i]++; s.nonce[i] != 0 {
			break
		}
	}
}

// writeAll is w.Write for a writer that may break the rules of io.Writer.
func writeAll(w io.Writer, p []byte) error {
	n, err := w.Write(p)
	if err == nil && n < len(p) {
		return io.ErrShortWrite
	}
	return err
}

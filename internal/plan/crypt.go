package plan

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// CryptVolume is how the topmost device of a layer of kind Crypt is made of its
// only member, the one with the LUKS header whose UUID the layer has. The words
// are those of a table of dm-crypt
// (Documentation/admin-guide/device-mapper/dm-crypt.rst). There is no key in it:
// the capture kernel has that from the one that crashed, under KeyDescription.
type CryptVolume struct {
	Cipher         string   `json:"cipher"`              // aes-xts-plain64
	KeyBytes       int      `json:"key_bytes"`           // length of the key
	KeyDescription string   `json:"key_description"`     // in root's keyring, of a key of type user
	IVOffset       uint64   `json:"iv_offset,omitempty"` // in sectors of 512 bytes
	Offset         uint64   `json:"offset"`              // of the data on the member, in sectors of 512 bytes
	Sectors        uint64   `json:"sectors,omitempty"`   // length of the volume in sectors of 512 bytes; 0 for all of the member
	Options        []string `json:"options,omitempty"`   // sector_size:4096
	// Segments is what the header of LUKS2 said of the data at build time, see
	// fsid.LUKSSegments. If it says something else the table is not used.
	Segments string `json:"segments,omitempty"`
}

// MaxKeyDescription is the longest description in bytes of a key that is handed
// over: KEY_DESC_MAX_LEN of kernel/crash_dump_dm_crypt.c, of which one is for
// the NUL.
const MaxKeyDescription = 127

// maxKeyBytes is KEY_SIZE_MAX there.
const maxKeyBytes = 256

// CheckKeyDescription returns why a key of this description cannot be handed
// over to a table of dm-crypt, whose words must not have blanks.
func CheckKeyDescription(s string) error {
	switch {
	case s == "":
		return errors.New("the key's description is empty")
	case len(s) > MaxKeyDescription:
		return fmt.Errorf("the key's description has %d bytes, more than %d", len(s), MaxKeyDescription)
	case !isWord(s):
		return fmt.Errorf("the key's description %q has blanks or control characters", s)
	}
	return nil
}

func (c *CryptVolume) validate() error {
	if c.Cipher == "" || !isWord(c.Cipher) {
		return fmt.Errorf("cipher %q is not one word", c.Cipher)
	}
	if c.KeyBytes < 1 || c.KeyBytes > maxKeyBytes {
		return fmt.Errorf("key_bytes is %d, not 1 to %d", c.KeyBytes, maxKeyBytes)
	}
	for _, o := range c.Options {
		if o == "" || !isWord(o) {
			return fmt.Errorf("option %q is not one word", o)
		}
	}
	return CheckKeyDescription(c.KeyDescription)
}

func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// Length returns the length of the volume in sectors of 512 bytes if its member
// has that many bytes; 0 if that is too small.
func (c *CryptVolume) Length(member int64) uint64 {
	if c.Sectors != 0 {
		return c.Sectors
	}
	n := uint64(member) / 512
	if n <= c.Offset {
		return 0
	}
	return (n - c.Offset) &^ (c.sector()/512 - 1)
}

// sector returns the size of what is encrypted at once, in bytes.
func (c *CryptVolume) sector() uint64 {
	for _, o := range c.Options {
		if v, ok := strings.CutPrefix(o, "sector_size:"); ok {
			if n, err := strconv.ParseUint(v, 10, 16); err == nil && n >= 512 && n&(n-1) == 0 {
				return n
			}
		}
	}
	return 512
}

// Params returns the parameters of the table for a member by its device number,
// "253:3". The key is a reference to the keyring.
func (c *CryptVolume) Params(member string) string {
	return c.params(":"+strconv.Itoa(c.KeyBytes)+":user:"+c.KeyDescription, member)
}

func (c *CryptVolume) params(key, member string) string {
	words := []string{c.Cipher, key, strconv.FormatUint(c.IVOffset, 10), member, strconv.FormatUint(c.Offset, 10)}
	if n := len(c.Options); n > 0 {
		words = append(append(words, strconv.Itoa(n)), c.Options...)
	}
	return strings.Join(words, " ")
}

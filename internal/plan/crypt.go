package plan

import (
	"errors"
	"fmt"
	"strings"
)

// CryptVolume describes the topmost device of a layer of kind Crypt. Its only member
// has the LUKS header with the UUID of the layer. The words are those of a table of
// dm-crypt (Documentation/admin-guide/device-mapper/dm-crypt.rst). It does not hold
// the key: the capture kernel has that from the crashed kernel, under KeyDescription.
type CryptVolume struct {
	Cipher         string   `json:"cipher"`                // aes-xts-plain64
	KeyBytes       int      `json:"key_bytes"`             // length of the key
	KeyDescription string   `json:"key_description"`       // in root's keyring, of a key of type user
	IVOffset       uint64   `json:"iv_offset,omitempty"`   // in sectors of 512 bytes
	Offset         uint64   `json:"offset"`                // of the data on the member, in sectors of 512 bytes
	Sectors        uint64   `json:"sectors,omitempty"`     // length of the volume in sectors of 512 bytes; 0 for all of the member
	SectorSize     uint64   `json:"sector_size,omitempty"` // unit of encryption, in bytes; 512 if 0
	Options        []string `json:"options,omitempty"`     // sector_size:4096
	// Segments is the description of the data in the JSON of a LUKS2 header at build
	// time. If the header has another one the table is not used.
	Segments string `json:"segments,omitempty"`
}

// MaxKeyDescription is the longest description, in bytes, of a key to hand over:
// KEY_DESC_MAX_LEN of kernel/crash_dump_dm_crypt.c less the NUL.
const MaxKeyDescription = 127

// CheckKeyDescription returns an error if a table of dm-crypt, whose words have no
// blanks, cannot refer to a key of this description.
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
	if c == nil || c.Cipher == "" || c.KeyBytes < 1 || c.KeyDescription == "" {
		return errors.New("crypt has no cipher or no key")
	}
	return nil
}

func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// Length returns the length of the volume in sectors of 512 bytes if its member
// has that many bytes; 0 if that is too small.
func (c *CryptVolume) Length(member int64) uint64 {
	n := uint64(member) / 512
	switch {
	case c.Sectors != 0:
		return c.Sectors
	case n <= c.Offset:
		return 0
	}
	return (n - c.Offset) &^ (max(c.SectorSize, 512)/512 - 1)
}

// Params returns the parameters of the table for a member, the path of its device
// or MAJOR:MINOR. The key is a reference to the keyring.
func (c *CryptVolume) Params(member string) string {
	s := fmt.Sprintf("%s :%d:user:%s %d %s %d", c.Cipher, c.KeyBytes, c.KeyDescription, c.IVOffset, member, c.Offset)
	if n := len(c.Options); n > 0 {
		s += fmt.Sprintf(" %d %s", n, strings.Join(c.Options, " "))
	}
	return s
}

package kexec

import (
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockedDown returns the mode of kernel_lockdown(7) if it is one in which the
// kernel loads only what is signed, else "".
func (s *Slot) lockedDown() string {
	switch mode := s.Lockdown(); mode {
	case "", "none":
		return ""
	default:
		if s.SecureBoot() {
			mode += ", as Secure Boot is on"
		}
		return mode
	}
}

// unsigned reports whether a kernel that is locked down cannot accept f: it
// carries neither a signature of its own nor one that IMA could appraise
// (kimage_validate_signature in kernel/kexec_file.c).
func unsigned(f *os.File) bool {
	if hasCertificate(f) {
		return false
	}
	_, err := unix.Fgetxattr(int(f.Fd()), "security.ima", nil)
	return err != nil
}

// hasCertificate reports whether the PE file r has an entry in its attribute
// certificate table, which holds the signatures for Secure Boot (PE format,
// "Optional Header Data Directories"). Whose they are is not looked at.
func hasCertificate(r io.ReaderAt) bool {
	const certificates = 4 // index of the data directory
	word := func(at int64) uint32 {
		b := make([]byte, 4)
		if _, err := r.ReadAt(b, at); err != nil {
			return 0
		}
		return binary.LittleEndian.Uint32(b)
	}
	header := int64(word(0x3c))
	if word(0)&0xffff != 'M'|'Z'<<8 || word(header) != 'P'|'E'<<8 {
		return false
	}
	optional := header + 24
	directories := optional + 112
	switch word(optional) & 0xffff {
	case 0x20b: // PE32+
	case 0x10b:
		directories = optional + 96
	default:
		return false
	}
	count := word(directories - 4)
	return count > certificates && word(directories+certificates*8+4) > 0
}

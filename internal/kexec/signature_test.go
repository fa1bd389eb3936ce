package kexec

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	locked     = "none [integrity] confidentiality\n"
	efiVars    = "sys/firmware/efi/efivars/"
	efiGlobal  = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	secureBoot = "\x06\x00\x00\x00\x01"
)

// pe turns the kernel into a PE file with a certificate table of that size.
func pe(kernel []byte, certificates uint32) []byte {
	le := binary.LittleEndian
	const header = 0x80
	copy(kernel, "MZ")
	le.PutUint32(kernel[0x3c:], header)
	copy(kernel[header:], "PE\x00\x00\x64\x86")
	le.PutUint16(kernel[header+24:], 0x20b)
	le.PutUint32(kernel[header+24+108:], 16) // directories
	le.PutUint32(kernel[header+24+112+4*8:], 4096)
	le.PutUint32(kernel[header+24+112+4*8+4:], certificates)
	return kernel
}

func TestHasCertificate(t *testing.T) {
	signed := pe(bzImage(0, 0), 1000)
	pe32 := pe(bzImage(0, 0), 0)
	binary.LittleEndian.PutUint16(pe32[0x80+24:], 0x10b)
	binary.LittleEndian.PutUint32(pe32[0x80+24+92:], 16)
	binary.LittleEndian.PutUint32(pe32[0x80+24+96+4*8+4:], 1000)
	few := pe(bzImage(0, 0), 1000)
	few[0x80+24+108] = 4
	far := pe(bzImage(0, 0), 1000)
	binary.LittleEndian.PutUint32(far[0x3c:], 1<<32-1)
	for _, tt := range []struct {
		name string
		file []byte
		want bool
	}{
		{"signed", signed, true},
		{"signed PE32", pe32, true},
		{"not signed", pe(bzImage(0, 0), 0), false},
		{"too few directories", few, false},
		{"header behind the end", far, false},
		{"no EFI program", bzImage(0, 0), false},
		{"cut off", signed[:0x80+24+112+4*8+6], false},
		{"empty", nil, false},
	} {
		if got := hasCertificate(tempFile(t, "k", tt.file)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// A kernel that is locked down drops what it has before it looks for a
// signature, so it must not be asked where there is none.
func TestLockdown(t *testing.T) {
	ask := machine{"sys/kernel/security/lockdown": locked}
	sb := machine{"sys/kernel/security/lockdown": locked, efiVars + "SecureBoot" + efiGlobal: secureBoot}
	for _, tt := range []struct {
		name         string
		machine      machine
		certificates uint32
		errno        error
		tools        bool // kexec-tools are installed
		want         Cause
		detail       string
		asked        bool
	}{
		{"not signed", ask, 0, nil, false, Lockdown, "integrity", false},
		{"not signed, Secure Boot", sb, 0, nil, false, Lockdown, "integrity, as Secure Boot is on", false},
		{"signed", sb, 1000, nil, false, 0, "", true},
		{"signed by a stranger", ask, 1000, unix.EPERM, false, Lockdown, "integrity", true},
		{"not locked", nil, 0, nil, false, 0, "", true},
		{"Secure Boot without lockdown", machine{efiVars + "SecureBoot" + efiGlobal: secureBoot}, 0, unix.EPERM, false, Denied, "", true},
		{"lockdown cannot be read", machine{"sys/kernel/security/lockdown": "", efiVars + "SecureBoot" + efiGlobal: secureBoot}, 0, unix.EPERM, false,
			Lockdown, "Secure Boot is on", true},
		{"kexec-tools under lockdown", ask, 1000, unix.ENOSYS, true, LockedTools, "integrity", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSlot(t, tt.machine, nil)
			asked := false
			s.FileLoad = func(int, int, string, int) error { asked = true; return tt.errno }
			if tt.tools {
				s.LookPath = func(name string) (string, error) { return "/usr/sbin/" + name, nil }
			}
			_, initrd := files(t)
			err := s.Load(tempFile(t, "vmlinuz", pe(bzImage(50<<20, 2047), tt.certificates)), initrd, 0, "")
			if asked != tt.asked {
				t.Errorf("the kernel was asked: %v", asked)
			}
			var e *Error
			if tt.want == 0 {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.As(err, &e) || e.Cause != tt.want || e.Detail != tt.detail {
				t.Errorf("got %v, want cause %d (%s)", err, tt.want, tt.detail)
			}
		})
	}
}

// A kernel with a signature for IMA is left to the kernel to judge.
func TestLockdownIMA(t *testing.T) {
	kernel, initrd := files(t)
	if err := unix.Setxattr(kernel.Name(), "security.ima", []byte{3}, 0); err != nil {
		t.Skip("needs root and a file system with attributes: ", err)
	}
	s := newSlot(t, machine{"sys/kernel/security/lockdown": locked}, nil)
	if err := s.Load(kernel, initrd, 0, ""); err != nil {
		t.Error(err)
	}
}

// What is checked is the space for the image as it is and as it unpacks.
func TestNeedUnpacked(t *testing.T) {
	s := newSlot(t, nil, nil) // 128 MiB
	kernel, initrd := files(t)
	if err := s.Check(kernel, initrd, 77<<20, ""); err != nil { // 50 and 1 besides
		t.Error(err)
	}
	var e *Error
	if err := s.Check(kernel, initrd, 77<<20+1, ""); !errors.As(err, &e) || e.Cause != TooSmall || e.Have != 128<<20 {
		t.Errorf("got %v", err)
	}
}

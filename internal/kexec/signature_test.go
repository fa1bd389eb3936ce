package kexec

import (
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

// A locked-down kernel drops its capture kernel before it looks for a signature, so
// Load must not ask it to load an unsigned one.
func TestLockdown(t *testing.T) {
	ask := machine{"sys/kernel/security/lockdown": locked}
	sb := machine{"sys/kernel/security/lockdown": locked, efiVars + "SecureBoot" + efiGlobal: secureBoot}
	for _, tt := range []struct {
		name    string
		machine machine
		signed  bool
		errno   error
		tools   bool // kexec-tools are installed
		want    Cause
		detail  string
		asked   bool
	}{
		{"not signed", ask, false, nil, false, Unsigned, "integrity", false},
		{"not signed, Secure Boot", sb, false, nil, false, Unsigned, "integrity, as Secure Boot is on", false},
		{"signed", sb, true, nil, false, 0, "", true},
		{"signed by a stranger", ask, true, unix.EPERM, false, Lockdown, "integrity", true},
		{"signed with a key that is not enrolled", sb, true, unix.ENOKEY, false, KeyRejected, "", true},
		{"changed after it was signed", sb, true, unix.EKEYREJECTED, false, Altered, "", true},
		{"not signed, without lockdown", nil, false, unix.ENODATA, false, Unsigned, "", true},
		{"not locked", nil, false, nil, false, 0, "", true},
		{"Secure Boot without lockdown", machine{efiVars + "SecureBoot" + efiGlobal: secureBoot}, false, unix.EPERM, false, Denied, "", true},
		{"LoadPin", machine{"proc/sys/kernel/loadpin/enforce": "1\n"}, false, unix.EPERM, false, Pinned, "", true},
		{"LoadPin, not enforced", machine{"proc/sys/kernel/loadpin/enforce": "0\n"}, false, unix.EPERM, false, Denied, "", true},
		{"lockdown cannot be read", machine{"sys/kernel/security/lockdown": "", efiVars + "SecureBoot" + efiGlobal: secureBoot}, false, unix.EPERM, false,
			Unsigned, "", true},
		{"kexec-tools under lockdown", ask, true, unix.ENOSYS, true, LockedTools, "integrity", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSlot(t, tt.machine, nil)
			asked := false
			s.FileLoad = func(int, int, string, int) error { asked = true; return tt.errno }
			if tt.tools {
				s.LookPath = func(name string) (string, error) { return "/usr/sbin/" + name, nil }
			}
			kernel, initrd := files(t)
			kernel.Signed = tt.signed
			err := s.Load(kernel, initrd, 0, "")
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
	if err := unix.Setxattr(kernel.File.Name(), "security.ima", []byte{3}, 0); err != nil {
		t.Skip("needs root and a file system with attributes: ", err)
	}
	s := newSlot(t, machine{"sys/kernel/security/lockdown": locked}, nil)
	if err := s.Load(kernel, initrd, 0, ""); err != nil {
		t.Error(err)
	}
}

// The check includes the space for the image, both packed and unpacked.
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

package kexec

import "golang.org/x/sys/unix"

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

// refusedUnsigned reports whether a kernel that is locked down is sure to refuse
// k: it carries neither a signature of its own nor one that IMA could appraise
// (kimage_validate_signature in kernel/kexec_file.c).
func (k *Kernel) refusedUnsigned() bool {
	if k.Signed {
		return false
	}
	_, err := unix.Fgetxattr(int(k.File.Fd()), "security.ima", nil)
	return err != nil
}

package kexec

import "golang.org/x/sys/unix"

// lockedDown returns the mode of kernel_lockdown(7) if the kernel loads only signed
// kernels in it, else "".
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

// CheckSigned returns an error if the running kernel is sure to refuse kernel because it is
// not signed, else nil.
func (s *Slot) CheckSigned(kernel *Kernel) *Error {
	if mode := s.lockedDown(); mode != "" && kernel.unsigned() {
		return &Error{Kernel: kernel.File.Name(), Cause: Unsigned, Detail: mode}
	}
	return nil
}

// unsigned reports whether a locked-down kernel is sure to refuse k: k has
// neither a signature of its own nor one that IMA could appraise
// (kimage_validate_signature in kernel/kexec_file.c).
func (k *Kernel) unsigned() bool {
	if k.Signed {
		return false
	}
	_, err := unix.Fgetxattr(int(k.File.Fd()), "security.ima", nil)
	return err != nil
}

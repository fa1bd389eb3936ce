package cryptkeys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ukdump/internal/kfeature"
)

// Description returns the description under which the key of a LUKS volume is
// looked for unless crypttab(5) says another. It is the one that kdump-utils
// uses, so that what was set up for either works for both.
func Description(uuid string) string { return "kdump-cryptsetup:vk-" + uuid }

// CrypttabOption is what makes systemd-cryptsetup leave a volume's key where the
// kernel finds it, crypttab(5).
func CrypttabOption(description string) string {
	return "link-volume-key=@u::%logon:" + description
}

// UnsupportedError reports that a kernel cannot hand over keys. Kernel and
// Release say which; without them it is the running one.
type UnsupportedError struct {
	Kernel, Release string
	Volume          string // that needs it; may be empty
}

func (e *UnsupportedError) Error() string {
	s := "the running kernel"
	if e.Kernel != "" {
		s = fmt.Sprintf("kernel %s (%s)", e.Kernel, e.Release)
	}
	s += " cannot open an encrypted volume without its passphrase: it lacks " +
		kfeature.CrashDMCrypt.Option + ", which Linux has since " + kfeature.CrashDMCrypt.Since.String()
	if e.Volume != "" {
		s = e.Volume + ": " + s
	}
	return s
}

// Advice returns what to do instead.
func (e *UnsupportedError) Advice() string {
	return "Boot a kernel that has it; or set TARGET= to a directory on an unencrypted file system or to a raw partition; " +
		"or MODE=emergency, if it is opened without a passphrase; or save the log alone with EVIDENCE= on /boot or the EFI system partition."
}

// MissingError reports that the kernel does not have a volume's key where it
// would find it.
type MissingError struct {
	Key Key
	Err error // ENOKEY, or why the key that is there is of no use
}

// Unwrap returns Err.
func (e *MissingError) Unwrap() error { return e.Err }

func (e *MissingError) Error() string {
	s := fmt.Sprintf("the volume key of %s (LUKS %s) is not in root's keyring", e.Key.Volume, e.Key.UUID)
	switch {
	case errors.Is(e.Err, unix.ENOKEY):
		return s
	case errors.Is(e.Err, unix.EKEYEXPIRED):
		return s + " any more: it has expired"
	case errors.Is(e.Err, unix.EKEYREVOKED):
		return s + " any more: it was revoked"
	}
	return s + ": " + e.Err.Error()
}

// Advice returns what to set once.
func (e *MissingError) Advice() string {
	return fmt.Sprintf("Add the option %s to the line of %s in /etc/crypttab, or in /etc/crypttab.initramfs or rd.luks.options= where the initramfs takes it from there; make the initramfs again if it opens the volume, and reboot "+
		"(it is an option of systemd-cryptsetup 257 with cryptsetup 2.7, and of no other program); "+
		"until then: cryptsetup open --test-passphrase --link-vk-to-keyring '@u::%%logon:%s' UUID=%s",
		CrypttabOption(e.Key.Description), e.Key.Volume, e.Key.Description, e.Key.UUID)
}

// ForeignError reports an item in configfs that is not ours. The kernel would take
// its key along too, or refuse the load.
type ForeignError struct{ Item string }

func (e *ForeignError) Error() string {
	return "hand over volume keys: something else has asked the kernel to take a key along: " + e.Item
}

// Advice returns how to get rid of it.
func (e *ForeignError) Advice() string {
	return "Run rmdir " + e.Item + ", unless another program is loading a capture kernel; only one may."
}

package cryptkeys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ukdump/internal/kfeature"
)

// Description returns the description of a LUKS volume's key, unless crypttab(5) sets
// another. It is that of kdump-utils, so one setup works for both.
func Description(uuid string) string { return "kdump-cryptsetup:vk-" + uuid }

// CrypttabOption is the option of crypttab(5) by which systemd-cryptsetup leaves a
// volume's key in the keyring that the kernel searches.
func CrypttabOption(description string) string {
	return "link-volume-key=@u::%logon:" + description
}

// UnsupportedError reports that a kernel cannot hand over keys. Kernel and Release
// name the kernel; without them it is the running one.
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

// Advice returns an alternative.
func (e *UnsupportedError) Advice() string {
	return "Boot a kernel that has it; or set TARGET= to a directory on an unencrypted file system or to a raw partition; " +
		"or MODE=emergency, if it is opened without a passphrase; or save the log alone with EVIDENCE= on /boot or the EFI system partition."
}

// MissingError reports that the kernel does not find a volume's key.
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
		return s + " any more: expired"
	case errors.Is(e.Err, unix.EKEYREVOKED):
		return s + " any more: revoked"
	}
	return s + ": " + e.Err.Error()
}

// Advice returns the setting to make once.
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
	return "hand over volume keys: another program has registered a key for the capture kernel: " + e.Item
}

// Advice returns the command that removes the item.
func (e *ForeignError) Advice() string {
	return "Run rmdir " + e.Item + ", unless another program is loading a capture kernel; only one may."
}

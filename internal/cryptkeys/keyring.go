package cryptkeys

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Keyring is the keyring that the kernel searches when it loads a capture kernel.
type Keyring interface {
	// Enter makes root's keyring one in which the kernel looks on behalf of this
	// goroutine, until done is called.
	Enter() (done func(), err error)
	// Find reports whether the kernel would find a logon key: ENOKEY,
	// EKEYEXPIRED, EKEYREVOKED.
	Find(description string) error
	// Add adds a logon key that goes away with done.
	Add(description string, secret []byte) error
}

// kernelKeyring is the real one, keyrings(7).
type kernelKeyring struct{}

// Enter links root's keyring to that of this thread. The kernel looks in the
// keyrings of the thread, the process and the session. Only the session's could
// lead to root's, and under sudo(8) or in a unit without KeyringMode=shared it
// does not.
func (kernelKeyring) Enter() (func(), error) {
	runtime.LockOSThread()
	if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0); err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("keyctl", err)
	}
	return func() {
		// Keys that were added are freed with it.
		_, _ = unix.KeyctlInt(unix.KEYCTL_CLEAR, unix.KEY_SPEC_THREAD_KEYRING, 0, 0, 0)
		runtime.UnlockOSThread()
	}, nil
}

func (kernelKeyring) Find(description string) error {
	_, err := unix.KeyctlSearch(unix.KEY_SPEC_THREAD_KEYRING, "logon", description, 0)
	return err
}

func (kernelKeyring) Add(description string, secret []byte) error {
	_, err := unix.AddKey("logon", description, secret, unix.KEY_SPEC_THREAD_KEYRING)
	return os.NewSyscallError("add_key", err)
}

func mountConfigfs(dir string) error {
	return syscall.Mount("configfs", dir, "configfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "")
}

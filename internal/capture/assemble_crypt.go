package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"ukdump/internal/dm"
	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// cryptPrefix begins the names and UUIDs of the volumes that we open.
const cryptPrefix = "ukdump-crypt-"

// assembleCrypt opens a LUKS volume with the key that the kernel took over from
// the one that crashed. What it then shows is looked for by its UUID, so that
// with a wrong key nothing is found.
func (w *worker) assembleCrypt(l *plan.Layer) ([]string, error) {
	ctl, err := dm.Open()
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	id := cryptPrefix + l.UUID
	if d, err := ctl.Find(id); err == nil && d.Active {
		return []string{d.Kernel()}, nil
	}
	members := w.waitMembers(l, 1, func(id fsid.ID) string {
		if id.Type == "crypto_LUKS" && strings.EqualFold(id.UUID, l.UUID) {
			return l.UUID
		}
		return ""
	})
	name := members[l.UUID]
	if name == "" {
		return nil, fmt.Errorf("no device with LUKS header %s", l.UUID)
	}
	if err := checkSegments("/dev/"+name, l.Crypt.Segments); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	dir := filepath.Join("/sys/class/block", name)
	number, err := os.ReadFile(dir + "/dev")
	if err != nil {
		return nil, err
	}
	length := l.Crypt.Length(blockSize(dir))
	if length == 0 {
		return nil, fmt.Errorf("%s is too small", name)
	}
	leave, err := takeKeys("/sys/kernel/config")
	if err != nil {
		return nil, fmt.Errorf("take over the keys: %w", err)
	}
	defer leave()
	d, err := ctl.Make(id, id, []dm.Target{{Length: length, Type: "crypt", Params: l.Crypt.Params(strings.TrimSpace(string(number)))}}, false)
	if errors.Is(err, unix.ENOKEY) {
		return nil, fmt.Errorf("the key %s was not handed over: %w", l.Crypt.KeyDescription, err)
	}
	if err != nil {
		return nil, err
	}
	w.log.printf("opened %s on %s", l.Name, name)
	return []string{d.Kernel()}, nil
}

// checkSegments makes sure that a LUKS volume is encrypted as it was when the
// image was built: one that is being re-encrypted is in two ways.
func checkSegments(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := fsid.LUKSSegments(f)
	if err == nil && got != want {
		err = errors.New("it is encrypted in another way than when the image was built")
	}
	return err
}

// takeKeys has the kernel put the keys that the crashed one has left into root's
// keyring, and makes that one in which device-mapper looks for them, until leave
// is called. The kernel restores them once and then only says that it has
// (kernel/crash_dump_dm_crypt.c).
func takeKeys(configfs string) (leave func(), err error) {
	// Without this word it would read them from address 0. On arm64 they are in
	// the device tree.
	if line, err := os.ReadFile("/proc/cmdline"); runtime.GOARCH == "amd64" && err == nil && !strings.Contains(string(line), "dmcryptkeys=") {
		return nil, errors.New("none were handed over when this kernel was loaded")
	}
	restore := configfs + "/crash_dm_crypt_keys/restore"
	if !fileExists(restore) {
		if err := unix.Mount("configfs", configfs, "configfs", 0, ""); err != nil && err != unix.EBUSY {
			return nil, fmt.Errorf("mount configfs: %w", err)
		}
	}
	if err := os.WriteFile(restore, []byte("1"), 0); err != nil {
		return nil, err
	}
	// The keyrings in which the kernel looks are those of a thread.
	runtime.LockOSThread()
	if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0); err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("keyctl", err)
	}
	return runtime.UnlockOSThread, nil
}

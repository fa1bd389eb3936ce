package capture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/dm"
	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// cryptPrefix begins the names and UUIDs of the volumes that kdumpinit opens.
const cryptPrefix = "ukdump-crypt-"

// assembleCrypt opens a LUKS volume with the key that the capture kernel took over
// from the crashed kernel. The file system inside is later found by its UUID, so a
// wrong key finds nothing.
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
	name, err := w.waitLUKS(l)
	if err != nil {
		return nil, err
	}
	if err := checkSegments("/dev/"+name, l.Crypt.Segments); err != nil {
		return nil, err
	}
	length := l.Crypt.Length(blockSize("/sys/class/block/" + name))
	if length == 0 {
		return nil, errors.New(name + " is too small")
	}
	if err := takeKeys("/sys/kernel/config"); err != nil {
		return nil, fmt.Errorf("take over the keys: %w", err)
	}
	defer runtime.UnlockOSThread()
	d, err := w.mapDevice(ctl, &plan.LVMDevice{Name: id, UUID: id}, []dm.Target{{Length: length, Type: "crypt", Params: l.Crypt.Params("/dev/" + name)}})
	if err != nil {
		return nil, err
	}
	w.log.printf("opened %s on %s", l.Name, name)
	return []string{d.Kernel()}, nil
}

// waitLUKS waits for the device with the header of a volume and returns its kernel
// name. Of several paths to one disk it returns the first.
func (w *worker) waitLUKS(l *plan.Layer) (string, error) {
	s, limit := w.newScan(), w.plan.Deadlines.Device
	w.log.printf("waiting up to %d s for LUKS volume %s", limit, l.UUID)
	for end := uptime() + seconds(limit); ; time.Sleep(50 * time.Millisecond) {
		if name := s.luks(l); name != "" {
			return name, nil
		}
		if uptime() > end {
			return "", fmt.Errorf("did not appear within %d s; block devices: %s", limit, s)
		}
	}
}

// luks returns the device with the header of a volume, "" if there is none.
func (s *scan) luks(l *plan.Layer) string {
	for _, name := range s.names(l.Members...) {
		d := s.device(name, false)
		if d.err == nil && d.id.Type == "crypto_LUKS" && strings.EqualFold(d.id.UUID, l.UUID) && s.takes(name, l.UUID, l, false) {
			return name
		}
	}
	return ""
}

// checkSegments refuses a LUKS volume whose encryption differs from that at build
// time. A volume that is being re-encrypted has both, the old and the new.
func checkSegments(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := fsid.LUKSText(f)
	if err == nil && !bytes.Contains(text, []byte(want)) {
		err = errors.New(path + ": the encryption has changed since the image was built")
	}
	return err
}

// takeKeys has the kernel restore the keys of the crashed kernel into root's keyring,
// and links that keyring to the keyring of this thread, where device-mapper looks for
// keys. It locks the caller to the thread. The kernel restores the keys only once;
// later calls succeed without effect (kernel/crash_dump_dm_crypt.c).
func takeKeys(configfs string) error {
	// Without this word the kernel would read the keys from address 0. On arm64
	// their address is in the device tree.
	line, _ := os.ReadFile("/proc/cmdline")
	if runtime.GOARCH == "amd64" && !bytes.Contains(line, []byte("dmcryptkeys=")) {
		return errors.New("none were handed over when the capture kernel was loaded")
	}
	_ = unix.Mount("configfs", configfs, "configfs", 0, "") // may be mounted; if not, the write below fails
	err := os.WriteFile(configfs+"/crash_dm_crypt_keys/restore", []byte("1"), 0)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if _, err = unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0); err != nil {
		runtime.UnlockOSThread()
	}
	return err
}

package debian

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"ukdump/internal/vmtest"
)

// secureBoot is a firmware with Secure Boot, whose db has the key in snakeoilKey: Debian's
// package ovmf. The password of the key is snakeoil.
var secureBoot = vmtest.UEFI{
	Code:   "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
	Vars:   "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
	Secure: true,
}

const (
	snakeoilKey         = "/usr/share/ovmf/PkKek-1-snakeoil.key"
	snakeoilCertificate = "/usr/share/ovmf/PkKek-1-snakeoil.pem"
)

// HasSecureBoot reports whether machines with Hardware.SecureBoot can be made here.
func HasSecureBoot() bool {
	_, err := os.Stat(secureBoot.Vars)
	if err == nil {
		_, err = exec.LookPath("sbsign")
	}
	return err == nil
}

// Unsign removes the signature of Debian from a kernel.
func Unsign(image string) error { return run("sbattach", "--remove", image) }

// Sign replaces the signature of Debian by one that machines with Secure Boot trust.
func Sign(image string) error {
	if err := Unsign(image); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ukdump-key-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	key := filepath.Join(dir, "key") // sbsign would ask for the password
	if err := run("openssl", "rsa", "-passin", "pass:snakeoil", "-in", snakeoilKey, "-out", key); err != nil {
		return err
	}
	return run("sbsign", "--key", key, "--cert", snakeoilCertificate, "--output", image, image)
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

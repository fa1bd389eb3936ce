package builder

import (
	"os"
	"path/filepath"
)

// StateDir is where images and what is known about the loaded one are kept.
const StateDir = "/var/lib/ukdump"

// ImagePath returns where the image for a kernel release is kept.
func ImagePath(release string) string {
	return filepath.Join(StateDir, "initramfs-"+release+".img")
}

// DefaultPid1 returns the kdumpinit that was installed together with the running
// program: PREFIX/lib/ukdump/kdumpinit for PREFIX/bin, and kdumpinit in the
// program's own directory for a program that was built but not installed.
func DefaultPid1() string {
	exe, err := os.Executable()
	if err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			beside := filepath.Join(filepath.Dir(exe), "kdumpinit")
			if _, err := os.Stat(beside); err == nil {
				return beside
			}
			return filepath.Join(filepath.Dir(filepath.Dir(exe)), "lib", "ukdump", "kdumpinit")
		}
	}
	return "/usr/lib/ukdump/kdumpinit"
}

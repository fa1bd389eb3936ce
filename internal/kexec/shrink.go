package kexec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Shrink gives memory of the reservation back to the running kernel and returns the new
// size, both in bytes. Nothing may be loaded. It cannot be undone before a reboot
// (crash_shrink_memory in kernel/crash_core.c).
func (s *Slot) Shrink(size int64) (int64, error) {
	name := "sys/kernel/kexec/crash_size"
	path := filepath.Join(s.Root, name)
	if _, err := os.Stat(path); err != nil {
		name = "sys/kernel/kexec_crash_size"
		path = filepath.Join(s.Root, name)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return 0, fmt.Errorf("shrink the reservation: %w", err)
	}
	_, err = f.WriteString(strconv.FormatInt(size, 10) + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	switch {
	case errors.Is(err, unix.ENOENT): // kexec_crash_image is there
		return 0, errors.New("shrink the reservation: a capture kernel is still loaded")
	case errors.Is(err, unix.EBUSY):
		return 0, errors.New("shrink the reservation: another program loads a kernel, try again")
	case err != nil:
		return 0, fmt.Errorf("shrink the reservation: %w", err)
	}
	return s.Reserved()
}

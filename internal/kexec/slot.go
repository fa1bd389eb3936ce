// Package kexec reads, fills and empties the crash slot: the place in which the
// running kernel keeps the capture kernel.
package kexec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
)

// maxRead bounds a file of proc, sys or efivarfs, in bytes.
const maxRead = 64 << 10

// Slot is the crash slot of the running kernel. Use New; the fields are there
// to be replaced in tests.
type Slot struct {
	// Root is the directory that holds proc and sys.
	Root string
	// Arch is the running kernel's, as a GOARCH.
	Arch string
	// FileLoad is kexec_file_load(2).
	FileLoad func(kernel, initrd int, cmdline string, flags int) error
	// SegmentLoad is kexec_load(2). Without segments it empties the slot.
	SegmentLoad func(entry uint64, list []Segment, flags int) error
	// LookPath finds the program kexec of kexec-tools.
	LookPath func(name string) (string, error)
	// Run runs a program that has files as its descriptors 3, 4, ..., and
	// returns its standard error.
	Run func(argv []string, files []*os.File) (string, error)
	// Sleep waits between two attempts.
	Sleep func(time.Duration)
}

// New returns the slot of the running kernel, whose proc and sys are below root.
func New(root string) *Slot {
	return &Slot{
		Root:     root,
		Arch:     runtime.GOARCH,
		FileLoad: unix.KexecFileLoad, SegmentLoad: segmentLoad,
		LookPath: exec.LookPath,
		Run:      run,
		Sleep:    time.Sleep,
	}
}

// Reserved returns how many bytes crashkernel= has reserved, 0 for nothing. A
// kernel that has no crash slot gives an *Error with NoSupport.
func (s *Slot) Reserved() (int64, error) { return s.sysfs("crash_size", "kexec_crash_size") }

// Loaded reports whether a capture kernel is loaded. Errors are as for Reserved.
func (s *Slot) Loaded() (bool, error) {
	n, err := s.sysfs("crash_loaded", "kexec_crash_loaded")
	return n != 0, err
}

// sysfs reads a number from /sys/kernel/kexec, which exists since Linux 6.19,
// or from where it was before (Documentation/ABI/obsolete/sysfs-kernel-kexec-kdump).
func (s *Slot) sysfs(name, oldName string) (int64, error) {
	file := "sys/kernel/kexec/" + name
	text, err := s.read(file)
	if errors.Is(err, fs.ErrNotExist) {
		file = "sys/kernel/" + oldName
		text, err = s.read(file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, &Error{Cause: NoSupport}
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("/%s: %q is not a size", file, text)
	}
	return n, nil
}

// Crashkernel returns the crashkernel= words of the running kernel's command line,
// separated by spaces; "" without one.
func (s *Slot) Crashkernel() string {
	text, err := s.read("proc/cmdline")
	if err != nil {
		return ""
	}
	var words []string
	for _, w := range strings.Fields(text) {
		if strings.HasPrefix(w, "crashkernel=") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// Lockdown returns the mode of kernel_lockdown(7): none, integrity or
// confidentiality; "" if the kernel does not tell.
func (s *Slot) Lockdown() string {
	text, err := s.read("sys/kernel/security/lockdown") // none [integrity] confidentiality
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(text, "[")
	mode, _, _ := strings.Cut(rest, "]")
	return mode
}

// SecureBoot reports whether the firmware enforces signatures: SecureBoot is 1
// and SetupMode is 0 (UEFI specification, 3.3). Both are false without EFI.
func (s *Slot) SecureBoot() bool {
	return s.efiBool("SecureBoot") && !s.efiBool("SetupMode")
}

func (s *Slot) efiBool(name string) bool {
	const global = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	b, err := crashdir.ReadFile(filepath.Join(s.Root, "sys/firmware/efi/efivars", name+"-"+global), maxRead)
	return err == nil && len(b) >= 5 && b[4] == 1 // after four bytes of attributes
}

// LoadDisabled reports whether the sysctl kernel.kexec_load_disabled is set,
// which forbids loading and unloading until the next boot.
func (s *Slot) LoadDisabled() bool {
	text, err := s.read("proc/sys/kernel/kexec_load_disabled")
	return err == nil && text != "0"
}

// LoadLimit returns how many times a capture kernel can still be loaded or
// unloaded (sysctl kernel.kexec_load_limit_panic, Linux 6.3), -1 for no limit.
func (s *Slot) LoadLimit() int {
	text, err := s.read("proc/sys/kernel/kexec_load_limit_panic")
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// mayBoot reports whether this process has CAP_SYS_BOOT, number 22 in
// include/uapi/linux/capability.h. If the capabilities cannot be read the answer is
// yes.
func (s *Slot) mayBoot() bool {
	text, err := s.read("proc/self/status")
	if err != nil {
		return true
	}
	_, rest, ok := strings.Cut(text, "\nCapEff:")
	if !ok {
		return true
	}
	line, _, _ := strings.Cut(rest, "\n")
	caps, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return err != nil || caps>>unix.CAP_SYS_BOOT&1 != 0
}

func (s *Slot) read(name string) (string, error) {
	b, err := crashdir.ReadFile(filepath.Join(s.Root, name), maxRead)
	return strings.TrimSpace(string(b)), err
}

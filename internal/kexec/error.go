package kexec

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Cause is why the kernel refused.
type Cause int

// The causes. The numbers have no meaning outside the program.
const (
	_                 Cause = iota
	Unknown                 // nothing more is known than Err
	NeedsRoot               // no CAP_SYS_BOOT
	LoadDisabled            // sysctl kernel.kexec_load_disabled
	LoadLimit               // sysctl kernel.kexec_load_limit_panic
	Lockdown                // the signature is not valid, and the kernel is locked down
	Denied                  // EPERM for another reason, such as a security module
	Pinned                  // LoadPin permits files of one file system only
	NoSupport               // kernel without CONFIG_CRASH_DUMP or CONFIG_KEXEC_CORE
	NoReservation           // no crashkernel= on the command line
	ReservationFailed       // crashkernel= did not lead to a reservation
	TooSmall                // does not fit the reservation
	Fragmented              // fits by size, but the kernel found no place
	CommandLine             // command line too long
	NotAKernel              // not a kernel image that can be loaded
	Invalid                 // EINVAL for another reason
	Unsigned                // no signature where one is required
	KeyRejected             // signature by a key that is not trusted
	Altered                 // not the file that was signed, or a revoked signature
	BadSignature            // malformed signature
	Busy                    // another load has not ended
	NoMemory                // the running kernel is out of memory
	NoSyscall               // no kexec_file_load, no kexec-tools
	LockedTools             // no kexec_file_load, and the kernel is locked down against kexec_load
	KexecTools              // kexec(8) failed
	Undescribed             // no kexec_file_load, and a fact for kexec_load is missing
)

// Error is a failed operation on the crash slot, and its cause.
type Error struct {
	Op     string // "load capture kernel"; "" if only the state of the slot was read
	Kernel string // file name; may be empty
	Cause  Cause
	Need   int64 // TooSmall: bytes needed at least. CommandLine: its length in bytes
	Have   int64 // TooSmall: bytes reserved. CommandLine: longest possible in bytes
	// Detail is the mode of the lockdown for Lockdown, LockedTools and Unsigned, which may
	// have none; the crashkernel= words for ReservationFailed; the last message for
	// KexecTools; the fact for Undescribed.
	Detail string
	Err    error // error of the system call or program; nil if it was not called
}

// Unwrap returns Err, which is an Errno if the system call failed.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	var parts []string
	for _, part := range []string{e.Op, e.Kernel, e.reason()} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

const (
	noFileLoad   = "the running kernel has no kexec_file_load (CONFIG_KEXEC_FILE)"
	bootFileLoad = "boot a kernel that is built with CONFIG_KEXEC_FILE=y"
	enrol        = "Enrol the certificate of that key with mokutil --import, or in db of the firmware, and reboot."
	reserveMore  = "Run kdumpctl setup --crashkernel={crashkernel} --apply, and reboot."
	whereSysctls = "/etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d"
)

// causes has the reason and the advice of every cause; fill replaces the words in braces.
var causes = [...]struct{ reason, advice string }{
	Unknown: {},
	NeedsRoot: {"needs root (CAP_SYS_BOOT)",
		"Run the command as root, for example with sudo."},
	LoadDisabled: {"forbidden until the next boot by the sysctl kernel.kexec_load_disabled",
		"Find the setting with `grep -rs kexec_load_disabled " + whereSysctls + "`, remove it there and reboot."},
	LoadLimit: {"the sysctl kernel.kexec_load_limit_panic allows no more loads until the next boot",
		"Find the setting with `grep -rs kexec_load_limit_panic " + whereSysctls + "`, raise it there and reboot."},
	Lockdown: {"the running kernel is locked down ({detail}) and rejects the signature", enrol},
	Denied: {"the kernel or a security module forbids it",
		"Find the denial with `journalctl -k --grep=denied`."},
	Pinned: {"LoadPin permits only files of the file system of the first module",
		"Boot with loadpin.exclude=kexec-image,kexec-initramfs on the kernel command line."},
	NoSupport: {"the running kernel cannot start a capture kernel (it lacks CONFIG_KEXEC_CORE or CONFIG_CRASH_DUMP)",
		"Boot a kernel that is built with CONFIG_KEXEC_FILE=y and CONFIG_CRASH_DUMP=y."},
	NoReservation: {"no memory is reserved, the running kernel's command line has no crashkernel=",
		"Run kdumpctl setup, which says what to do for your boot loader."},
	ReservationFailed: {"no memory is reserved, although the running kernel's command line has {detail}",
		"See why with `dmesg | grep -i crash`; crashkernel=256M is a value that most machines can reserve."},
	TooSmall:    {"the reservation is too small: needs more than {need}, has {have}", reserveMore},
	Fragmented:  {"the kernel finds no room in the reservation of {have}; kernel and image need more than {need}", reserveMore},
	CommandLine: {"the command line has {length} bytes, the limit is {limit}", "Shorten BOOT_OPTIONS in /etc/ukdump.conf."},
	NotAKernel: {"not a kernel image that this kernel can load",
		"Set KERNEL in /etc/ukdump.conf to an installed kernel, or remove it to use the running one."},
	Invalid: {"the kernel refuses the arguments", "See the reason with `dmesg | tail`."},
	Unsigned: {"not signed, and the running kernel {lockdown}",
		"Sign it with sbsign and a key that mokutil has enrolled, or set KERNEL in /etc/ukdump.conf to a kernel that your distribution has signed."},
	KeyRejected:  {"signed with a key that the running kernel does not trust", enrol},
	Altered:      {"changed after it was signed, or the signature is revoked", "Install the kernel again, or sign it again with sbsign."},
	BadSignature: {"the signature is damaged or of an unknown kind", "Sign the kernel again with sbsign, from the file without a signature."},
	Busy:         {"the crash slot stayed in use by another load", "Try again in a moment."},
	NoMemory:     {"the running kernel is out of memory", "Free some memory and try again."},
	NoSyscall: {noFileLoad + ", and kexec of kexec-tools is not installed",
		"Install kexec-tools, or " + bootFileLoad + "."},
	LockedTools: {noFileLoad + ", and its lockdown ({detail}) forbids kexec_load",
		"Boot a kernel that is built with CONFIG_KEXEC_FILE=y, or turn Secure Boot off in the firmware."},
	KexecTools: {"kexec of kexec-tools failed: {detail}", "Update kexec-tools, or " + bootFileLoad + "."},
	Undescribed: {noFileLoad + ", and kexec_load lacks a fact: {detail}",
		strings.ToUpper(bootFileLoad[:1]) + bootFileLoad[1:] + "."},
}

func (e *Error) reason() string {
	if e.Cause == CommandLine && e.Need <= e.Have {
		return "the command line contains a NUL byte"
	}
	return strings.TrimSuffix(e.fill(causes[e.Cause].reason), ": ") // KexecTools may have no detail
}

// Advice returns the remedy in one line.
func (e *Error) Advice() string { return e.fill(causes[e.Cause].advice) }

// fill puts the numbers and details of e into a text of causes.
func (e *Error) fill(text string) string {
	crashkernel, lockdown := Sufficient(e.Need)>>20, "requires a signature"
	if e.Detail != "" {
		lockdown = "is locked down (" + e.Detail + ")"
	}
	return strings.NewReplacer(
		"{detail}", e.Detail, "{lockdown}", lockdown,
		"{need}", mib(e.Need), "{have}", mib(e.Have),
		"{length}", fmt.Sprint(e.Need), "{limit}", fmt.Sprint(e.Have),
		"{crashkernel}", fmt.Sprintf("%dM", crashkernel),
	).Replace(text)
}

// Sufficient returns the size of a reservation that is enough for a capture kernel that
// needs at least need bytes. Twice the need leaves it room to run. Of the kernels, only
// small ones such as that of packaging/capture-kernel fit with their image into 24 MiB:
// docs/measured.md has what these take to run.
func Sufficient(need int64) int64 {
	const step = 64 << 20
	if need > 0 && need <= 24<<20 {
		return 80 << 20
	}
	return max(256<<20, (2*need+step-1)/step*step)
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// forbidden returns the cause that forbids any use of the slot, 0 for none.
func (s *Slot) forbidden() Cause {
	switch {
	case !s.mayBoot():
		return NeedsRoot
	case s.LoadDisabled():
		return LoadDisabled
	case s.LoadLimit() == 0:
		return LoadLimit
	}
	return 0
}

// pinned reports whether LoadPin may have refused the files of a load: sysctl
// kernel.loadpin.enforce, Linux 4.20 (security/loadpin/loadpin.c).
func (s *Slot) pinned() bool {
	text, err := s.read("proc/sys/kernel/loadpin/enforce")
	return err == nil && text == "1"
}

// noRoom fills in why need bytes do not fit the reservation.
func (s *Slot) noRoom(e *Error, need, have int64) {
	e.Need, e.Have = need, have
	switch {
	case have == 0 && s.Crashkernel() == "":
		e.Cause = NoReservation
	case have == 0:
		e.Cause, e.Detail = ReservationFailed, s.Crashkernel()
	case need > have:
		e.Cause = TooSmall
	default:
		e.Cause = Fragmented
	}
}

// explain sets the cause for e.Err of the system call. The errors are explained in
// kernel/kexec_file.c and kexec_file_load(2).
func (s *Slot) explain(e *Error, kernel *Kernel, initrd *os.File) {
	var errno unix.Errno
	if !errors.As(e.Err, &errno) {
		e.Cause = Unknown
		return
	}
	switch errno {
	case unix.EPERM, unix.EACCES:
		// The last load may have used up the limit.
		if e.Cause = s.forbidden(); e.Cause != 0 {
			return
		}
		e.Cause = Denied
		locked := s.lockedDown()
		mode := locked
		if mode == "" && s.SecureBoot() && s.Lockdown() == "" {
			mode = "Secure Boot is on" // whether it led to a lockdown is unknown
		}
		switch {
		case kernel == nil:
		case mode != "" && kernel.unsigned():
			e.Cause, e.Detail = Unsigned, locked
		case mode != "":
			e.Cause, e.Detail = Lockdown, mode
		case s.pinned():
			e.Cause = Pinned
		}
	case unix.EADDRNOTAVAIL:
		m, err := s.Memory()
		if err != nil || kernel == nil {
			e.Cause = Unknown
			return
		}
		need, _, _ := s.Room(kernel, initrd, 0)
		s.noRoom(e, need, m.Main)
	case unix.EINVAL:
		e.Cause = Invalid
	case unix.ENOEXEC:
		e.Cause = NotAKernel
	case unix.ENODATA:
		e.Cause, e.Detail = Unsigned, s.lockedDown()
	case unix.ENOKEY, unix.EKEYEXPIRED:
		e.Cause = KeyRejected
	case unix.EKEYREJECTED, unix.EKEYREVOKED: // pefile_digest_pe in crypto/asymmetric_keys/verify_pefile.c; dbx
		e.Cause = Altered
	case unix.ELIBBAD, unix.EBADMSG, unix.ENOPKG, unix.EMSGSIZE:
		e.Cause = BadSignature
	case unix.ENOSYS:
		e.Cause = NoSupport
	case unix.EBUSY:
		e.Cause = Busy
	case unix.ENOMEM:
		e.Cause = NoMemory
	default:
		e.Cause = Unknown
	}
}

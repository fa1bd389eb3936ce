package kexec

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Another load, or an update of the slot for CPU or memory hotplug, makes the
// call fail with EBUSY. Both take milliseconds.
const (
	busyRetries = 20
	busyPause   = 100 * time.Millisecond
)

// Check tests everything that would make Load fail and that is known in advance:
// rights, sysctls, the signature, the reservation and the length of the command line.
// The kernel drops its capture kernel before it reads the new one
// (kernel/kexec_file.c), so a failing Load leaves none. unpacked is the size of the
// unpacked initrd in bytes, which the capture kernel holds in addition to the packed
// one. The error is an *Error.
func (s *Slot) Check(kernel *Kernel, initrd *os.File, unpacked int64, cmdline string) error {
	e := &Error{Op: "load capture kernel", Kernel: kernel.File.Name()}
	if cause := s.forbidden(); cause != 0 {
		e.Cause = cause
		return e
	}
	if limit := kernel.CommandLineLimit(); len(cmdline) > limit || strings.ContainsRune(cmdline, 0) {
		e.Cause, e.Need, e.Have = CommandLine, int64(len(cmdline)), int64(limit)
		return e
	}
	if unsigned := s.CheckSigned(kernel); unsigned != nil {
		unsigned.Op = e.Op
		return unsigned
	}
	_, _, err := s.Room(kernel, initrd, unpacked)
	return err
}

// Room returns how many bytes of the reservation the capture kernel takes until it has
// unpacked its image, and the size of the reservation. It needs more than that to run.
// The arguments are those of Check. The error is an *Error, also if it does not fit.
func (s *Slot) Room(kernel *Kernel, initrd *os.File, unpacked int64) (need, have int64, err error) {
	k, err := kernel.File.Stat()
	if err != nil {
		return 0, 0, s.unknown(kernel.File.Name(), err)
	}
	i, err := initrd.Stat()
	if err != nil {
		return 0, 0, s.unknown(kernel.File.Name(), err)
	}
	return s.RoomFor(kernel.File.Name(), StartSize(kernel.InitSize, k.Size()), i.Size(), unpacked)
}

func (s *Slot) unknown(kernel string, err error) error {
	return &Error{Op: "load capture kernel", Kernel: kernel, Cause: Unknown, Err: err}
}

// RoomFor is Room for a kernel with that name that takes size bytes to start, and an
// image of packed bytes.
func (s *Slot) RoomFor(kernel string, size, packed, unpacked int64) (need, have int64, err error) {
	e := &Error{Op: "load capture kernel", Kernel: kernel}
	m, err := s.Memory()
	if noSupport := (*Error)(nil); errors.As(err, &noSupport) {
		e.Cause = NoSupport
		return 0, 0, e
	}
	if err != nil {
		return 0, 0, s.unknown(kernel, err)
	}
	// Unpacked files can be in all of the memory, loaded ones only in one range.
	need, have = s.need(size, packed), m.Main
	if need <= have {
		need, have = need+unpacked, m.Total()
	}
	if need > have {
		s.noRoom(e, need, have)
		return need, have, e
	}
	return need, have, nil
}

// Load calls Check, then loads kernel and initrd with kexec_file_load. If the kernel
// lacks that call, it is kexec_load on arm64, where distributions' kernels do, and the
// program kexec of kexec-tools elsewhere. The command line is without elfcorehdr=, which
// x86 appends. Both files are read from their beginning.
// unpacked is as for Check. The error is an *Error.
func (s *Slot) Load(kernel *Kernel, initrd *os.File, unpacked int64, cmdline string) error {
	if err := s.Check(kernel, initrd, unpacked, cmdline); err != nil {
		return err
	}
	err := s.call(int(kernel.File.Fd()), int(initrd.Fd()), cmdline, unix.KEXEC_FILE_ON_CRASH)
	if err == nil {
		return nil
	}
	e := &Error{Op: "load capture kernel", Kernel: kernel.File.Name(), Err: err}
	switch {
	case errors.Is(err, unix.ENOSYS) && s.Arch == "arm64":
		return s.loadSegments(e, kernel, initrd, cmdline)
	case errors.Is(err, unix.ENOSYS):
		// The files may have no name, so they are handed over open.
		return s.kexecTools(e, []string{"-c", "-p", "--command-line=" + cmdline,
			"--initrd=/proc/self/fd/4", "/proc/self/fd/3"}, []*os.File{kernel.File, initrd})
	}
	s.explain(e, kernel, initrd)
	return e
}

// Unload empties the slot. An empty slot is no error. The error is an *Error.
func (s *Slot) Unload() error {
	e := &Error{Op: "unload capture kernel"}
	if e.Cause = s.forbidden(); e.Cause != 0 {
		return e
	}
	e.Err = s.call(-1, -1, "", unix.KEXEC_FILE_UNLOAD|unix.KEXEC_FILE_ON_CRASH)
	if errors.Is(e.Err, unix.ENOSYS) {
		if s.segmentsForbidden(e) {
			return e
		}
		e.Err = s.retry(func() error { return s.SegmentLoad(0, nil, unix.KEXEC_ON_CRASH) })
	}
	if e.Err == nil {
		return nil
	}
	s.explain(e, nil, nil)
	return e
}

func (s *Slot) call(kernel, initrd int, cmdline string, flags int) error {
	return s.retry(func() error { return s.FileLoad(kernel, initrd, cmdline, flags) })
}

// retry makes a system call again while the slot is in use.
func (s *Slot) retry(call func() error) error {
	for try := 0; ; try++ {
		err := call()
		if !errors.Is(err, unix.EBUSY) || try == busyRetries {
			return err
		}
		s.Sleep(busyPause)
	}
}

// segmentsForbidden reports whether the kernel forbids kexec_load(2), which passes no
// signature to it. It sets the cause of e then.
func (s *Slot) segmentsForbidden(e *Error) bool {
	mode := s.lockedDown()
	if mode != "" {
		e.Cause, e.Detail = LockedTools, mode
	}
	return mode != ""
}

// kexecTools loads with kexec(8) after e, the error of a kernel without
// kexec_file_load.
func (s *Slot) kexecTools(e *Error, args []string, files []*os.File) error {
	if s.segmentsForbidden(e) {
		return e
	}
	program, err := s.LookPath("kexec")
	if err != nil {
		e.Cause = NoSyscall
		return e
	}
	output, err := s.Run(append([]string{program}, args...), files)
	if err != nil {
		e.Cause, e.Err, e.Detail = KexecTools, err, lastLine(output)
		return e
	}
	return nil
}

func run(argv []string, files []*os.File) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.ExtraFiles = files
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	return stderr.String(), err
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

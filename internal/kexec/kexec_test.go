package kexec

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// machine is the state of the running kernel that a test sets: files by their path
// below the root; "" takes one away.
type machine map[string]string

const (
	rootCaps = "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n"
	userCaps = "Name:\tx\nCapEff:\t0000000000000000\nSeccomp:\t0\n"
)

// newSlot returns a slot of a machine with 128 MiB reserved and nothing loaded,
// whose system call returns err.
func newSlot(t *testing.T, change machine, err error) *Slot {
	t.Helper()
	files := machine{
		"sys/kernel/kexec_crash_size":            "134217728\n",
		"sys/kernel/kexec_crash_loaded":          "0\n",
		"sys/kernel/security/lockdown":           "[none] integrity confidentiality\n",
		"proc/cmdline":                           "BOOT_IMAGE=/vmlinuz root=/dev/vda1 crashkernel=128M quiet\n",
		"proc/self/status":                       rootCaps,
		"proc/sys/kernel/kexec_load_disabled":    "0\n",
		"proc/sys/kernel/kexec_load_limit_panic": "-1\n",
	}
	for name, text := range change {
		files[name] = text
	}
	root := t.TempDir()
	for name, text := range files {
		if text == "" {
			continue
		}
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := New(root)
	s.FileLoad = func(int, int, string, int) error { return err }
	s.LookPath = func(string) (string, error) { return "", os.ErrNotExist }
	s.Run = func([]string, []*os.File) (string, error) { t.Error("a program was run"); return "", nil }
	s.SegmentLoad = func(uint64, []Segment, int) error { t.Error("kexec_load was called"); return nil }
	s.Sleep = func(time.Duration) {}
	return s
}

func tempFile(t *testing.T, name string, content []byte) *os.File {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// kernelOf returns a kernel with an x86 kernel's usual facts and that content.
func kernelOf(t *testing.T, content []byte) *Kernel {
	return &Kernel{File: tempFile(t, "vmlinuz", content), InitSize: 50 << 20, CmdlineSize: 2047}
}

func files(t *testing.T) (kernel *Kernel, initrd *os.File) {
	return kernelOf(t, make([]byte, 4096)), tempFile(t, "initrd", make([]byte, 1<<20))
}

func TestState(t *testing.T) {
	s := newSlot(t, nil, nil)
	if n, err := s.Reserved(); n != 128<<20 || err != nil {
		t.Errorf("Reserved: %d, %v", n, err)
	}
	if l, err := s.Loaded(); l || err != nil {
		t.Errorf("Loaded: %v, %v", l, err)
	}
	if c := s.Crashkernel(); c != "crashkernel=128M" {
		t.Errorf("Crashkernel: %q", c)
	}
	if m := s.Lockdown(); m != "none" {
		t.Errorf("Lockdown: %q", m)
	}
	if s.SecureBoot() || s.LoadDisabled() || s.LoadLimit() != -1 {
		t.Errorf("SecureBoot %v, LoadDisabled %v, LoadLimit %d", s.SecureBoot(), s.LoadDisabled(), s.LoadLimit())
	}

	const guid = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	s = newSlot(t, machine{
		"sys/kernel/kexec/crash_size":                "268435456\n",
		"sys/kernel/kexec/crash_loaded":              "1\n",
		"sys/kernel/security/lockdown":               "none integrity [confidentiality]\n",
		"sys/firmware/efi/efivars/SecureBoot" + guid: "\x06\x00\x00\x00\x01",
		"sys/firmware/efi/efivars/SetupMode" + guid:  "\x06\x00\x00\x00\x00",
		"proc/cmdline":                               "crashkernel=256M,high xcrashkernel=1 crashkernel=72M,low",
		"proc/sys/kernel/kexec_load_disabled":        "1\n",
		"proc/sys/kernel/kexec_load_limit_panic":     "3\n",
	}, nil)
	if n, err := s.Reserved(); n != 256<<20 || err != nil {
		t.Errorf("Reserved: %d, %v", n, err)
	}
	if l, err := s.Loaded(); !l || err != nil {
		t.Errorf("Loaded: %v, %v", l, err)
	}
	if c := s.Crashkernel(); c != "crashkernel=256M,high crashkernel=72M,low" {
		t.Errorf("Crashkernel: %q", c)
	}
	if m := s.Lockdown(); m != "confidentiality" {
		t.Errorf("Lockdown: %q", m)
	}
	if !s.SecureBoot() || !s.LoadDisabled() || s.LoadLimit() != 3 {
		t.Errorf("SecureBoot %v, LoadDisabled %v, LoadLimit %d", s.SecureBoot(), s.LoadDisabled(), s.LoadLimit())
	}

	s = newSlot(t, machine{"sys/firmware/efi/efivars/SecureBoot" + guid: "\x06\x00\x00\x00\x01",
		"sys/firmware/efi/efivars/SetupMode" + guid: "\x06\x00\x00\x00\x01"}, nil)
	if s.SecureBoot() {
		t.Error("Secure Boot in setup mode enforces nothing")
	}

	s = New(t.TempDir()) // nothing there
	for _, err := range []error{second(s.Reserved()), second(s.Loaded())} {
		var e *Error
		if !errors.As(err, &e) || e.Cause != NoSupport {
			t.Errorf("got %v", err)
		}
	}
	if s.Crashkernel() != "" || s.Lockdown() != "" || s.SecureBoot() || s.LoadDisabled() || s.LoadLimit() != -1 {
		t.Error("an empty machine has some state")
	}
	s = newSlot(t, machine{"sys/kernel/kexec_crash_size": "-5"}, nil)
	if _, err := s.Reserved(); err == nil {
		t.Error("a negative size was accepted")
	}
}

func second[T any](_ T, err error) error { return err }

func TestLoad(t *testing.T) {
	s := newSlot(t, nil, nil)
	kernel, initrd := files(t)
	calls := 0
	s.FileLoad = func(k, i int, cmdline string, flags int) error {
		calls++
		if k != int(kernel.File.Fd()) || i != int(initrd.Fd()) || cmdline != "panic=10" || flags != unix.KEXEC_FILE_ON_CRASH {
			t.Errorf("FileLoad(%d, %d, %q, %#x)", k, i, cmdline, flags)
		}
		if calls < 3 {
			return unix.EBUSY
		}
		return nil
	}
	if err := s.Load(kernel, initrd, 0, "panic=10"); err != nil || calls != 3 {
		t.Errorf("%v after %d calls", err, calls)
	}

	calls = 0
	s.FileLoad = func(k, i int, _ string, flags int) error {
		calls++
		if k != -1 || i != -1 || flags != unix.KEXEC_FILE_ON_CRASH|unix.KEXEC_FILE_UNLOAD {
			t.Errorf("FileLoad(%d, %d, %#x)", k, i, flags)
		}
		return nil
	}
	if err := s.Unload(); err != nil || calls != 1 {
		t.Errorf("unload: %v after %d calls", err, calls)
	}
}

// Errors that are known in advance are found without a system call, which would drop
// the capture kernel that is loaded.
func TestCheck(t *testing.T) {
	small := machine{"sys/kernel/kexec_crash_size": "53477376\n"} // 51 MiB: kernel and image, no ELF header
	for _, tt := range []struct {
		name    string
		machine machine
		cmdline string
		want    Cause
	}{
		{"not root", machine{"proc/self/status": userCaps}, "", NeedsRoot},
		{"disabled", machine{"proc/sys/kernel/kexec_load_disabled": "1"}, "", LoadDisabled},
		{"limit", machine{"proc/sys/kernel/kexec_load_limit_panic": "0"}, "", LoadLimit},
		{"no crashkernel", machine{"sys/kernel/kexec_crash_size": "0", "proc/cmdline": "quiet"}, "", NoReservation},
		{"failed crashkernel", machine{"sys/kernel/kexec_crash_size": "0"}, "", ReservationFailed},
		{"fits exactly", small, "", 0},
		{"too small", machine{"sys/kernel/kexec_crash_size": "53477375"}, "", TooSmall},
		{"too small with ELF header", machine{"sys/kernel/kexec_crash_size": "53477376", "sys/kernel/crash_elfcorehdr_size": "65536"}, "", TooSmall},
		{"no support", machine{"sys/kernel/kexec_crash_size": ""}, "", NoSupport},
		{"longest command line", nil, strings.Repeat("x", 2047-61-1), 0},
		{"command line too long", nil, strings.Repeat("x", 2047-61), CommandLine},
		{"NUL in the command line", nil, "a\x00b", CommandLine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSlot(t, tt.machine, nil)
			called := false
			s.FileLoad = func(int, int, string, int) error { called = true; return nil }
			kernel, initrd := files(t)
			err := s.Load(kernel, initrd, 0, tt.cmdline)
			var e *Error
			if tt.want == 0 {
				if err != nil || !called {
					t.Errorf("called %v, got %v", called, err)
				}
			} else if !errors.As(err, &e) || e.Cause != tt.want || called {
				t.Errorf("called %v, got %v, want cause %d", called, err, tt.want)
			}
		})
	}
}

func TestNotReserved(t *testing.T) {
	for cmdline, want := range map[string]Cause{"quiet": NoReservation, "crashkernel=16G": ReservationFailed} {
		var e *Error
		err := newSlot(t, machine{"proc/cmdline": cmdline}, nil).NotReserved()
		if !errors.As(err, &e) || e.Cause != want {
			t.Errorf("%s: got %v, want cause %d", cmdline, err, want)
		}
	}
}

func TestErrno(t *testing.T) {
	limitUsed := machine{"proc/sys/kernel/kexec_load_limit_panic": "1"}
	for _, tt := range []struct {
		errno   unix.Errno
		machine machine
		want    Cause
	}{
		{unix.EPERM, nil, Denied},
		{unix.EPERM, limitUsed, Denied},
		{unix.EACCES, nil, Denied},
		{unix.EINVAL, nil, Invalid},
		{unix.EBUSY, nil, Busy},
		{unix.ENOEXEC, nil, NotAKernel},
		{unix.EADDRNOTAVAIL, nil, Fragmented},
		{unix.ENOMEM, nil, NoMemory},
		{unix.ENODATA, nil, Unsigned},
		{unix.ENOKEY, nil, KeyRejected},
		{unix.EKEYREJECTED, nil, Altered},
		{unix.EKEYREVOKED, nil, Altered},
		{unix.EKEYEXPIRED, nil, KeyRejected},
		{unix.ELIBBAD, nil, BadSignature},
		{unix.EBADMSG, nil, BadSignature},
		{unix.ENOPKG, nil, BadSignature},
		{unix.EMSGSIZE, nil, BadSignature},
		{unix.ENOSYS, nil, NoSyscall},
		{unix.EIO, nil, Unknown},
	} {
		s := newSlot(t, tt.machine, tt.errno)
		kernel, initrd := files(t)
		err := s.Load(kernel, initrd, 0, "")
		var e *Error
		if !errors.As(err, &e) || e.Cause != tt.want || !errors.Is(err, tt.errno) {
			t.Errorf("%v: got %v, want cause %d", tt.errno, err, tt.want)
		}
		if tt.errno == unix.EADDRNOTAVAIL || tt.errno == unix.ENOEXEC || tt.errno == unix.ENOSYS {
			continue // unloading cannot give these, or uses kexec_load
		}
		if err := s.Unload(); !errors.As(err, &e) || e.Cause != tt.want || e.Kernel != "" {
			t.Errorf("unload, %v: got %v, want cause %d", tt.errno, err, tt.want)
		}
	}
}

// The call itself counts against the limit, so it is looked up again afterwards.
func TestLimitUsedUp(t *testing.T) {
	s := newSlot(t, nil, nil)
	s.FileLoad = func(int, int, string, int) error {
		if err := os.WriteFile(filepath.Join(s.Root, "proc/sys/kernel/kexec_load_limit_panic"), []byte("0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return unix.EPERM
	}
	kernel, initrd := files(t)
	var e *Error
	if err := s.Load(kernel, initrd, 0, ""); !errors.As(err, &e) || e.Cause != LoadLimit {
		t.Errorf("got %v", err)
	}
}

func TestKexecTools(t *testing.T) {
	s := newSlot(t, nil, unix.ENOSYS)
	s.LookPath = func(name string) (string, error) { return "/usr/sbin/" + name, nil }
	var got string
	s.Run = func(argv []string, files []*os.File) (string, error) {
		got = strings.Join(argv, "|")
		for _, f := range files {
			got += "|" + filepath.Base(f.Name())
		}
		return "", nil
	}
	kernel, initrd := files(t)
	if err := s.Load(kernel, initrd, 0, "panic=10 quiet"); err != nil {
		t.Error(err)
	}
	if want := "/usr/sbin/kexec|-c|-p|--command-line=panic=10 quiet|--initrd=/proc/self/fd/4|/proc/self/fd/3|vmlinuz|initrd"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
	got = ""
	s.SegmentLoad = func(entry uint64, list []Segment, flags int) error {
		got = fmt.Sprint(entry, len(list), flags == unix.KEXEC_ON_CRASH)
		return nil
	}
	if err := s.Unload(); err != nil || got != "0 0 true" {
		t.Errorf("unload: %s, %v", got, err)
	}
	s.Run = func([]string, []*os.File) (string, error) {
		return "warning\nCannot load it\n", errors.New("exit status 255")
	}
	err := s.Load(kernel, initrd, 0, "")
	var e *Error
	if !errors.As(err, &e) || e.Cause != KexecTools ||
		!strings.HasSuffix(err.Error(), "kexec of kexec-tools failed: Cannot load it: exit status 255") {
		t.Errorf("got %v", err)
	}
}

func TestRun(t *testing.T) {
	f := tempFile(t, "f", []byte("passed"))
	stderr, err := run([]string{"/bin/sh", "-c", "cat /proc/self/fd/3 >&2; exit 3"}, []*os.File{f})
	if stderr != "passed" || err == nil || err.Error() != "exit status 3" {
		t.Errorf("got %q, %v", stderr, err)
	}
}

func TestNeed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		kernel Kernel
		size   int // of the file
		need   int64
		limit  int
	}{
		{"x86", Kernel{InitSize: 50 << 20, CmdlineSize: 2047}, 4096, 50 << 20, 1985},
		{"x86 with a short command line", Kernel{InitSize: 50 << 20, CmdlineSize: 255}, 4096, 50 << 20, 255 - 62},
		{"x86 with a senseless command line", Kernel{CmdlineSize: 1 << 31}, 4096, 4096, 1985},
		{"a negative command line", Kernel{CmdlineSize: -1}, 4096, 4096, 1985},
		{"arm64", Kernel{InitSize: 30 << 20, CmdlineSize: 2047}, 4096, 30 << 20, 1985},
		{"arm64 with a senseless size", Kernel{InitSize: 1 << 63, CmdlineSize: 2047}, 4096, 4096, 1985},
		{"short", Kernel{}, 4, 4, 1985},
		{"empty", Kernel{}, 0, 0, 1985},
	} {
		s := newSlot(t, nil, nil)
		kernel := &tt.kernel
		kernel.File = tempFile(t, "k", make([]byte, tt.size))
		if n, _, err := s.Room(kernel, tempFile(t, "i", make([]byte, 100)), 1000); n != tt.need+1100 || err != nil {
			t.Errorf("%s: needs %d, %v, want %d", tt.name, n, err, tt.need+1100)
		}
		if n := kernel.CommandLineLimit(); n != tt.limit {
			t.Errorf("%s: limit %d, want %d", tt.name, n, tt.limit)
		}
	}
}

// TestMessages writes every cause with its advice into a golden file.
func TestMessages(t *testing.T) {
	var b strings.Builder
	for c := Unknown; int(c) < len(causes); c++ {
		e := &Error{Op: "load capture kernel", Kernel: "/boot/vmlinuz-6.12.1", Cause: c}
		switch c {
		case Unknown:
			e.Err = unix.EIO
		case Lockdown:
			e.Detail, e.Err = "integrity, as Secure Boot is on", unix.EPERM
		case LockedTools:
			e.Detail, e.Err = "integrity", unix.ENOSYS
		case ReservationFailed:
			e.Detail = "crashkernel=16G"
		case TooSmall:
			e.Need, e.Have = 154<<20, 64<<20
		case Fragmented:
			e.Need, e.Have, e.Err = 51<<20+1, 64<<20, unix.EADDRNOTAVAIL
		case CommandLine:
			e.Need, e.Have = 3000, 1985
		case NotAKernel:
			e.Err = unix.ENOEXEC
		case Undescribed:
			e.Detail = "the device tree: open /sys/firmware/fdt: no such file or directory"
		case KexecTools:
			e.Detail, e.Err = "Cannot determine the file type of /proc/self/fd/3", errors.New("exit status 255")
		}
		if c != Unknown && e.reason() == "" {
			t.Errorf("cause %d has no text", c)
		}
		fmt.Fprintf(&b, "%v\n\t%s\n", e, e.Advice())
	}
	got := b.String()
	const name = "testdata/messages.golden"
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, got:\n%s", name, got)
	}
}

func TestSufficient(t *testing.T) {
	for need, want := range map[int64]int64{0: 256, 18: 80, 24: 80, 25: 256, 128: 256, 129: 320} {
		if got := Sufficient(need<<20) >> 20; got != want {
			t.Errorf("%d MiB: %d MiB, want %d", need, got, want)
		}
	}
}

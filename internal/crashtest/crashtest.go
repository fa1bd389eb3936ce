// Package crashtest crashes the kernel to see whether that is saved, without harm to the
// file systems: in the last moment of a shutdown.
package crashtest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/vmcore"
)

const (
	// mark is the file that tells the hook to crash. /run is there until the end.
	mark = "run/ukdump/test"
	// hook is run by systemd-shutdown(8), which looks in no other directory.
	hook = "usr/lib/systemd/system-shutdown/ukdump-test.shutdown"

	sysrq = "proc/sysrq-trigger"
	kmsg  = "dev/kmsg"
	// devkmsg is "on", "off" or "ratelimit" for what programs write to /dev/kmsg, see
	// Documentation/admin-guide/sysctl/kernel.rst.
	devkmsg = "proc/sys/kernel/printk_devkmsg"
	// booted is there if systemd is PID 1, see sd_booted(3).
	booted = "run/systemd/system"
	// inhibitors has one file for each lock of logind.
	inhibitors = "run/systemd/inhibit"
)

// Machine is the machine below a root directory.
type Machine struct {
	Root  string
	Sleep func(time.Duration)
	Sync  func() // writes everything to the disks
}

func (m *Machine) path(name string) string { return filepath.Join(m.Root, name) }

// Systemd reports whether systemd can shut the machine down.
func (m *Machine) Systemd() bool {
	fi, err := os.Stat(m.path(booted))
	return err == nil && fi.IsDir()
}

// Ready returns the reason why the kernel cannot be crashed: now, or at the end of a
// shutdown. nil says that nothing was found, not that it will work.
func (m *Machine) Ready(now bool) error {
	if _, err := os.Stat(m.path(sysrq)); err != nil {
		return advice.With(fmt.Errorf("the kernel cannot be crashed on request: %w", err), "It needs a kernel with CONFIG_MAGIC_SYSRQ.")
	}
	if _, err := os.Stat(m.path(kmsg)); err != nil {
		return fmt.Errorf("the log cannot name the test: %w", err)
	}
	if now {
		return nil
	}
	if err := m.checkHook(); err != nil {
		return err
	}
	return m.inhibited()
}

// checkHook looks for the program that crashes at the end of a shutdown.
func (m *Machine) checkHook() error {
	path := "/" + hook
	fi, err := os.Stat(m.path(hook))
	switch {
	case err != nil:
		err = fmt.Errorf("nothing would crash the kernel at the end of a shutdown: %w", err)
	case fi.Mode()&0o111 == 0:
		err = fmt.Errorf("nothing would crash the kernel at the end of a shutdown: %s is not executable", path)
	default:
		return nil
	}
	return advice.With(err, "Install ukdump with PREFIX=/usr, or run kdumpctl test --now, which crashes without a shutdown.")
}

// inhibited returns the error that a program asked to delay no shutdown now, such as an
// update. logind writes the locks as lines of KEY=VALUE, quoted as in a shell.
func (m *Machine) inhibited() error {
	files, err := os.ReadDir(m.path(inhibitors))
	if errors.Is(err, os.ErrNotExist) {
		return nil // no logind, no locks
	}
	if err != nil {
		return err
	}
	var who []string
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(m.path(inhibitors), f.Name()))
		if err != nil || !f.Type().IsRegular() {
			continue // released meanwhile, or the pipe beside the file
		}
		lock := map[string]string{}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			lock[key] = strings.Trim(value, `"'`)
		}
		if strings.HasPrefix(lock["MODE"], "block") && strings.Contains(":"+lock["WHAT"]+":", ":shutdown:") {
			who = append(who, unescape(lock["WHO"])+" ("+unescape(lock["WHY"])+")")
		}
	}
	if len(who) == 0 {
		return nil
	}
	return advice.With(fmt.Errorf("the machine must not shut down now: %s", strings.Join(who, ", ")), "Wait until that is done. systemd-inhibit --list shows it.")
}

// unescape replaces the escapes of cescape in systemd that are common in names.
func unescape(s string) string {
	return strings.NewReplacer(`\x20`, " ", `\x27`, "'", `\x22`, `"`, `\n`, " ", `\t`, " ").Replace(s)
}

// Token returns a name for a test that no other test has.
func Token() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Mark makes the next reboot end in a crash.
func (m *Machine) Mark(token string) error {
	if err := m.allowKmsg(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.path(mark)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.path(mark), []byte("<5>"+vmcore.TestMark(token)+"\n"), 0o600)
}

// Unmark takes Mark back.
func (m *Machine) Unmark() error {
	err := os.Remove(m.path(mark))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// allowKmsg lets programs write to the kernel's log until the reboot. The kernel drops
// without an error what it does not take.
func (m *Machine) allowKmsg() error {
	b, err := os.ReadFile(m.path(devkmsg))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(b)) == "on" {
		return nil
	}
	err = os.WriteFile(m.path(devkmsg), []byte("on\n"), 0)
	if err != nil && strings.TrimSpace(string(b)) == "off" { // a parameter of the kernel locks it
		return advice.With(fmt.Errorf("the kernel's log takes no mark of the test, because of printk.devkmsg=off: %w", err), "Remove printk.devkmsg=off from the kernel's command line.")
	}
	return nil
}

// settle is how long file systems may take to become read-only.
const settle = 30 * time.Second

// Crash crashes the kernel at once, with the file systems read-only. It returns only if
// that failed.
func (m *Machine) Crash(token string) error {
	if err := m.allowKmsg(); err != nil {
		return err
	}
	m.Sync()
	for _, command := range []string{"s", "u"} { // Documentation/admin-guide/sysrq.rst
		if err := m.request(command); err != nil {
			return err
		}
	}
	if err := m.awaitReadOnly(); err != nil {
		return err
	}
	log, err := os.OpenFile(m.path(kmsg), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = log.WriteString("<5>" + vmcore.TestMark(token) + "\n")
	log.Close()
	if err != nil {
		return fmt.Errorf("mark the test in the kernel's log: %w", err)
	}
	if err := m.request("c"); err != nil {
		return err
	}
	return errors.New("the kernel did not crash")
}

func (m *Machine) request(command string) error {
	f, err := os.OpenFile(m.path(sysrq), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(command)
	return err
}

// awaitReadOnly waits until no disk is mounted for writing: the kernel remounts in the
// background.
func (m *Machine) awaitReadOnly() error {
	const pause = 100 * time.Millisecond
	for waited := time.Duration(0); ; waited += pause {
		b, err := os.ReadFile(m.path("proc/mounts"))
		if err != nil {
			return err
		}
		writable := writableMounts(string(b))
		if len(writable) == 0 {
			return nil
		}
		if waited >= settle {
			return fmt.Errorf("no crash, as these file systems are still writable: %s; reboot the machine: the others are read-only now", strings.Join(writable, " "))
		}
		m.Sleep(pause)
	}
}

// writableMounts returns where disks are mounted for writing, by proc_mounts(5).
func writableMounts(mounts string) (points []string) {
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) >= 4 && strings.HasPrefix(f[0], "/dev/") && (f[3] == "rw" || strings.HasPrefix(f[3], "rw,")) {
			points = append(points, f[1])
		}
	}
	return points
}

// NewMachine returns this machine.
func NewMachine(root string, sleep func(time.Duration)) *Machine {
	return &Machine{Root: root, Sleep: sleep, Sync: unix.Sync}
}

package ctl

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ukdump/internal/bootloader"
	"ukdump/internal/setup"
)

// grubMachine is a machine that GRUB has started, as on Debian.
func grubMachine(t *testing.T) *machine {
	m := newMachine(t)
	m.Write("etc/default/grub", "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n")
	m.Write("boot/grub/grub.cfg", "menuentry 'Debian' {\n\tlinux\t/boot/vmlinuz root=/dev/vda1 ro quiet\n}\n")
	m.Write("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro quiet\n")
	m.Write("proc/sys/kernel/panic_on_oops", "0\n")
	m.Write("run/systemd/system/x", "")
	m.Write("sys/kernel/kexec_crash_size", "0\n")
	m.look = map[string]bool{"update-grub": true, "grub-mkconfig": true, "sysctl": true, "systemctl": true}
	m.Write("usr/sbin/update-grub", "")
	m.Write("usr/sbin/grub-mkconfig", "")
	m.command = func(args []string) ([]byte, error) {
		switch {
		case strings.Contains(args[0], "grub"):
			_, words, _ := strings.Cut(m.Read("etc/default/grub"), "DEFAULT=\"")
			words, _, _ = strings.Cut(words, "\"")
			m.Write("boot/grub/grub.cfg", "menuentry 'Debian' {\n\tlinux\t/boot/vmlinuz root=/dev/vda1 ro "+words+"\n}\n")
		case strings.Join(args, " ") == "systemctl enable ukdump.service":
			m.enable("ukdump.service")
		case strings.Join(args, " ") == "systemctl disable ukdump.service":
			m.Remove("etc/systemd/system/sysinit.target.wants/ukdump.service")
		}
		return nil, nil
	}
	return m
}

// setupMachine is the machine as setup changes it.
func (m *machine) setupMachine() *setup.Machine {
	s := setup.New(m.Root, m.ctl().store)
	s.Loader = func() ([]bootloader.Found, error) { return bootloader.Detect(&bootloader.System{Root: m.Root}) }
	s.Owner = nil // asks the package manager of this machine
	s.Look = func(name string) (string, error) {
		if !m.look[name] {
			return "", errors.New("not found")
		}
		return name, nil
	}
	s.Run = func(args []string) ([]byte, error) {
		m.ran = append(m.ran, strings.Join(args, " "))
		return m.command(args)
	}
	return s
}

func TestSetup(t *testing.T) {
	t.Parallel()
	m := grubMachine(t)
	before := m.Read("etc/default/grub")
	got := m.kdumpctl("setup")
	for _, want := range []string{
		"boot loader  grub", "next boot    no crashkernel=\n", "memory       crashkernel=128M, comfortable until kdumpctl test has measured it",
		"+GRUB_CMDLINE_LINUX_DEFAULT=\"quiet crashkernel=128M\"\n", "+kernel.panic_on_oops = 1\n", "run          systemctl enable ukdump.service",
		"\nNothing was changed. Run kdumpctl setup --apply",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("%q is not in\n%s%s", want, got.stdout, got.stderr)
		}
	}
	if len(m.ran) > 0 || m.Read("etc/default/grub") != before {
		t.Errorf("something was changed: %q", m.ran)
	}
	if got := m.kdumpctl("setup --apply"); got.status != 0 || !strings.HasSuffix(got.stdout, "The next boot has crashkernel=128M.\nReboot. Then run kdumpctl test, which proves that a crash is saved.\n") {
		t.Errorf("%+v", got)
	}
	ran := len(m.ran)
	if got := m.kdumpctl("setup --apply"); got.status != 0 || len(m.ran) != ran || !strings.Contains(got.stdout, "changes      none\n") {
		t.Errorf("the second time: %+v, %q", got, m.ran)
	}
	if got := m.kdumpctl("setup --json"); got.status != 0 || !strings.Contains(got.stdout, `"loader": "grub"`) || !strings.Contains(got.stdout, `"files": []`) || !strings.Contains(got.stdout, `"cmdline": "`) {
		t.Errorf("%+v", got)
	}
	if got := m.kdumpctl("setup --remove"); got.status != 0 || m.Read("etc/default/grub") != before || strings.Contains(m.Read("boot/grub/grub.cfg"), "crashkernel") {
		t.Errorf("%+v\n%s%s", got, m.Read("etc/default/grub"), m.Read("boot/grub/grub.cfg"))
	}
	if got := m.kdumpctl("setup --remove"); got.status != 0 || !strings.HasPrefix(got.stdout, "Nothing to remove") {
		t.Errorf("%+v", got)
	}
}

func TestSetupSize(t *testing.T) {
	t.Parallel()
	m := grubMachine(t)
	for args, want := range map[string]string{
		"--crashkernel=96M":                             "quiet crashkernel=96M\"",
		"--crashkernel=512M,high --crashkernel=64M,low": "quiet crashkernel=64M,low\"", // the last one counts
		"--crashkernel=1G-4G:192M,4G-:256M":             "quiet crashkernel=1G-4G:192M,4G-:256M\"",
		"--trigger=oops,nmi --crashkernel=64M":          "+kernel.unknown_nmi_panic = 1\n",
	} {
		if got := m.kdumpctl("setup " + args); got.status != 0 || !strings.Contains(got.stdout, want) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	for _, args := range []string{"--crashkernel=lots", "--crashkernel=1M;reboot", "--trigger=bad", "--apply --remove", "--loader=lilo", "--crashkernel=\"", "--crashkernel=$(reboot)"} {
		if got := m.kdumpctl("setup " + args); got.status != 2 || len(m.ran) > 0 {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// The small capture kernel is offered with the size that it needs, and gets that if it is
// chosen. No size that is enough for it leads to a warning.
func TestSetupSmallKernel(t *testing.T) {
	t.Parallel()
	m := grubMachine(t)
	expect := func(line string, status int, want string, unwanted ...string) {
		t.Helper()
		got := m.kdumpctl(line)
		if got.status != status || !strings.Contains(got.stdout+got.stderr, want) {
			t.Errorf("%s: %q is not in\n%+v", line, want, got)
		}
		for _, u := range unwanted {
			if strings.Contains(got.stdout+got.stderr, u) {
				t.Errorf("%s: %q is in\n%+v", line, u, got)
			}
		}
	}
	m.AddSmallKernel()
	expect("setup", 0, "lets a capture work in less memory:")
	expect("setup --json", 0, "in less memory: crashkernel=64M.")
	m.Write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
	expect("setup --json", 0, "but this machine does not take it: ROOT/usr/lib/ukdump/capture-kernel/vmlinuz: not signed, and the running kernel is locked down (integrity).", "in less memory")
	m.Write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
	expect("setup", 0, "memory       crashkernel=128M, comfortable")

	m.Write(conf, "KERNEL="+setup.CaptureKernel+"\n")
	expect("setup", 0, "memory       crashkernel=64M, comfortable until kdumpctl test has measured it: the estimate is 32 MiB", "A small capture kernel")
	expect("estimate", 0, "crashkernel=32M is the smallest that is safe")
	for _, tt := range []struct {
		reserved int64 // MiB
		status   int
		advice   string // "" without a warning
	}{
		{12, 1, "--crashkernel=80M"}, // does not fit
		{16, 0, "--crashkernel=64M"},
		{32, 0, ""},
	} {
		m.Write("sys/kernel/kexec_crash_size", fmt.Sprint(tt.reserved<<20))
		got := m.kdumpctl("load")
		if warns := strings.Contains(got.stderr, "too small"); got.status != tt.status || warns != (tt.advice != "") || !strings.Contains(got.stderr, tt.advice) {
			t.Errorf("load with %d MiB: %+v, want %q", tt.reserved, got, tt.advice)
		}
	}
	expect("verify", 0, "memory        32.0 MiB can be used, a capture needs about 18.1 MiB")

	needed := m.ctl().store.Loaded().Needed
	m.reboot()
	m.Write(conf, "TARGTE=x\n")
	expect("load", 1, "loaded instead: the fallback set")
	if rec := m.ctl().store.Loaded(); rec == nil || rec.Fallback == "" || rec.Needed != needed {
		t.Errorf("the fallback set needs %d bytes: %+v", needed, rec)
	}

	m.Write(conf, "")
	builtin := "usr/lib/ukdump/capture-kernel/modules/6.12.118-ukdump/modules.builtin"
	m.Write(builtin, strings.Replace(m.Read(builtin), "virtio_blk", "virtio_console", 1))
	expect("setup --json", 0, "but this machine does not take it: ", "in less memory")
}

// What is set already stays if it is enough.
func TestSetupKeepsSize(t *testing.T) {
	t.Parallel()
	m := grubMachine(t)
	set := func(words string) {
		m.rewrite("etc/default/grub")
		m.Write("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet "+words+"\"\n")
		m.Write("boot/grub/grub.cfg", "menuentry 'Debian' {\n\tlinux\t/boot/vmlinuz root=/dev/vda1 ro quiet "+words+"\n}\n")
	}
	set("crashkernel=300M")
	m.Write("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro quiet crashkernel=300M\n")
	m.Write("sys/kernel/kexec_crash_size", "314572800\n")
	if got := m.kdumpctl("setup"); !strings.Contains(got.stdout, "crashkernel=300M, the next boot has it already, and it is enough") {
		t.Errorf("%+v", got)
	}
	set("crashkernel=200M") // of an earlier setup
	if got := m.kdumpctl("setup"); !strings.Contains(got.stdout, "crashkernel=200M, the next boot has it already; it is not tried yet") {
		t.Errorf("%+v", got)
	}
	set("crashkernel=32M")
	m.Write("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro quiet crashkernel=32M\n")
	m.Write("sys/kernel/kexec_crash_size", "33554432\n")
	if got := m.kdumpctl("setup"); !strings.Contains(got.stdout, "memory       crashkernel=128M, comfortable") {
		t.Errorf("%+v", got)
	}
}

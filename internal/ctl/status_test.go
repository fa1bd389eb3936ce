package ctl

import (
	"bytes"
	"os"
	"testing"

	"ukdump/internal/build/buildtest"
)

// Text and JSON of status in all states of a machine.
func TestStatusGolden(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m *machine)
		status int
	}{
		{"nothing-reserved", func(m *machine) {
			m.Write("sys/kernel/kexec_crash_size", "0\n")
			m.Write("proc/cmdline", "quiet\n")
		}, 3},
		{"not-loaded", func(m *machine) {}, 3},
		{"loaded", func(m *machine) { m.kdumpctl("load"); dumps(m); m.Remove("var/crash/" + newest) }, 0},
		{"loaded-by-another", func(m *machine) { m.Write("sys/kernel/kexec_crash_loaded", "1\n") }, 0},
		{"loaded-in-an-earlier-boot", func(m *machine) {
			m.kdumpctl("load")
			m.Write("proc/sys/kernel/random/boot_id", "99999999-2222-4333-8444-555555555555\n")
		}, 0},
		{"image-out-of-date", func(m *machine) { m.kdumpctl("load"); m.Write("etc/ukdump.conf", "DUMP_LEVEL=1\n") }, 0},
		{"built-but-not-reloaded", func(m *machine) {
			m.kdumpctl("load")
			m.Write("etc/ukdump.conf", "DUMP_LEVEL=1\n")
			m.kdumpctl("build")
		}, 0},
		{"command-line-changed", func(m *machine) { m.kdumpctl("load"); m.Write("etc/ukdump.conf", "BOOT_OPTIONS=debug\n") }, 0},
		{"image-removed", func(m *machine) { m.kdumpctl("load"); m.Remove(image) }, 0},
		{"image-damaged", func(m *machine) { m.kdumpctl("load"); m.Write(image, "x") }, 0},
		{"bad-configuration", func(m *machine) { m.kdumpctl("load"); m.Write("etc/ukdump.conf", "DUMP_LEVEL=99\n") }, 0},
		{"makedumpfile-missing", func(m *machine) { m.Remove("usr/bin/makedumpfile") }, 3},
		{"kernel-without-slot", func(m *machine) {
			m.Remove("sys/kernel/kexec_crash_size")
			m.Remove("sys/kernel/kexec_crash_loaded")
		}, 3},
		{"target-a-file", func(m *machine) { m.Write("var/crash", "") }, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			tt.change(m)
			calls := len(m.calls)
			got := m.status(tt.status)
			buildtest.Golden(t, "status-"+tt.name+".txt", got)
			if len(m.calls) != calls {
				t.Errorf("the kernel was called: %q", m.calls)
			}
		})
	}
}

// status returns what status says, with that exit status, as text and as JSON.
func (m *machine) status(status int) []byte {
	m.t.Helper()
	var all bytes.Buffer
	for _, line := range []string{"status", "status --json"} {
		r := m.kdumpctl(line)
		if r.status != status || r.stderr != "" {
			m.t.Errorf("%s: %+v, want status %d", line, r, status)
		}
		harmless(m.t, line, r.stdout)
		all.WriteString(stamps.ReplaceAllString(r.stdout, `"$1": "..."`))
	}
	return all.Bytes()
}

// What only root can see must not be taken for missing.
func TestStatusUnprivileged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m *machine)
		status int
	}{
		{"user-loaded", func(m *machine) { m.kdumpctl("load"); dumps(m) }, 0},
		{"user-not-loaded", func(m *machine) { dumps(m) }, 3},
		{"user-no-crash-directory", func(m *machine) { m.Write("var/x", ""); m.kdumpctl("load") }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			tt.change(m)
			for _, dir := range []string{"/var/crash", "/var/lib/ukdump"} {
				err := os.Chmod(m.Root+dir, 0)
				if err == nil {
					t.Cleanup(func() { os.Chmod(m.Root+dir, 0o700) })
				} else if !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			var got []byte
			m.asNobody(func() { got = m.status(tt.status) })
			buildtest.Golden(t, "status-"+tt.name+".txt", got)
		})
	}
}

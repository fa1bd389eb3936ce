package ctl

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/fsid"
	"ukdump/internal/verify"
)

// Text and JSON of status in all states of a machine.
func TestStatusGolden(t *testing.T) {
	t.Parallel()
	bare, loaded := newMachine(t), newMachine(t)
	if got := loaded.kdumpctl("load"); got.status != 0 {
		t.Fatalf("got %+v", got)
	}
	for _, tt := range []struct {
		name   string
		m      *machine
		change func(m *machine)
		status int
	}{
		{"nothing-reserved", bare, func(m *machine) {
			m.Write("sys/kernel/kexec_crash_size", "0\n")
			m.Write("proc/cmdline", "quiet\n")
		}, 3},
		{"not-loaded", bare, func(m *machine) {}, 3},
		{"loaded", loaded, func(m *machine) { dumps(m); m.Remove("var/crash/" + newest) }, 0},
		{"loaded-by-another", bare, func(m *machine) { m.Write("sys/kernel/kexec_crash_loaded", "1\n") }, 4},
		{"loaded-over", loaded, func(m *machine) {
			l := m.ctl().store.Loaded()
			l.Updates = true
			m.rewrite("var/lib/ukdump/loaded.json")
			if err := m.ctl().store.SaveLoaded(l); err != nil {
				m.t.Fatal(err)
			}
			m.Write("sys/devices/system/cpu/crash_hotplug", "0\n")
		}, 4},
		{"other-tool-enabled", loaded, func(m *machine) {
			m.enable(verify.LoadUnit)
			m.Write("usr/lib/systemd/system/kdump-tools.service", "")
			m.Link("etc/systemd/system/multi-user.target.wants/kdump-tools.service", "/usr/lib/systemd/system/kdump-tools.service")
		}, 4},
		{"loaded-in-an-earlier-boot", loaded, func(m *machine) {
			m.Write("proc/sys/kernel/random/boot_id", "99999999-2222-4333-8444-555555555555\n")
		}, 4},
		{"image-out-of-date", loaded, func(m *machine) { m.Write("etc/ukdump.conf", "DUMP_LEVEL=1\n") }, 4},
		{"built-but-not-reloaded", loaded, func(m *machine) {
			m.Write("etc/ukdump.conf", "DUMP_LEVEL=1\n")
			m.rewrite(image)
			m.kdumpctl("build")
		}, 4},
		{"command-line-changed", loaded, func(m *machine) { m.Write("etc/ukdump.conf", "BOOT_OPTIONS=debug\n") }, 4},
		{"kernel-replaced", loaded, func(m *machine) { // by one of the same release
			k := []byte(m.Read(vmlinuz))
			k[len(k)-1]++
			m.Write(vmlinuz, string(k))
		}, 4},
		{"image-removed", loaded, func(m *machine) { m.Remove(image) }, 0},
		{"image-damaged", loaded, func(m *machine) { m.Write(image, "x") }, 0},
		{"bad-configuration", loaded, func(m *machine) { m.Write("etc/ukdump.conf", "DUMP_LEVEL=99\n") }, 4},
		{"makedumpfile-missing", bare, func(m *machine) { m.Remove("usr/bin/makedumpfile") }, 3},
		{"kernel-without-slot", bare, func(m *machine) {
			m.Remove("sys/kernel/kexec_crash_size")
			m.Remove("sys/kernel/kexec_crash_loaded")
		}, 3},
		{"two-targets", loaded, func(m *machine) {
			m.AddDisk()
			m.Write("etc/ukdump.conf", "TARGET=/srv/dumps /var/crash\n")
			m.rewrite(image)
			m.rewrite("var/lib/ukdump/loaded.json")
			m.kdumpctl("load")
			m.Write("srv/dumps/2026-11-19T01-00-00Z/vmcore-dmesg.txt", "log")
			m.Write("var/crash/2026-11-20T01-00-00Z/vmcore-dmesg.txt", "log")
		}, 0},
		{"enabled", loaded, func(m *machine) { m.enable(verify.LoadUnit) }, 0},
		{"not-enabled", loaded, func(m *machine) { m.enable(verify.CollectUnit) }, 4},
		{"collect-not-enabled", loaded, func(m *machine) {
			m.enable(verify.LoadUnit)
			m.AddSwap()
			m.rewrite(image)
			m.rewrite("var/lib/ukdump/loaded.json")
			m.kdumpctl("load")
		}, 4},
		{"uncollected", loaded, func(m *machine) {
			m.AddSwap()
			m.Write("dev/nvme0n1p1", fsid.RawDumpMagic+strings.Repeat("\x00", 1<<20))
			m.rewrite(image)
			m.rewrite("var/lib/ukdump/loaded.json")
			m.kdumpctl("load")
		}, 4},
		{"one-directory-unread", loaded, func(m *machine) {
			m.Write("etc/ukdump.conf", "EVIDENCE=/srv/file\n")
			m.Write("srv/file", "")
			m.Write("var/crash/2026-11-20T01-00-00Z/vmcore-dmesg.txt", "log")
		}, 4},
		{"target-a-file", bare, func(m *machine) { m.Write("var/crash", "") }, 3},
	} {
		m := tt.m
		m.run(t, tt.name, func(t *testing.T) {
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

// enable makes the machine one with systemd, in which that unit alone is enabled.
func (m *machine) enable(unit string) {
	m.t.Helper()
	m.Write("run/systemd/system/x", "")
	m.Link("etc/systemd/system/sysinit.target.wants/"+unit, "/usr/lib/systemd/system/"+unit)
}

// rewrite makes the end of the run bring back a file that kdumpctl will replace.
func (m *machine) rewrite(name string) {
	m.t.Helper()
	m.Write(name, m.Read(name))
}

// status returns the output of status, as text and as JSON, and checks the exit status.
func (m *machine) status(status int) []byte {
	m.t.Helper()
	var all bytes.Buffer
	for _, line := range []string{"status", "status --json"} {
		r := m.kdumpctl(line)
		if r.status != status || r.stderr != "" {
			m.t.Errorf("%s: %+v, want status %d", line, r, status)
		}
		harmless(m.t, line, r.stdout)
		var s struct{ State condition }
		if strings.Contains(line, "--json") && (json.Unmarshal([]byte(r.stdout), &s) != nil || s.State == "" || exitStatuses[s.State] != status) {
			m.t.Errorf("%s: state %q with status %d", line, s.State, status)
		}
		all.WriteString(stamps.ReplaceAllString(r.stdout, `"$1": "..."`))
	}
	return all.Bytes()
}

// Facts that only root can see must not be taken for missing.
func TestStatusUnprivileged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m *machine)
		status int
	}{
		{"user-loaded", func(m *machine) { m.kdumpctl("load"); dumps(m) }, 5},
		{"user-not-loaded", func(m *machine) { dumps(m) }, 3},
		{"user-no-crash-directory", func(m *machine) { m.Write("var/x", ""); m.kdumpctl("load") }, 5},
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

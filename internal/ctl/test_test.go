package ctl

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/state"
	"ukdump/internal/vmcore"
)

const testMark = "run/ukdump/test"

// testable returns a machine that kdumpctl test would crash.
func testable(t *testing.T) *machine {
	m := proven(t)
	m.Write("proc/sysrq-trigger", "")
	m.Write("dev/kmsg", "")
	m.Write("run/systemd/system/x", "")
	m.enable("ukdump-announce.service")
	m.Write("usr/lib/systemd/system-shutdown/ukdump-test.shutdown", "")
	if err := os.Chmod(filepath.Join(m.Root, "usr/lib/systemd/system-shutdown/ukdump-test.shutdown"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) lastTest() *state.Test {
	m.t.Helper()
	t, err := state.Store{Root: m.Root}.LastTest()
	if err != nil {
		m.t.Fatal(err)
	}
	return t
}

func (m *machine) exists(name string) bool {
	_, err := os.Stat(filepath.Join(m.Root, name))
	return err == nil
}

const testTexts = `No problem was found. The capture kernel is 6.1.0-50-amd64.
This machine will shut down and crash in the last moment, with all file systems unmounted or read-only.
The capture kernel then saves a dump, of which the report and the logs are kept.
The machine starts again, and the boot announces the result in the journal. kdumpctl status shows it.
`

func TestTestBegins(t *testing.T) {
	t.Parallel()
	m := testable(t)
	m.expect("test --dry-run", result{0, testTexts, ""})
	if m.lastTest() != nil || m.exists(testMark) || m.reboots != 0 {
		t.Error("a dry run has begun a test")
	}
	m.answer = false
	m.expect("test", result{0, testTexts, ""})
	if m.lastTest() != nil || m.exists(testMark) || m.reboots != 0 {
		t.Error("a test has begun although the answer was no")
	}
	m.expect("test --yes", result{0, testTexts, ""})
	l := m.lastTest()
	if l == nil || l.Result != state.TestPending || l.Keep || m.reboots != 1 {
		t.Fatalf("%+v, %d reboots", l, m.reboots)
	}
	if got, want := m.Read(testMark), "<5>"+vmcore.TestMark(l.Token)+"\n"; got != want {
		t.Errorf("mark %q, want %q", got, want)
	}
	if got := m.kdumpctl("status").stdout; !strings.Contains(got, ": the machine is about to crash for it\n") {
		t.Error(got)
	}
}

// A test that cannot begin leaves no mark: a later reboot must not crash.
func TestTestDoesNotBegin(t *testing.T) {
	t.Parallel()
	m := testable(t)
	m.rebootErr = errors.New("systemctl reboot: exit status 1: Access denied")
	got := m.kdumpctl("test --yes")
	if got.status != 1 || got.stderr != "kdumpctl: test: systemctl reboot: exit status 1: Access denied\n" || m.exists(testMark) {
		t.Errorf("%+v, mark %v", got, m.exists(testMark))
	}
	if l := m.lastTest(); l == nil || l.Result != state.TestFailed || !strings.Contains(l.Why, "did not begin") {
		t.Errorf("%+v", l)
	}
	for _, c := range []struct {
		change func(m *machine)
		want   string
	}{
		{func(m *machine) { m.Remove("usr/lib/systemd/system-shutdown/ukdump-test.shutdown") }, "nothing would crash the kernel"},
		{func(m *machine) {
			m.Write("run/systemd/inhibit/3", "WHAT=shutdown\nWHO=apt\nWHY=update\nMODE=block\n")
		}, "must not shut down now: apt (update)"},
		{func(m *machine) { m.Remove("proc/sysrq-trigger") }, "cannot be crashed on request"},
		{func(m *machine) { m.tryWrite = func(string) error { return errors.New("read-only file system") } }, "a crash may not be saved: target"},
		{func(m *machine) { m.Write("sys/kernel/kexec_crash_loaded", "0\n") }, "no capture kernel is loaded"},
	} {
		m := testable(t)
		c.change(m)
		got := m.kdumpctl("test --yes")
		if got.status != 1 || !strings.Contains(got.stderr, c.want) || m.exists(testMark) || m.reboots != 0 {
			t.Errorf("%s: %+v", c.want, got)
		}
	}
}

func TestTestPassed(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		m := testable(t)
		m.Write("proc/sys/kernel/random/boot_id", "00000000-0000-4000-8000-000000000001\n")
		m.load()
		line := "test --yes"
		if keep {
			line += " --keep"
		}
		if got := m.kdumpctl(line); got.status != 0 {
			t.Fatalf("%+v", got)
		}
		l := m.lastTest()
		m.Write("etc/ukdump.conf", "MOTD=yes\n")
		j := newJournald(t, m)
		m.announce(j) // dumps of 2026 are new
		m.boot(2)
		const dir = "var/crash/2026-11-22T23-04-05Z/"
		m.Write(dir+"vmcore", kdump(false))
		m.Write(dir+"vmcore-dmesg.txt", "log")
		m.Write(dir+"report.json", captureReport(func(r *crashdir.Report) { r.ID, r.Test = "abc-1", l.Token }))
		got := strings.Join(m.announce(j), "")
		if !strings.Contains(got, " passed: Linux 6.1.0-50-amd64 saved a complete dump of 24.0 KiB in 6 s, with 23.0 MiB of memory to spare: ROOT/"+strings.TrimSuffix(dir, "/")) || !strings.Contains(got, "UKDUMP_TEST=passed\n") {
			t.Errorf("announced %s", got)
		}
		if m.exists(dir+"vmcore") != keep || !m.exists(dir+"report.json") || !m.exists(dir+"vmcore-dmesg.txt") {
			t.Errorf("keep %v: the vmcore is there: %v", keep, m.exists(dir+"vmcore"))
		}
		if again := m.announce(j); len(again) != 0 {
			t.Errorf("announced again: %s", again)
		}
		if got := m.kdumpctl("list").stdout; !strings.Contains(got, "test passed") {
			t.Error(got)
		}
		if motd := m.Read("run/motd.d/ukdump"); strings.Contains(motd, "crashed") || !strings.Contains(motd, "passed") {
			t.Errorf("motd %q", motd)
		}
		if got := m.kdumpctl("status").stdout; !strings.Contains(got, "the tested set is not loaded now") {
			t.Error(got)
		}
		m.load()
		if got := m.kdumpctl("status").stdout; !strings.Contains(got, ", passed in 6 s with 23.0 MiB of memory to spare (the loaded image)") {
			t.Error(got)
		}
	}
}

// With DUMP=log a log passes.
func TestTestPassedLog(t *testing.T) {
	t.Parallel()
	m := testable(t)
	m.boot(1)
	m.Write("etc/ukdump.conf", "DUMP=log\n")
	m.load()
	if got := m.kdumpctl("test --yes"); got.status != 0 || !strings.Contains(got.stdout, "saves the kernel log and the report, which are kept, and no vmcore (DUMP=log)") {
		t.Fatalf("%+v", got)
	}
	l := m.lastTest()
	j := newJournald(t, m)
	m.announce(j)
	m.boot(2)
	const dir = "var/crash/2026-11-22T23-04-05Z/"
	m.Write(dir+"vmcore-dmesg.txt", "log")
	m.Write(dir+"report.json", captureReport(func(r *crashdir.Report) {
		r.ID, r.Test, r.Outcome, r.LogOnly, r.Vmcore = "abc-1", l.Token, crashdir.DmesgOnly, true, 0
	}))
	got := strings.Join(m.announce(j), "")
	if !strings.Contains(got, " passed: Linux 6.1.0-50-amd64 saved the kernel log, and no vmcore, as DUMP=log asks, in 6 s, with 23.0 MiB of memory to spare: ROOT/"+strings.TrimSuffix(dir, "/")) ||
		!strings.Contains(got, "UKDUMP_TEST=passed\nUKDUMP_OUTCOME=dmesg-only\n") {
		t.Errorf("announced %s", got)
	}
	if got := m.kdumpctl("list").stdout; !strings.Contains(got, "test passed") {
		t.Error(got)
	}
	m.load()
	if got := m.kdumpctl("status").stdout; !strings.Contains(got, ", passed in 6 s with 23.0 MiB of memory to spare (the loaded image)") {
		t.Error(got)
	}
}

func TestTestFailed(t *testing.T) {
	t.Parallel()
	const dir = "var/crash/2026-11-22T23-04-05Z/"
	for name, c := range map[string]struct {
		left func(m *machine, token string)
		want string
	}{
		"nothing was saved": {func(*machine, string) {}, " FAILED: nothing was saved: the capture failed, the machine lost power"},
		"an incomplete dump": {func(m *machine, token string) {
			m.Write(dir+"vmcore-incomplete", kdump(true))
			m.Write(dir+"report.json", captureReport(func(r *crashdir.Report) {
				r.ID, r.Test, r.Outcome, r.Errors = "abc-1", token, crashdir.Incomplete, []string{"no space left on device"}
			}))
		}, " FAILED: the dump is incomplete: no space left on device"},
		"a capture without memory": {func(m *machine, token string) {
			m.Write(dir+"vmcore-dmesg.txt", "log")
			m.Write(dir+"report.json", captureReport(func(r *crashdir.Report) {
				r.ID, r.Test, r.Outcome, r.OOMKills = "abc-1", token, crashdir.DmesgOnly, 4
				r.Errors = []string{"makedumpfile: signal 9 (killed): out of memory: trying copy"}
			}))
		}, " FAILED: the dump is dmesg-only: makedumpfile: signal 9 (killed): out of memory: trying copy; the likely cause: the capture kernel ran out of memory: 128.0 MiB could be used"},
		"another crash came first": {func(m *machine, token string) {
			m.Write(dir+"vmcore", kdump(false))
			m.Write(dir+"report.json", captureReport(func(r *crashdir.Report) { r.ID = "abc-1" }))
		}, " FAILED: the kernel crashed for another reason: Linux "},
	} {
		m := testable(t)
		m.boot(1)
		j := newJournald(t, m)
		m.announce(j) // dumps of 2026 are new
		m.load()
		if got := m.kdumpctl("test --yes"); got.status != 0 {
			t.Fatalf("%+v", got)
		}
		m.boot(2)
		c.left(m, m.lastTest().Token)
		got := strings.Join(m.announce(j), "")
		if !strings.Contains(got, c.want) || !strings.Contains(got, "UKDUMP_TEST=failed\n") {
			t.Errorf("%s: announced %s", name, got)
		}
		if l := m.lastTest(); l.Result != state.TestFailed {
			t.Errorf("%s: %+v", name, l)
		}
		if again := m.announce(j); len(again) != 0 {
			t.Errorf("%s: announced again: %s", name, again)
		}
		if got := m.kdumpctl("status").stdout; !strings.Contains(got, "it FAILED: ") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

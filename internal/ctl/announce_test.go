package ctl

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/journal"
	"ukdump/internal/state"
)

// journald takes the entries that the machine sends to its journal.
type journald struct {
	t    testing.TB
	path string
	got  chan string
}

func newJournald(t testing.TB, m *machine) *journald {
	t.Helper()
	j := &journald{t, filepath.Join(m.Root, journal.Socket), make(chan string, 1000)}
	if err := os.MkdirAll(filepath.Dir(j.path), 0o755); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: j.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 1<<20)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			j.got <- string(b[:n])
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		os.Remove(j.path)
	})
	return j
}

// entries returns what was sent since the last call, without what is the same in
// all entries.
func (j *journald) entries() (list []string) {
	j.t.Helper()
	// Behind the others. It is not empty, because what is empty does not wait until
	// there is room (internal/poll).
	if err := journal.Send(j.path, []journal.Field{{Name: "END"}}, time.Minute); err != nil {
		j.t.Fatal(err)
	}
	for entry := range j.got {
		if entry == "END=\n" {
			break
		}
		harmless(j.t, "the journal", entry)
		same := "PRIORITY=2\nSYSLOG_IDENTIFIER=kdumpctl\n"
		if strings.Contains(entry, "UKDUMP_TEST=passed\n") {
			same = strings.Replace(same, "2", "5", 1)
		}
		if !strings.Contains(entry, same) {
			j.t.Errorf("entry %q", entry)
		}
		list = append(list, strings.Replace(entry, same, "", 1))
	}
	return list
}

// announce runs kdumpctl announce and returns the entries that it made.
func (m *machine) announce(j *journald, args ...string) []string {
	m.t.Helper()
	m.expect(strings.Join(append([]string{"announce"}, args...), " "), result{0, "", ""})
	var list []string
	for _, e := range j.entries() {
		list = append(list, strings.ReplaceAll(e, m.Root, "ROOT"))
	}
	return list
}

// boot makes the machine start again: its boot has another ID, and nothing is
// loaded.
func (m *machine) boot(n int) {
	m.Write("proc/sys/kernel/random/boot_id", fmt.Sprintf("00000000-0000-4000-8000-%012d\n", n))
	m.Write("sys/kernel/kexec_crash_loaded", "0\n")
}

// wantEntries compares entries, of which each want is one.
func wantEntries(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %d entries\n%s\nwant %d\n%s", what, len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
	}
}

const crashed = "MESSAGE_ID=cb264f724de64c638c74f4da74078db0\n"

func TestAnnounce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	j := newJournald(t, m)
	m.Write("var/crash/2001-01-01T00-00-00Z/vmcore-dmesg.txt", "of another time")
	wantEntries(t, "first run", m.announce(j))

	put := func(name string, files map[string]string) {
		for f, content := range files {
			m.Write("var/crash/"+name+"/"+f, atCrash(name, content))
		}
	}
	put("2026-11-20T01-00-00Z", map[string]string{"vmcore": kdump(false), "report.json": captureReport(func(r *crashdir.Report) { r.ID = "abc-1" })})
	put("2026-11-21T01-00-00Z", map[string]string{"vmcore-incomplete": kdump(true), "report.json": captureReport(func(r *crashdir.Report) {
		r.Outcome, r.Errors = crashdir.Incomplete, []string{"collect: no space left on device", "another"}
		r.Panic = crashdir.Panic{Line: "Kernel panic - not syncing: sysrq triggered crash"}
	})})
	put("1970-01-01T00-00-09Z", map[string]string{"vmcore-dmesg.txt": "log"})
	put("2026-11-23T01-00-00Z", map[string]string{"report.json": captureReport(func(r *crashdir.Report) {
		r.Outcome, r.Kernel, r.ID, r.Errors = crashdir.Failed, evil, evil, []string{evil}
		r.Panic = crashdir.Panic{Line: evil + strings.Repeat("x", 5000)}
	})})
	const evilText = "?[2J?]0;owned??31mpanic? ?dne"
	wantEntries(t, "all outcomes", m.announce(j),
		"MESSAGE=Linux crashed: the reason is not known; ONLY THE KERNEL LOG WAS SAVED (no report.json: the capture did not finish): ROOT/var/crash/1970-01-01T00-00-09Z\n"+
			crashed+"UKDUMP_OUTCOME=dmesg-only\nUKDUMP_DIRECTORY=ROOT/var/crash/1970-01-01T00-00-09Z\n",
		"MESSAGE=Linux 6.1.0-50-amd64 crashed: BUG: kernel NULL pointer dereference, address: 0000000000000000; the dump is complete: ROOT/var/crash/2026-11-20T01-00-00Z\n"+
			crashed+"UKDUMP_OUTCOME=complete\nUKDUMP_DIRECTORY=ROOT/var/crash/2026-11-20T01-00-00Z\nUKDUMP_PANIC=Kernel panic - not syncing: Fatal exception\n"+
			"UKDUMP_CAUSE=BUG: kernel NULL pointer dereference, address: 0000000000000000\nUKDUMP_KERNEL=6.1.0-50-amd64\nUKDUMP_ID=abc-1\n",
		"MESSAGE=Linux 6.1.0-50-amd64 crashed: Kernel panic - not syncing: sysrq triggered crash; THE DUMP IS INCOMPLETE (collect: no space left on device): ROOT/var/crash/2026-11-21T01-00-00Z\n"+
			crashed+"UKDUMP_OUTCOME=incomplete\nUKDUMP_DIRECTORY=ROOT/var/crash/2026-11-21T01-00-00Z\nUKDUMP_PANIC=Kernel panic - not syncing: sysrq triggered crash\nUKDUMP_KERNEL=6.1.0-50-amd64\n",
		"MESSAGE=Linux "+evilText+" crashed: "+evilText+strings.Repeat("x", 499-len(evilText))+"…; NOTHING WAS SAVED ("+evilText+"): ROOT/var/crash/2026-11-23T01-00-00Z\n"+
			crashed+"UKDUMP_OUTCOME=failed\nUKDUMP_DIRECTORY=ROOT/var/crash/2026-11-23T01-00-00Z\nUKDUMP_PANIC="+evilText+strings.Repeat("x", 999-len(evilText))+"…\nUKDUMP_KERNEL="+evilText+"\n")
	wantEntries(t, "again", m.announce(j))
	m.boot(2)
	wantEntries(t, "next boot", m.announce(j, "--watch"))
	m.expect("rm 2026-11-20", result{0, "removed 2026-11-20T01-00-00Z, ...\n", ""})
	wantEntries(t, "after rm", m.announce(j))
	if fi, err := os.Stat(m.Root + "/var/lib/ukdump/announced.json"); err != nil || fi.Mode() != 0o600 {
		t.Errorf("state %v, %v", fi.Mode(), err)
	}
}

// The dumps of one crash on two targets are one crash, and the best one is announced.
func TestAnnounceOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	j := newJournald(t, m)
	m.Write("etc/ukdump.conf", "TARGET=/srv/dumps /var/crash\n")
	m.announce(j)
	one := func(o crashdir.Outcome) string {
		return captureReport(func(r *crashdir.Report) { r.ID, r.Outcome, r.Panic.Cause = "one", o, "" })
	}
	m.Write("srv/dumps/2026-11-21T01-00-00Z/report.json", one(crashdir.Failed))
	m.Write("var/crash/2026-11-21T01-00-07Z/report.json", one(crashdir.Complete))
	m.Write("var/crash/2026-11-21T01-00-07Z/vmcore", kdump(false))
	const entry = "MESSAGE=Linux 6.1.0-50-amd64 crashed: Kernel panic - not syncing: Fatal exception; the dump is complete: ROOT/var/crash/2026-11-21T01-00-07Z\n" +
		crashed + "UKDUMP_OUTCOME=complete\nUKDUMP_DIRECTORY=ROOT/var/crash/2026-11-21T01-00-07Z\nUKDUMP_PANIC=Kernel panic - not syncing: Fatal exception\nUKDUMP_KERNEL=6.1.0-50-amd64\nUKDUMP_ID=one\n"
	wantEntries(t, "both", m.announce(j), entry)
	m.Write("var/crash/2026-11-22T01-00-00Z/report.json", one(crashdir.Failed)) // collected later
	wantEntries(t, "another part", m.announce(j))
}

// On the first run old dumps are not announced as new ones.
func TestAnnounceFirst(t *testing.T) {
	t.Parallel()
	hours := func(n int) string {
		return time.Now().UTC().Add(time.Duration(n) * time.Hour).Format(crashdir.TimeLayout)
	}
	for _, tt := range []struct {
		name   string
		loaded string // boot ID and time of loaded.json
		dump   string
		crash  time.Duration // before now, by the report
		want   int
	}{
		{"a day old", "", hours(-30), 0, 0},
		{"fresh", "", hours(-5), 0, 1},
		{"from the future", "", hours(24 * 365), 0, 1},
		{"the capture kernel's clock stood", "", "1970-01-01T00-00-10Z", time.Hour, 1},
		{"since the last boot's load", "00000000-0000-4000-8000-000000000001 2026-01-01T00:00:00Z", "2026-01-20T00-00-00Z", 0, 1},
		{"before it", "00000000-0000-4000-8000-000000000001 2026-01-01T00:00:00Z", "2025-12-20T00-00-00Z", 0, 0},
		{"this boot's load", "00000000-0000-4000-8000-000000000002 2026-01-01T00:00:00Z", "2026-01-20T00-00-00Z", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.t = t
			m.boot(2)
			j := newJournald(t, m)
			if boot, at, ok := strings.Cut(tt.loaded, " "); ok {
				m.Write("var/lib/ukdump/loaded.json", fmt.Sprintf(`{"boot_id":%q,"time":%q}`, boot, at))
			}
			m.Write("var/crash/"+tt.dump+"/report.json", captureReport(func(r *crashdir.Report) {
				r.Outcome, r.CrashTime = crashdir.Failed, time.Time{}
				if tt.crash > 0 {
					r.CrashTime = time.Now().Add(-tt.crash).UTC()
				}
			}))
			if got := m.announce(j); len(got) != tt.want {
				t.Errorf("announced %q", got)
			}
			m.boot(3)
			wantEntries(t, "next boot", m.announce(j))
		})
	}
}

func TestAnnounceTrouble(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	fail := func(name string) { m.Write("var/crash/"+name+"/vmcore-dmesg.txt", "log") }
	message := func(name string) string {
		return "kdumpctl: Linux crashed: the reason is not known; ONLY THE KERNEL LOG WAS SAVED (no report.json: the capture did not finish): ROOT/var/crash/" + name + "\n"
	}
	m.expect("announce", result{0, "", ""})

	m.run(t, "no journal", func(t *testing.T) {
		fail("2026-11-21T01-00-00Z")
		m.expect("announce", result{0, "", message("2026-11-21T01-00-00Z")})
		m.expect("announce", result{0, "", ""})
	})
	m.run(t, "a journal that reads nothing", func(t *testing.T) {
		path := filepath.Join(m.Root, journal.Socket)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(path)
		defer conn.Close()
		b, err := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen")
		if err != nil {
			t.Fatal(err)
		}
		var n int
		fmt.Sscan(string(b), &n)
		n += 5 // more than its queue takes
		for i := range n {
			fail(time.Date(2026, 11, 20, 0, 0, i, 0, time.UTC).Format(crashdir.TimeLayout))
		}
		m.journalLimit = 100 * time.Millisecond
		r := m.kdumpctl("announce") // waits once, not for each line
		if lines := strings.Count(r.stderr, "\n"); r.status != 0 || lines == 0 || lines == n || !strings.HasSuffix(r.stderr, time.Date(2026, 11, 20, 0, 0, n-1, 0, time.UTC).Format(crashdir.TimeLayout)+"\n") {
			t.Errorf("%d lines on stderr, status %d", lines, r.status)
		}
		m.expect("announce", result{0, "", ""})
	})
	m.run(t, "bad configuration", func(t *testing.T) {
		fail("2026-11-21T01-00-01Z")
		m.Write("etc/ukdump.conf", "TRAGET=/x\n")
		// The loaded set may be the fallback set, and a unit that failed is not
		// stopped, which would end the watch.
		m.expect("announce --watch", result{0, "", message("2026-11-21T01-00-01Z") + "kdumpctl: warning: ROOT/etc/ukdump.conf:1: unknown ...\n"})
		m.expect("announce --shutdown", result{0, "", ""})
		m.expect("announce", result{1, "", "kdumpctl: ROOT/etc/ukdump.conf:1: unknown ...\nkdumpctl: See ukdump.conf(5) for the keys and their values.\n"})
		if _, err := os.Stat(m.Root + "/var/lib/ukdump/watch.json"); err == nil {
			t.Error("the watch did not end")
		}
	})
	m.run(t, "damaged state", func(t *testing.T) {
		now := time.Now().UTC().Format(crashdir.TimeLayout)
		fail(now)
		m.Write("var/lib/ukdump/announced.json", "{")
		m.expect("announce", result{0, "", "kdumpctl: warning: read the list of announced crashes: ...\n" + message(now)})
		m.expect("announce", result{0, "", ""})
	})
	m.run(t, "state of a later version", func(t *testing.T) {
		m.Write("var/lib/ukdump/announced.json", `{"version":2}`)
		m.expect("announce", result{0, "", "kdumpctl: warning: read the list of announced crashes: ROOT/var/lib/ukdump/announced.json has format version 2, this program supports version 1\n"})
	})
	m.run(t, "target is a file", func(t *testing.T) {
		m.Write("srv/file", "")
		m.Write("etc/ukdump.conf", "TARGET=/srv/file /var/crash\n")
		fail("2026-11-21T01-00-02Z")
		m.expect("announce", result{1, "", message("2026-11-21T01-00-02Z") + "kdumpctl: open ROOT/srv/file: not a directory\n"})
	})
	m.run(t, "twice at a time", func(t *testing.T) {
		unlock, err := state.Store{Root: m.Root}.LockAnnounce()
		if err != nil {
			t.Fatal(err)
		}
		m.expect("announce", result{1, "", "kdumpctl: another kdumpctl announce is running: resource temporarily unavailable\n"})
		m.expect("announce --shutdown", result{0, "", ""})
		unlock()
		m.expect("announce", result{0, "", ""})
	})
}

func TestMotd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	j := newJournald(t, m)
	file := m.Root + "/run/motd.d/ukdump"
	want := func(what, text string) {
		t.Helper()
		b, err := os.ReadFile(file)
		if got := strings.ReplaceAll(string(b), m.Root, "ROOT"); got != text || (err != nil) != (text == "") {
			t.Errorf("%s: got %q, %v, want %q", what, got, err, text)
		}
	}
	m.Write("etc/ukdump.conf", "MOTD=yes\n")
	m.announce(j)
	want("no crash", "")
	m.Write("var/crash/2026-11-21T01-00-00Z/vmcore", "x")
	m.announce(j)
	const one = "Linux crashed: the reason is not known; the dump is complete: ROOT/var/crash/2026-11-21T01-00-00Z\n"
	want("one", "ukdump: "+one)
	if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o644 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	m.announce(j)
	want("in the same boot", "ukdump: "+one)
	m.Write("var/crash/2026-11-22T01-00-00Z/vmcore", "x")
	m.announce(j)
	want("two", "ukdump: 2 crashes, the last: "+strings.Replace(one, "-21T", "-22T", 1))
	m.Write("etc/ukdump.conf", "")
	m.announce(j)
	want("not configured", "")
	m.Write("etc/ukdump.conf", "MOTD=yes\n")
	m.announce(j)
	m.boot(2)
	m.announce(j)
	want("next boot", "")
}

package ctl

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const lost = "MESSAGE=the machine went down without a shutdown while a capture kernel was loaded, and there is no dump in ROOT/var/crash: " +
	"power loss, a reset, or a capture that FAILED\nMESSAGE_ID=88d3927a1a8f4bbaba587891dfbdda2b\n" +
	"UKDUMP_OUTCOME=none\nUKDUMP_ID=boot-00000000-0000-4000-8000-000000000001\n"

// Each story begins after a boot in which nothing was left to tell, and ends
// before announce runs in the next boot.
func TestWatch(t *testing.T) {
	t.Parallel()
	load := func(m *machine) { m.Write("sys/kernel/kexec_crash_loaded", "1\n") }
	loadedIn := func(m *machine, boot string) {
		m.Write("var/lib/ukdump/loaded.json", `{"boot_id":"00000000-0000-4000-8000-00000000000`+boot+`","time":"2026-11-22T00:00:00Z"}`)
	}
	for _, tt := range []struct {
		name  string
		story func(m *machine, j *journald)
		want  int // entries about it
	}{
		{"power loss", func(m *machine, j *journald) { load(m); loadedIn(m, "1"); m.announce(j, "--watch"); m.boot(2) }, 1},
		{"loaded again before announce", func(m *machine, j *journald) {
			load(m)
			loadedIn(m, "1")
			m.announce(j, "--watch")
			m.boot(2)
			m.load()
			m.load()
		}, 1},
		{"the next load fails", func(m *machine, j *journald) {
			load(m)
			loadedIn(m, "1")
			m.announce(j, "--watch")
			m.boot(2)
			m.err = unix.EINVAL
			m.kdumpctl("load")
		}, 1},
		{"loaded after announce", func(m *machine, j *journald) { m.announce(j, "--watch"); load(m); loadedIn(m, "1"); m.boot(2) }, 1},
		{"stopped and started again", func(m *machine, j *journald) {
			load(m)
			loadedIn(m, "1")
			m.announce(j, "--watch")
			m.announce(j, "--shutdown")
			m.announce(j, "--watch")
			m.boot(2)
		}, 1},
		{"shutdown", func(m *machine, j *journald) {
			load(m)
			loadedIn(m, "1")
			m.announce(j, "--watch")
			m.announce(j, "--shutdown")
			m.boot(2)
		}, 0},
		{"nothing was loaded", func(m *machine, j *journald) { m.announce(j, "--watch"); m.boot(2) }, 0},
		{"it was unloaded", func(m *machine, j *journald) {
			m.load()
			m.announce(j, "--watch")
			m.kdumpctl("unload")
			m.boot(2)
		}, 0},
		{"loaded in an earlier boot only", func(m *machine, j *journald) { loadedIn(m, "0"); m.announce(j, "--watch"); m.boot(2) }, 0},
		{"not watched", func(m *machine, j *journald) { load(m); loadedIn(m, "1"); m.announce(j); m.boot(2) }, 0},
		{"the same boot", func(m *machine, j *journald) { load(m); loadedIn(m, "1"); m.announce(j, "--watch") }, 0},
		{"a dump explains it", func(m *machine, j *journald) {
			load(m)
			loadedIn(m, "1")
			m.announce(j, "--watch")
			m.boot(2)
			m.Write("var/crash/2026-11-22T01-00-00Z/vmcore", "x")
		}, 0},
		{"an old dump does not", func(m *machine, j *journald) {
			m.Write("var/crash/2026-11-22T01-00-00Z/vmcore", "x")
			load(m)
			loadedIn(m, "1")
			m.announce(j, "--watch")
			m.boot(2)
		}, 1},
		{"a file that cannot be read", func(m *machine, j *journald) { m.Write("var/lib/ukdump/watch.json", "{"); m.boot(2) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.t = t
			m.boot(1)
			j := newJournald(t, m)
			m.announce(j)
			tt.story(m, j)
			var got []string
			for _, e := range m.announce(j) {
				if !strings.Contains(e, crashed) {
					got = append(got, e)
				}
			}
			wantEntries(t, "next boot", got, []string{lost}[:tt.want]...)
			wantEntries(t, "once more", m.announce(j, "--watch"))
		})
	}
}

// Where a target is not mounted at boot nothing is told before it could be, and then
// once.
func TestWatchLate(t *testing.T) {
	t.Parallel()
	const says = "/var/crash is not mounted: ukdump-announce-late.service announces crashes\n"
	unknown := strings.NewReplacer("there is no dump in ROOT/var/crash: power loss, a reset, or a capture that FAILED",
		"unknown whether a dump exists: /var/crash is NOT MOUNTED", "UKDUMP_OUTCOME=none\n", "").Replace(lost)
	mount := func(m *machine) { m.Write("proc/self/mountinfo", mounted) }
	dump := func(m *machine) { mount(m); m.Write("var/crash/2026-11-22T01-00-00Z/vmcore-dmesg.txt", "x") }
	for _, tt := range []struct {
		name string
		late func(m *machine)
		want string // the beginning of the only entry
	}{
		{"a dump", dump, "MESSAGE=Linux crashed: "},
		{"no dump", mount, lost},
		{"never mounted", func(m *machine) {}, unknown},
		{"a shutdown before", func(m *machine) {
			m.expect("announce --shutdown", result{0, "", ""})
			m.boot(3)
			m.expect("announce --watch", result{0, says, ""})
			mount(m)
		}, lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.t = t
			j := newJournald(t, m)
			m.boot(1)
			m.Write("etc/fstab", "server:/crash /var/crash nfs nofail\n")
			m.Write("proc/self/mountinfo", mounted)
			m.Write("var/crash/2001-01-01T00-00-00Z/vmcore-dmesg.txt", "x")
			m.announce(j)
			m.Write("var/lib/ukdump/loaded.json", `{"boot_id":"00000000-0000-4000-8000-000000000001"}`)
			m.announce(j, "--watch")
			m.boot(2)
			m.Write("proc/self/mountinfo", "")
			m.expect("announce --watch", result{0, says, ""})
			wantEntries(t, "at boot", j.entries())
			tt.late(m)
			if got := m.announce(j); len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("announced %q", got)
			}
			m.announce(j, "--shutdown")
			m.boot(4)
			mount(m)
			wantEntries(t, "next boot", m.announce(j))
		})
	}
}

// A mistake in the configuration is no reason not to watch.
func TestWatchWithBadConfiguration(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	j := newJournald(t, m)
	m.announce(j)
	m.Write("sys/kernel/kexec_crash_loaded", "1\n")
	m.Write("var/lib/ukdump/loaded.json", `{"boot_id":"00000000-0000-4000-8000-000000000001"}`)
	m.Write("etc/ukdump.conf", "TRAGET=/x\n")
	m.expect("announce --watch", result{0, "", "kdumpctl: warning: ROOT/etc/ukdump.conf:1: unknown ...\n"})
	m.Remove("etc/ukdump.conf")
	m.boot(2)
	wantEntries(t, "next boot", m.announce(j), lost)
}

// The watch of an earlier boot goes after it was told about and that is known:
// whoever is killed in between tells it twice.
func TestWatchGoesLast(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	j := newJournald(t, m)
	m.announce(j)
	m.Write("sys/kernel/kexec_crash_loaded", "1\n")
	m.Write("var/lib/ukdump/loaded.json", `{"boot_id":"00000000-0000-4000-8000-000000000001"}`)
	m.announce(j, "--watch")
	m.boot(2)
	const inTheWay = "var/lib/ukdump/announced.json-incomplete/x"
	m.Write(inTheWay, "")
	for range 2 {
		if got := m.kdumpctl("announce"); got.status != 1 {
			t.Errorf("%+v", got)
		}
		if list := j.entries(); len(list) != 1 {
			t.Errorf("announced %q", list)
		}
	}
	m.Remove("var/lib/ukdump/announced.json-incomplete")
	wantEntries(t, "at last", m.announce(j), lost)
	wantEntries(t, "once more", m.announce(j))
}

// A dump that could not be collected is why there is none.
func TestWatchWaitingDump(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	m.boot(1)
	j := newJournald(t, m)
	m.announce(j)
	crash := func(boot int) {
		m.Write("sys/kernel/kexec_crash_loaded", "1\n")
		m.Write("var/lib/ukdump/loaded.json", fmt.Sprintf(`{"boot_id":"00000000-0000-4000-8000-%012d"}`, boot))
		m.announce(j, "--watch")
		m.boot(boot + 1)
	}
	crash(1)
	theirs := goodRaw()
	theirs.header.ID, theirs.header.MachineID = "4f1c2c1e-2f0e-4e55-a4b5-3f2a0f6cf3a1", strings.Repeat("f", 32)
	m.dump("vdy1", theirs)
	m.dump("vdz1", goodRaw())
	wantEntries(t, "not collected", m.announce(j),
		strings.Replace(lost, "power loss, a reset, or a capture that FAILED", "it was NOT COLLECTED from ROOT/dev/vdz1, see kdumpctl collect", 1))
	// Nobody knows whose this is.
	crash(2)
	m.flip(m.dump("vdz2", goodRaw()), 40)
	wantEntries(t, "damaged", m.announce(j),
		strings.NewReplacer("power loss, a reset, or a capture that FAILED", "it was NOT COLLECTED from ROOT/dev/vdz2, see kdumpctl collect", "0001\n", "0002\n").Replace(lost))
	// They explain no other loss.
	crash(3)
	wantEntries(t, "power loss", m.announce(j), strings.Replace(lost, "0001\n", "0003\n", 1))
}

// The log of a capture kernel that could save nothing, as its panic leaves it in
// pstore: in parts, of which 1 is the end.
const (
	capture1 = "Panic#1 Part1\n" +
		"<13>[    9.000000] kdumpinit: nothing could be saved: leaving the log to pstore\n" +
		"<13>[    9.000001] kdumpinit: crashed kernel: 6.1.0-50-amd64\n" +
		"<13>[    9.000002] kdumpinit: | BUG: kernel NULL pointer dereference, address: 0000000000000008\n" +
		"<13>[    9.000003] kdumpinit: | RIP: 0010:bad_function+0x10/0x20 [bad]\n" +
		"<13>[    9.000004] kdumpinit: |  do_init_module+0x4b/0x200\n" +
		"<13>[    9.000005] kdumpinit: | Kernel panic - not syncing: Fatal exception\n" +
		"<13>[    9.000006] kdumpinit: error: device: ext4 did not appear within 30 s\n" +
		"<13>[    9.000007] kdumpinit: error: \x1b[31mno target\n" +
		"<6>[    9.100000] sysrq: Trigger a crash\n<0>[    9.100001] Kernel panic - not syncing: sysrq triggered crash\n"
	capture2 = "Panic#1 Part2\n" +
		"<6>[    0.500000] virtio_blk: probe\n<13>[    1.000000] kdumpinit: the last messages of the kernel that crashed, 6.1.0:\n" +
		"<11>[    2.000000] kdumpinit: device: ext4 did not appear within 30 s\n"
	foreign = "Panic#1 Part1\n<4>[   10.000000] CPU: 0 PID: 1 Comm: kdumpinit: x\n<0>[   10.000000] Kernel panic - not syncing: Attempted to kill init!\n"
)

func TestPstore(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	j := newJournald(t, m)
	m.announce(j, "--watch")
	m.boot(2)
	m.Write("sys/fs/pstore/dmesg-efi_pstore-168263062301001", capture1)
	m.Write("sys/fs/pstore/dmesg-efi_pstore-168263062302001", capture2)
	list := m.announce(j, "--watch")
	r := m.kdumpctl("info --json")
	var d dumpJSON
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil || d.Report == nil {
		t.Fatalf("%v: %+v", err, r)
	}
	name := d.Name
	wantEntries(t, "capture", list, "MESSAGE=Linux 6.1.0-50-amd64 crashed: BUG: kernel NULL pointer dereference, address: 0000000000000008; "+
		"NOTHING WAS SAVED (the capture kernel could write to no target; it left its log in pstore): ROOT/var/crash/"+name+"\n"+crashed+
		"UKDUMP_OUTCOME=failed\nUKDUMP_DIRECTORY=ROOT/var/crash/"+name+"\nUKDUMP_PANIC=Kernel panic - not syncing: Fatal exception\n"+
		"UKDUMP_CAUSE=BUG: kernel NULL pointer dereference, address: 0000000000000008\nUKDUMP_KERNEL=6.1.0-50-amd64\nUKDUMP_ID="+d.Report.ID+"\n")
	info := m.kdumpctl("info").stdout
	harmless(t, "info", info)
	const wrong = "\nwhat went wrong\n  the capture kernel could write to no target; it left its log in pstore\n" +
		"  device: ext4 did not appear within 30 s\n  ?[31mno target\n  the end of the capture kernel: Kernel panic - not syncing: sysrq triggered crash\n"
	const trace = "\ncall trace\n  RIP: 0010:bad_function+0x10/0x20 [bad]\n  do_init_module+0x4b/0x200\n"
	if !strings.Contains(info, wrong) || !strings.Contains(info, trace) {
		t.Errorf("info prints\n%s", info)
	}
	log := m.Read("var/crash/" + name + "/kexec-dmesg.log")
	if strings.Index(log, "virtio_blk") > strings.Index(log, "nothing could be saved") || strings.Contains(log, "Part1") {
		t.Errorf("kexec-dmesg.log is %q", log)
	}
	for file, mode := range map[string]os.FileMode{"": os.ModeDir | 0o700, "/kexec-dmesg.log": 0o600, "/report.json": 0o600} {
		if fi, err := os.Lstat(m.Root + "/var/crash/" + name + file); err != nil || fi.Mode() != mode {
			t.Errorf("%s: %v, %v", file, fi.Mode(), err)
		}
	}
	if m.Read("sys/fs/pstore/dmesg-efi_pstore-168263062301001") != capture1 {
		t.Error("pstore was changed")
	}
	// systemd-pstore moves the records.
	for _, n := range []string{"1", "2"} {
		file := "dmesg-efi_pstore-16826306230" + n + "001"
		m.Write("var/lib/systemd/pstore/1682630623/001/"+file, m.Read("sys/fs/pstore/"+file))
		m.Remove("sys/fs/pstore/" + file)
	}
	wantEntries(t, "archived", m.announce(j))
	m.expect("rm "+name, result{0, "removed " + name + ", ...\n", ""})
	m.boot(3)
	wantEntries(t, "removed", m.announce(j))
	m.expect("list", result{0, "No dumps in ROOT/var/crash.\n", ""})
}

func TestPstoreCases(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	m.Write("var/crash/2001-11-20T01-00-00Z/vmcore", "x")
	m.expect("announce", result{0, "", ""})
	m.Write("sys/kernel/kexec_crash_loaded", "1\n")
	m.Write("var/lib/ukdump/loaded.json", `{"boot_id":"00000000-0000-4000-8000-000000000001"}`)
	m.expect("announce --watch", result{0, "", ""})
	m.boot(2)
	dumps := func(t *testing.T, want int) {
		t.Helper()
		if ents, err := os.ReadDir(m.Root + "/var/crash"); err != nil || len(ents) != want {
			t.Errorf("%d dumps, %v, want %d", len(ents), err, want)
		}
	}
	m.run(t, "another kernel's panic", func(t *testing.T) {
		j := newJournald(t, m)
		m.Write("sys/fs/pstore/dmesg-ramoops-0", foreign)
		l := strings.Replace(lost, "FAILED\n", "FAILED; pstore has: Kernel panic - not syncing: Attempted to kill init! (ROOT/sys/fs/pstore/dmesg-ramoops-0)\n", 1)
		wantEntries(t, "lost", m.announce(j), l+"UKDUMP_PANIC=Kernel panic - not syncing: Attempted to kill init!\n")
		dumps(t, 1)
	})
	m.run(t, "the capture left a dump as well", func(t *testing.T) {
		j := newJournald(t, m)
		m.Write("sys/fs/pstore/dmesg-ramoops-0", capture1)
		m.Write("var/crash/2026-11-21T01-00-00Z/vmcore-dmesg.txt", "x")
		if got := m.announce(j); len(got) != 1 || !strings.Contains(got[0], "2026-11-21T01") {
			t.Errorf("announced %q", got)
		}
		wantEntries(t, "again", m.announce(j))
		dumps(t, 2)
	})
	m.run(t, "no time stamps", func(t *testing.T) {
		j := newJournald(t, m)
		m.Write("sys/fs/pstore/dmesg-ramoops-0", "<11>kdumpinit: it was Kernel panic - not syncing: x\n")
		if got := m.announce(j); len(got) != 1 || !strings.Contains(got[0], "UKDUMP_PANIC=Kernel panic - not syncing: x\n") {
			t.Errorf("announced %q", got)
		}
		dumps(t, 2)
	})
	m.run(t, "a target that is not mounted", func(t *testing.T) {
		m.Write("sys/fs/pstore/dmesg-ramoops-0", "<11>kdumpinit: no target\n")
		m.Write("etc/fstab", "UUID=y /var/crash ext4 noauto\n")
		m.expect("announce", result{0, "", "kdumpctl: warning: logs of a capture stay in pstore only: /var/crash is not mounted\nkdumpctl: Linux crashed: ...\n"})
		dumps(t, 2)
	})
	m.run(t, "a target that is not safe", func(t *testing.T) {
		m.Write("sys/fs/pstore/dmesg-ramoops-0", capture2)
		if err := os.Chmod(m.Root+"/var/crash", 0o777); err != nil {
			t.Fatal(err)
		}
		m.expect("announce", result{0, "", "kdumpctl: warning: logs of a capture stay in pstore only: ROOT/var/crash is not safe for dumps: everyone can rename its entries\n" +
			"kdumpctl: Linux crashed: ...\n"})
		m.expect("announce", result{0, "", ""})
		dumps(t, 2)
	})
}

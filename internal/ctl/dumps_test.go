package ctl

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/crashdir"
)

// kdump returns a dump of one page as makedumpfile -l -d 31 writes it; incomplete
// sets the flag for that (diskdump_mod.h).
func kdump(incomplete bool) string {
	const block = 4096
	le := binary.LittleEndian
	b := make([]byte, 6*block)
	copy(b, "KDUMP   ")
	le.PutUint32(b[8:], 6)
	copy(b[77:], "recorded")
	copy(b[142:], buildtest.Release)
	copy(b[272:], "x86_64")
	status := uint32(2) // lzo
	if incomplete {
		status |= 8
	}
	le.PutUint32(b[424:], status)
	le.PutUint32(b[428:], block)
	le.PutUint32(b[432:], 1)
	le.PutUint32(b[436:], 2)
	le.PutUint32(b[block+8:], 31)
	le.PutUint64(b[block+96:], 100)
	b[3*block] = 1 // in the second bitmap
	le.PutUint64(b[4*block:], 5*block)
	le.PutUint32(b[4*block+8:], 100)
	return string(b)
}

// captureReport returns the report of a capture that went well, changed.
func captureReport(change func(r *crashdir.Report)) string {
	at := time.Date(2026, 11, 22, 23, 4, 5, 0, time.UTC)
	r := &crashdir.Report{
		Version: crashdir.ReportVersion, Software: "0.1.0", Outcome: crashdir.Complete, Host: "recorded",
		Kernel: buildtest.Release, CrashTime: at, Memory: 4 << 30,
		Panic: crashdir.Panic{
			Line: "Kernel panic - not syncing: Fatal exception", Cause: "BUG: kernel NULL pointer dereference, address: 0000000000000000",
			IP: "RIP: 0010:bad_function+0x10/0x20 [bad]", Trace: []string{"? __die+0x1f/0x70", "do_init_module+0x4b/0x200"},
		},
		Capture: buildtest.Release, Started: at.Add(3 * time.Second),
		Target: crashdir.Target{Dir: "/var/crash", Device: "vda1", FSType: "ext4", UUID: "00000000-0000-4000-8000-000000000002"},
		Vmcore: 24576, Collector: "makedumpfile -l -d 31",
		Attempts:  []crashdir.Attempt{{Name: "makedumpfile -l -d 31", Seconds: 4.25}},
		Steps:     []crashdir.Step{{Name: "modules", Start: 1.5, Seconds: 0.25}, {Name: "collect", Start: 2, Seconds: 4.25}},
		LowestMem: 23 << 20,
	}
	change(r)
	b, err := r.Encode()
	if err != nil {
		panic(err) // a report that tests made
	}
	return string(b)
}

// atCrash returns a file of the dump with that name: in a report, the crash is at the time
// of the name.
func atCrash(name, content string) string {
	t, _, _ := crashdir.ParseName(name)
	return strings.Replace(content, `"crash_time": "2026-11-22T23:04:05Z"`, `"crash_time": "`+t.Format(time.RFC3339)+`"`, 1)
}

const evil = "\x1b[2J\x1b]0;owned\x07\u009b31mpanic\r\n\u202edne"

// dumps fills the machine's /var/crash: what a good capture leaves, what bad ones
// leave, and what someone hostile could have put there.
func dumps(m *machine) {
	put := func(name string, files map[string]string) {
		for f, content := range files {
			m.Write("var/crash/"+name+"/"+f, atCrash(name, content))
		}
	}
	put("2026-11-20T01-00-00Z", map[string]string{"vmcore": kdump(false), "vmcore-dmesg.txt": "log", "report.json": captureReport(func(*crashdir.Report) {})})
	put("2026-11-21T01-00-00Z", map[string]string{"vmcore-incomplete": kdump(true), "report.json": captureReport(func(r *crashdir.Report) {
		r.Outcome, r.Errors, r.Warnings = crashdir.Incomplete, []string{"collect: no space left on device"}, []string{"makedumpfile does not know this kernel"}
		r.Panic = crashdir.Panic{Line: "Kernel panic - not syncing: sysrq triggered crash"}
	})})
	put("2026-11-21T01-00-00Z-2", map[string]string{"vmcore-dmesg.txt": "log"})
	put("2026-11-22T01-00-00Z", map[string]string{"vmcore": "no header", "report.json": `{"version":9}`})
	put("2026-11-22T02-00-00Z", map[string]string{"report.json": "not JSON " + evil})
	put("2026-11-23T01-00-00Z", map[string]string{"vmcore-dmesg.txt": "log", "report.json": captureReport(func(r *crashdir.Report) {
		r.Outcome, r.Vmcore, r.Memory = crashdir.DmesgOnly, -1, -1
		r.Host, r.Kernel, r.Capture, r.Collector, r.Software = evil, evil, evil, evil, evil
		r.Target = crashdir.Target{Dir: evil, Device: evil, FSType: evil, UUID: evil}
		r.Panic = crashdir.Panic{Line: evil, Cause: evil, IP: evil, Trace: []string{evil}}
		r.Errors, r.Warnings, r.Steps = []string{evil}, []string{evil}, []crashdir.Step{{Name: evil}}
	})})
	// Symbolic links are not followed, and only dumps are listed.
	put("2026-11-24T01-00-00Z", map[string]string{"vmcore-dmesg.txt": "log"})
	m.Write("secret", "secret")
	m.Link("var/crash/2026-11-24T01-00-00Z/vmcore", m.Root+"/secret")
	m.Link("var/crash/2026-11-24T01-00-00Z/report.json", m.Root+"/secret")
	m.Link("var/crash/2026-11-25T01-00-00Z", m.Root+"/boot")
	put("other", map[string]string{"vmcore": "x"})
	m.Write("var/crash/2026-11-26T01-00-00Z", "a file")
	m.Write("var/crash/"+evil, "a file")
}

// newest is the dump that kdumpctl takes for the last one.
const newest = "2026-11-24T01-00-00Z"

func TestDumpsGolden(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dumps(m)
	var all bytes.Buffer
	for _, line := range []string{
		"list", "info", "info 2026-11-20", "info 2026-11-21T01-00-00Z", "info 2026-11-21T01-00-00Z-2",
		"info 2026-11-22T01", "info 2026-11-22T02", "info 2026-11-23", "info --dir ROOT/var/crash " + newest,
		"info ROOT/var/crash/2026-11-20T01-00-00Z/",
	} {
		r := m.kdumpctl(line)
		if r.status != 0 || r.stderr != "" {
			t.Errorf("%s: %+v", line, r)
		}
		harmless(t, line, r.stdout)
		all.WriteString("# kdumpctl " + line + "\n" + r.stdout + "\n")
	}
	buildtest.Golden(t, "dumps.txt", all.Bytes())
}

// harmless fails if a terminal would obey anything in s.
func harmless(t testing.TB, what, s string) {
	t.Helper()
	for _, r := range s {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%s prints %q", what, r)
		}
	}
}

func TestDumpsJSON(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.expect("list --json", result{0, "[]\n", ""})
	dumps(m)
	r := m.kdumpctl("list --json")
	harmless(t, "list --json", r.stdout)
	var list []dumpJSON
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || r.status != 0 || len(list) != 7 {
		t.Fatalf("%d dumps, %v, %+v", len(list), err, r)
	}
	if list[0].Outcome != crashdir.Complete || list[0].Report.Vmcore != 24576 || list[0].Problem != "" || list[0].Vmcore != "ROOT/var/crash/2026-11-20T01-00-00Z/vmcore" {
		t.Errorf("first %+v", list[0])
	}
	if list[3].Report != nil || list[3].Problem == "" {
		t.Errorf("report of another version: %+v", list[3])
	}
	// Escaped, but not lost.
	if got := list[5].Report.Panic.Line; got != evil {
		t.Errorf("panic line %q", got)
	}
	r = m.kdumpctl("info --json 2026-11-23")
	harmless(t, "info --json", r.stdout)
	var one dumpJSON
	if err := json.Unmarshal([]byte(r.stdout), &one); err != nil || one.Name != "2026-11-23T01-00-00Z" {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestFindDump(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.expect("list", result{0, "No dumps in ROOT/var/crash.\n", ""})
	m.expect("info", result{1, "", "kdumpctl: no dumps in ROOT/var/crash\n"})
	m.expect("info 2026", result{1, "", "kdumpctl: dump 2026: not found in ROOT/var/crash\nkdumpctl: kdumpctl list shows all dumps.\n"})
	dumps(m)
	m.Write("etc/ukdump.conf", "TARGET=/else\n")
	m.expect("list", result{0, "No dumps in ROOT/else.\n", ""})
	m.Write("etc/ukdump.conf", "TARGET=\n")
	for line, want := range map[string]string{
		"info 2026-11-2":                           "dump 2026-11-2: the name fits 7 dumps, from 2026-11-20T01-00-00Z to " + newest + ": give more of it",
		"info 2027":                                "dump 2027: not found in ROOT/var/crash\nkdumpctl: kdumpctl list shows all dumps.",
		"info other":                               "ROOT/var/crash/other is not the directory of a dump\nkdumpctl: kdumpctl list shows all dumps.",
		"info ..":                                  "dump ..: not found in ROOT/var/crash\nkdumpctl: kdumpctl list shows all dumps.",
		"info ROOT/var/crash/other":                "ROOT/var/crash/other is not the directory of a dump",
		"info ROOT/var/crash/../../etc":            "ROOT/etc is not the directory of a dump",
		"info ROOT/x/2026-11-20T01-00-00Z":         "stat ROOT/x/2026-11-20T01-00-00Z: no such file or directory",
		"info --dir ROOT/var 2026":                 "dump 2026: not found in ROOT/var\nkdumpctl: kdumpctl list shows all dumps.",
		"list --dir ROOT/secret":                   "open ROOT/secret: not a directory",
		"info ROOT/var/crash/2026-11-26T01-00-00Z": "open ROOT/var/crash/2026-11-26T01-00-00Z: not a directory\nkdumpctl: kdumpctl report and kdumpctl log read a vmcore, and kdumpctl import takes it in as a dump.",
	} {
		got := m.kdumpctl(line)
		if got != (result{1, "", "kdumpctl: " + want + "\n"}) {
			t.Errorf("%s: got %+v\nwant %s", line, got, want)
		}
	}
}

// Dumps of all targets are one list. A name that two have is that of the first.
func TestSeveralTargets(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Write("etc/ukdump.conf", "TARGET=/srv/dumps /var/crash\n")
	m.expect("list", result{0, "No dumps in ROOT/srv/dumps or ROOT/var/crash.\n", ""})
	m.expect("info 2026", result{1, "", "kdumpctl: dump 2026: not found in ROOT/srv/dumps or ROOT/var/crash\nkdumpctl: kdumpctl list shows all dumps.\n"})
	const both = "2026-11-22T01-00-00Z"
	for _, name := range []string{"var/crash/2026-11-23T01-00-00Z", "srv/dumps/" + both, "var/crash/2026-11-21T01-00-00Z", "var/crash/" + both} {
		m.Write(name+"/vmcore-dmesg.txt", "log")
	}
	paths := func() (paths string) {
		t.Helper()
		r := m.kdumpctl("list --json")
		var list []dumpJSON
		if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
			t.Fatalf("%v: %+v", err, r)
		}
		for _, l := range list {
			paths += strings.TrimPrefix(l.Path, "ROOT/") + "\n"
		}
		return paths
	}
	if got, want := paths(), "var/crash/2026-11-21T01-00-00Z\nsrv/dumps/"+both+"\nvar/crash/"+both+"\nvar/crash/2026-11-23T01-00-00Z\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for line, want := range map[string]string{
		"info":                                   "ROOT/var/crash/2026-11-23T01-00-00Z",
		"info 2026-11-21":                        "ROOT/var/crash/2026-11-21T01-00-00Z",
		"info " + both:                           "ROOT/srv/dumps/" + both,
		"info " + both + " --dir ROOT/var/crash": "ROOT/var/crash/" + both,
	} {
		if got := m.kdumpctl(line); got.status != 0 || !strings.HasPrefix(got.stdout, "dump     "+want+"\n") {
			t.Errorf("%s: %+v, want %s", line, got, want)
		}
	}
	m.expect("rm 2026-11-21 "+both, result{0, "removed 2026-11-21T01-00-00Z, 3 B\nremoved " + both + ", 3 B\n", ""})
	if got, want := paths(), "var/crash/"+both+"\nvar/crash/2026-11-23T01-00-00Z\n"; got != want {
		t.Errorf("left\n%swant\n%s", got, want)
	}
	m.expect("list --dir ROOT/srv/dumps", result{0, "No dumps in ROOT/srv/dumps.\n", ""})

	// One that cannot be read hides none of the others.
	m.Write("srv/file", "")
	m.Write("etc/ukdump.conf", "TARGET=/srv/file /var/crash\n")
	const unread = "open ROOT/srv/file: not a directory\n"
	m.expect("list", result{1, "DUMP ...\n" + both + " ...\n2026-11-23T01-00-00Z ...\n", "kdumpctl: " + unread})
	if got, want := paths(), "var/crash/"+both+"\nvar/crash/2026-11-23T01-00-00Z\n"; got != want {
		t.Errorf("listed\n%swant\n%s", got, want)
	}
	if got := m.kdumpctl("info"); got.status != 0 || !strings.HasPrefix(got.stdout, "dump     ROOT/var/crash/2026-11-23T01-00-00Z\n") || got.stderr != "kdumpctl: warning: "+unread {
		t.Errorf("info: %+v", got)
	}
	m.expect("rm 2026-11-23", result{0, "removed 2026-11-23T01-00-00Z, 3 B\n", "kdumpctl: warning: " + unread})
}

func TestRm(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dumps(m)
	before := strings.Join(buildtest.Snapshot(t, m.Root), "\n")
	// Nothing is removed if any of the names is wrong.
	for line, want := range map[string]string{
		"rm 2026-11-20 2027":                     "dump 2027: not found in ROOT/var/crash\nkdumpctl: kdumpctl list shows all dumps.",
		"rm 2026-11-20 2026-11-2":                "dump 2026-11-2: the name fits ...",
		"rm 2026-11-20 ROOT/boot":                "ROOT/boot is not the directory of a dump",
		"rm 2026-11-20 ROOT/var/crash":           "ROOT/var/crash is not the directory of a dump",
		"rm 2026-11-20 ROOT/var/crash/other":     "ROOT/var/crash/other is not the directory of a dump",
		"rm 2026-11-20 ../../etc":                "stat ../../etc: no such file or directory",
		"rm 2026-11-20 .":                        "dump .: not found in ROOT/var/crash\nkdumpctl: kdumpctl list shows all dumps.",
		"rm 2026-11-20 /":                        "/ is not the directory of a dump",
		"rm ROOT/var/crash/2026-11-25T01-00-00Z": "open ROOT/var/crash/2026-11-25T01-00-00Z: not a directory",
		"rm 2026-11-25":                          "dump 2026-11-25: not found in ROOT/var/crash\nkdumpctl: kdumpctl list shows all dumps.",
		"rm 2026-11-20 --dir ROOT/boot":          "dump 2026-11-20: not found in ROOT/boot\nkdumpctl: kdumpctl list shows all dumps.",
	} {
		m.expect(line, result{1, "", "kdumpctl: " + want + "\n"})
	}
	if after := strings.Join(buildtest.Snapshot(t, m.Root), "\n"); after != before {
		t.Fatalf("files were changed: %s", after)
	}

	m.expect("rm 2026-11-20 2026-11-20T01-00-00Z ROOT/var/crash/"+newest+"/", result{0,
		"removed 2026-11-20T01-00-00Z, 25.0 KiB\nremoved " + newest + ", 3 B\n", ""})
	if got := m.Read("secret"); got != "secret" {
		t.Errorf("what a link pointed to became %q", got)
	}
	left, err := os.ReadDir(filepath.Join(m.Root, "var/crash"))
	if err != nil || len(left) != 5+1+1+1+1 {
		t.Errorf("left %v, %v", left, err)
	}
}

// Dumps are root's own.
func TestDumpsUnprivileged(t *testing.T) {
	m := newMachine(t)
	dumps(m)
	if err := os.Chmod(m.Root+"/var/crash", 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(m.Root+"/var/crash", 0o700) })
	want := "kdumpctl: open ROOT/var/crash: permission denied\n"
	if os.Geteuid() != 0 { // the advice goes by the process, not by our thread
		want += "kdumpctl: Run the command as root, for example with sudo.\n"
	}
	m.asNobody(func() {
		for _, line := range []string{"list", "list --json", "info", "info 2026", "rm 2026"} {
			m.expect(line, result{1, "", want})
		}
	})
}

// One directory that cannot be read does not hide the others.
func TestDumpsUnreadable(t *testing.T) {
	m := newMachine(t)
	for _, day := range []string{"21", "22", "23"} {
		m.Write("var/crash/2026-11-"+day+"T01-00-00Z/vmcore-dmesg.txt", "log")
	}
	bad := m.Root + "/var/crash/2026-11-22T01-00-00Z"
	if err := os.Chmod(bad, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(bad, 0o700) })
	m.asNobody(func() {
		m.expect("list", result{0, "DUMP                  SIZE  OUTCOME     KERNEL  REASON\n" +
			"2026-11-21T01-00-00Z  3 B   dmesg-only  -       -\n" +
			"2026-11-22T01-00-00Z  -     not known   -       not known\n" +
			"2026-11-23T01-00-00Z  3 B   dmesg-only  -       -\n", ""})
		m.expect("info 2026-11-22", result{0, "dump     ROOT/var/crash/2026-11-22T01-00-00Z\n" +
			"outcome  not known\nreport   open ROOT/var/crash/2026-11-22T01-00-00Z: permission denied\npanic    not known\nkernel   -\nfiles    not known\n", ""})
	})
}

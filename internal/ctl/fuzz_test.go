package ctl

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

const (
	goodDump    = "2026-11-20T01-00-00Z"
	hostileDump = "2026-11-21T01-00-00Z"
)

// FuzzReport puts a report.json beside a good dump and has every verb print it: the given
// bytes, or, if they are empty, a report with text and n in all of its fields. No printer
// obeys the report: nothing reaches the terminal that it would obey, no text begins a
// row, columns stay, and the crash is announced in one entry and one line at login.
func FuzzReport(f *testing.F) {
	for _, s := range hostileReports() {
		if len(s) < 4096 { // larger ones slow the fuzzer down; TestHostileDumps has them
			f.Add(s, "", 0.0, byte(80))
		}
	}
	good := captureReport(func(*crashdir.Report) {})
	f.Add(good, "", 0.0, byte(0))
	f.Add(strings.Replace(good, "2026-11-22T23:04:05Z", "9999-12-31T23:59:59-23:59", 2), "", 0.0, byte(60))
	for _, s := range []string{
		evil, "a\nb\r\nc\x85d", "\u202e\u2066abc", "容容容容容容容容容容容容容容容容容容容容容容容容容容容容", "a\u0301\u0301\u0301",
		"%s%n%!(EXTRA)", strings.Repeat(" ", 200), "  outcome  complete", "\t\t", "x,y\nMESSAGE=z", "é\xff",
	} {
		f.Add("", s, 1e18, byte(80))
		f.Add("", s, -1.5, byte(40))
		f.Add("", s, 0.0, byte(0))
	}
	m := newMachine(f)
	m.boot(1)
	m.Write("etc/ukdump.conf", "MOTD=yes\n")
	j := newJournald(f, m)
	m.Write("var/crash/"+goodDump+"/vmcore", kdump(false))
	m.Write("var/crash/"+goodDump+"/report.json", good)
	m.expect("announce", result{0, "", ""})
	j.entries()
	m.Write("var/crash/"+hostileDump+"/report.json", "")
	known := m.Read("var/lib/ukdump/announced.json")
	f.Fuzz(func(t *testing.T, report, text string, n float64, columns byte) {
		if report == "" {
			report = filled(text, n, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), 2)
		}
		m.t, j.t = t, t
		m.columns = int(columns)
		if m.columns > 0 {
			m.columns = max(m.columns, 40) // the narrowest that is served
		}
		write(t, filepath.Join(m.Root, "var/crash", hostileDump, "report.json"), report)
		write(t, filepath.Join(m.Root, "var/lib/ukdump/announced.json"), known)
		checkList(t, m.print(t, "list"), m.columns)
		checkRows(t, "info", m.print(t, "info "+hostileDump))
		checkRows(t, "status", m.printStatus(t, false))
		m.checkJSON(t, report)
		checkAnnounced(t, j, m)
	})
}

// write writes a file of a machine that belongs to a fuzz target.
func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// print runs a verb that only prints, and returns its output.
func (m *machine) print(t *testing.T, line string) string {
	t.Helper()
	r := m.kdumpctl(line)
	harmless(t, line, r.stdout+r.stderr)
	if r.stdout == "" || r.stderr != "" || len(r.stdout) > 256<<10 {
		t.Errorf("%s prints %d bytes, errors %q", line, len(r.stdout), r.stderr)
	}
	return r.stdout
}

// printStatus prints the part of status that shows dumps: the rest takes a hundred times
// as long, and shows nothing of a report.
func (m *machine) printStatus(t *testing.T, asJSON bool) string {
	t.Helper()
	var out bytes.Buffer
	c, s := m.ctl(), new(status)
	c.Stdout = &out
	c.gatherDumps(s)
	err := c.printStatus(s)
	if asJSON {
		out.Reset()
		err = cli.WriteJSON(&out, s)
	}
	if err != nil {
		t.Error(err)
	}
	harmless(t, "status", out.String())
	return out.String()
}

// checkList checks that each column of list is as wide in each line.
func checkList(t *testing.T, out string, columns int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("list has %d lines:\n%s", len(lines), out)
	}
	if columns == 0 {
		columns = pipeWidth
	}
	slices.Sort(lines[1:]) // list has them by the time of the crash, which is in the report
	for i, want := range []string{goodDump, hostileDump} {
		line := lines[i+1]
		if cells(line) > columns {
			t.Errorf("%d columns in a terminal of %d: %q", cells(line), columns, line)
		}
		for _, title := range []string{"DUMP", "OUTCOME", "REASON"} {
			at, letters := strings.Index(lines[0], title), []rune(line)
			switch {
			case title == "DUMP" && !strings.HasPrefix(line, want):
				t.Errorf("not the line of %s: %q", want, line)
			case at > 0 && at < len(letters) && (letters[at-1] != ' ' || letters[at] == ' '):
				t.Errorf("%s does not begin at %d: %q", title, at, line)
			}
		}
	}
}

// titles are those of the rows and lists that info and status print.
var titles = strings.Fields(`dump outcome panic cause kernel crashed host collector target captured time report vmcore files
	call what warnings steps capture memory image verified forecast not delayed dumps missing`)

// checkRows checks that no row begins with a text of the report.
func checkRows(t *testing.T, verb, out string) {
	t.Helper()
	seen := make(map[string]int)
	for line := range strings.Lines(out) {
		if line == "\n" || strings.HasPrefix(line, "  ") {
			continue
		}
		word := strings.Fields(line)[0]
		seen[word]++
		if !slices.Contains(titles, word) {
			t.Errorf("%s has a row %q:\n%s", verb, line, out)
		}
	}
	for _, once := range []string{"dump", "outcome", "panic", "dumps", "missing"} {
		if seen[once] > 1 {
			t.Errorf("%s has %d rows %q:\n%s", verb, seen[once], once, out)
		}
	}
}

// checkJSON checks that JSON has the dump, with all of a report that can be read.
func (m *machine) checkJSON(t *testing.T, report string) {
	t.Helper()
	var list []dumpJSON
	var one dumpJSON
	var s struct {
		Last *dumpJSON `json:"last_dump"`
	}
	for out, into := range map[string]any{
		m.print(t, "list --json"): &list, m.print(t, "info --json "+hostileDump): &one, m.printStatus(t, true): &s,
	} {
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if len(list) != 2 || list[0].Name == list[1].Name || one.Name != hostileDump || s.Last == nil || s.Last.Name != list[1].Name {
		t.Fatalf("%d dumps, info %s, the last %+v", len(list), one.Name, s.Last)
	}
	want, err := crashdir.ParseReport([]byte(report))
	if (err == nil) != (one.Problem == "") {
		t.Errorf("problem %q, reading the report: %v", one.Problem, err)
	}
	if err == nil && !reflect.DeepEqual(one.Report, want) {
		t.Errorf("got %+v, want %+v", one.Report, want)
	}
}

// checkAnnounced checks that the hostile dump is announced in one entry, and one line for
// those who log in.
func checkAnnounced(t *testing.T, j *journald, m *machine) {
	t.Helper()
	m.expect("announce", result{0, "", ""})
	entries := j.entries()
	if len(entries) != 1 {
		t.Fatalf("%d entries: %q", len(entries), entries)
	}
	messages := 0
	for line := range strings.Lines(entries[0]) {
		name, _, ok := strings.Cut(line, "=")
		if !ok || name != "MESSAGE" && name != "MESSAGE_ID" && !strings.HasPrefix(name, "UKDUMP_") {
			t.Errorf("a field %q", line)
		}
		if name == "MESSAGE" {
			messages++
		}
	}
	if messages != 1 {
		t.Errorf("%d messages: %q", messages, entries[0])
	}
	b, err := os.ReadFile(filepath.Join(m.Root, "run/motd.d/ukdump"))
	if err != nil {
		t.Fatal(err)
	}
	motd := string(b)
	harmless(t, "motd", motd)
	dir := filepath.Join(m.Root, "var/crash", hostileDump)
	if strings.Count(motd, "\n") != 1 || !strings.HasPrefix(motd, "ukdump: ") || !strings.HasSuffix(motd, ": "+dir+"\n") || utf8.RuneCountInString(motd) > 1200+len(dir) {
		t.Errorf("motd %q", motd)
	}
}

package crashdir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// row makes one dump of 10 bytes for each letter, one second apart, that is
// called by its place from "a" on: c complete, i incomplete, d dmesg-only, f
// failed, u unknown, l the log by choice, r the log of a dump at a server, T a complete
// test. Letters before a "|" are from a clock that stood at 1970.
func row(letters string) []Dump {
	outcomes := map[rune]Outcome{'c': Complete, 'i': Incomplete, 'd': DmesgOnly, 'f': Failed, 'u': Unknown, 'l': DmesgOnly, 'r': DmesgOnly, 'T': Complete}
	t := time.Unix(0, 0)
	if !strings.Contains(letters, "|") {
		t = crash
	}
	var dumps []Dump
	for _, r := range letters {
		if r == '|' {
			t = crash
			continue
		}
		d := Dump{Name: string(rune('a' + len(dumps))), Time: t, Outcome: outcomes[r], Test: r == 'T', LogOnly: r == 'l', Used: 10}
		if r == 'r' {
			d.At = "sftp://backup/srv/" + d.Name
		}
		dumps = append(dumps, d)
		t = t.Add(time.Second)
	}
	return dumps
}

func names(dumps []Dump) (s string) {
	for _, d := range dumps {
		s += d.Name
	}
	return s
}

func TestExpendable(t *testing.T) {
	for dumps, want := range map[string]string{
		"":       "",
		"c":      "",
		"f":      "",
		"cc":     "a",
		"ccc":    "ab",
		"cf":     "",    // the only complete one
		"ccfff":  "acd", // b is the newest complete one, e the newest
		"fic":    "ab",
		"ddd":    "ab",
		"uuff":   "c", // u may be complete
		"cuc":    "a",
		"c|":     "",
		"ccf|":   "a",
		"ccf|cc": "ad", // b, c may be newer than e
		"f|f":    "",
		"cll":    "b",  // the only vmcore stays
		"llff":   "ac", // b is the last good log
		"lcd":    "",
		"crr":    "b", // a stays the newest and the newest complete one here
		"ccir":   "a",
		"ir":     "",
		"rc":     "",
		"r|cr":   "",
		"T":      "a",
		"cT":     "b", // the test is newer and complete, and takes the place of nothing
		"fTcT":   "bda",
	} {
		if got := names(Expendable(row(dumps))); got != want {
			t.Errorf("%q: got %q, want %q", dumps, got, want)
		}
	}
}

func TestEnforce(t *testing.T) {
	for _, tt := range []struct {
		policy Policy
		dumps  string
		free   int64
		stuck  string // dumps that cannot be removed
		want   string // dumps that are removed
	}{
		{Policy{}, "ccccc", 0, "", ""},
		{Policy{Keep: 3}, "ccccc", 0, "", "ab"},
		{Policy{Keep: 5}, "ccccc", 0, "", ""},
		{Policy{Keep: 1}, "cff", 0, "", "b"}, // a is the only complete one
		{Policy{Keep: 1}, "c", 0, "", ""},
		{Policy{MaxUse: 50}, "ccccc", 0, "", ""},
		{Policy{MaxUse: 49}, "ccccc", 0, "", "a"},
		{Policy{MaxUse: 1}, "ccccc", 0, "", "abcd"},
		{Policy{KeepFree: 100}, "ccccc", 100, "", ""},
		{Policy{KeepFree: 100}, "ccccc", 81, "", "ab"},
		{Policy{KeepFree: 100}, "ccccc", 0, "", "abcd"},
		{Policy{Keep: 4, MaxUse: 25, KeepFree: 5}, "ccccc", 0, "", "abc"},
		{Policy{Keep: 3}, "ccccc", 0, "a", "bc"},
		{Policy{Keep: 3}, "ccccc", 0, "bd", "ac"},
		{Policy{Keep: 3}, "ccccc", 0, "abcd", ""},
		{Policy{MaxUse: 49}, "ccccc", 0, "ab", "c"},
		{Policy{KeepFree: 100}, "ccccc", 81, "a", "bc"},
		{Policy{Keep: 2}, "cTcT", 0, "", ""}, // tests count apart
		{Policy{Keep: 1}, "ccTTT", 0, "", "cda"},
		{Policy{MaxUse: 29}, "cTcT", 0, "", "bd"}, // and go first
		{Policy{Keep: 2}, "ccrrr", 0, "", "c"},    // and so do logs of dumps at servers
		{Policy{Keep: 2}, "cccrrTT", 0, "", "a"},
		{Policy{MaxUse: 29}, "ccrr", 0, "", "ac"},
	} {
		removed, failed := "", ""
		errs := tt.policy.Enforce(row(tt.dumps), tt.free, func(d Dump) error {
			if strings.Contains(tt.stuck, d.Name) {
				failed += d.Name
				return errors.New("stuck")
			}
			removed += d.Name
			return nil
		})
		if removed != tt.want || len(errs) != len(failed) {
			t.Errorf("%+v, %q without %q, %d free: removed %q, want %q; %d errors", tt.policy, tt.dumps, tt.stuck, tt.free, removed, tt.want, len(errs))
		}
	}
	tried := 0
	errs := Policy{Keep: 1}.Enforce(row("ccccc"), 0, func(Dump) error { tried++; return &os.PathError{Err: syscall.EROFS} })
	if tried != 1 || len(errs) != 1 {
		t.Errorf("tried %d dumps on a read-only file system, %d errors", tried, len(errs))
	}
	errs = Policy{Keep: 3}.Enforce(row("ccccc"), 0, func(Dump) error { tried++; return os.ErrNotExist })
	if tried != 3 || len(errs) != 0 {
		t.Errorf("tried %d dumps that are gone, %d errors", tried-1, len(errs))
	}
}

func TestRemove(t *testing.T) {
	parent := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, "", outside, map[string]string{"file": "x"})
	const name = "2026-11-22T23-04-05Z"
	put(t, parent, name, map[string]string{Vmcore: "x", Dmesg: "x"})
	put(t, parent, name+"/sub", map[string]string{"file": "x"})
	for _, link := range []string{"link", "sub/link"} {
		if err := os.Symlink(outside, filepath.Join(parent, name, link)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Read(filepath.Join(parent, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := Remove(d); err != nil {
		t.Fatal(err)
	}
	if ents, err := os.ReadDir(parent); err != nil || len(ents) > 0 {
		t.Errorf("left: %v, %v", ents, err)
	}
	if _, err := os.Stat(outside + "/file"); err != nil {
		t.Error("a symbolic link was followed")
	}

	// The directory itself may be a link; the directory that it leads to is not ours.
	if err := os.Symlink(outside, filepath.Join(parent, name)); err != nil {
		t.Fatal(err)
	}
	if err := Remove(d); err == nil {
		t.Error("a symbolic link was removed")
	}
	if _, err := os.Stat(outside + "/file"); err != nil {
		t.Error("a symbolic link was followed")
	}
}

// A removal that ends in the middle leaves nothing that looks complete.
func TestRemoveInterrupted(t *testing.T) {
	parent := t.TempDir()
	const name = "2026-11-22T23-04-05Z"
	put(t, parent, name, map[string]string{Vmcore: "x", Vmcore + Sealed: "x", Dmesg: "x", ReportFile: `{"version":1,"outcome":"complete"}`})
	path := filepath.Join(parent, name)
	d, err := Read(path)
	if err != nil || d.Outcome != Complete {
		t.Fatal(d, err)
	}
	powerFails := errors.New("power fails")
	steps := 0
	hook = func() error {
		if steps--; steps < 0 {
			return powerFails
		}
		return nil
	}
	t.Cleanup(func() { hook = func() error { return nil } })
	for n, want := range []Outcome{Complete, Complete, Complete, DmesgOnly, DmesgOnly, Failed} {
		steps = n
		if err := Remove(d); !errors.Is(err, powerFails) {
			t.Errorf("after %d steps: %v", n, err)
		}
		if d, err := Read(path); err != nil || d.Outcome != want {
			t.Errorf("after %d steps: %s, %v", n, d.Outcome, err)
		}
	}
	steps = 6
	if err := Remove(d); err != nil {
		t.Error(err)
	}
}

func TestUsed(t *testing.T) {
	parent := t.TempDir()
	put(t, parent, "2026-11-22T23-04-05Z", map[string]string{Vmcore: strings.Repeat("x", 1<<16)})
	path := filepath.Join(parent, "2026-11-22T23-04-05Z")
	if err := os.Truncate(filepath.Join(path, Vmcore), 1<<30); err != nil {
		t.Fatal(err)
	}
	d, err := Read(path)
	if err != nil || d.Size != 1<<30 || d.Used < 1<<16 || d.Used > 1<<20 {
		t.Errorf("%d bytes on disk of %d, %v", d.Used, d.Size, err)
	}
}

package crashdir

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var crash = time.Date(2026, 11, 22, 23, 4, 5, 0, time.UTC)

func TestCreate(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "var", "crash")
	for _, want := range []string{"2026-11-22T23-04-05Z", "2026-11-22T23-04-05Z-2", "2026-11-22T23-04-05Z-3"} {
		dir, err := Create(parent, crash)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(dir) != want {
			t.Errorf("got %s, want %s", dir, want)
		}
		fi, err := os.Stat(dir)
		if err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, error %v", dir, fi.Mode(), err)
		}
	}
}

// Whoever takes names in advance keeps no capture from saving.
func TestCreateTaken(t *testing.T) {
	for name, take := range map[string]func(path string) error{
		"directories": func(path string) error { return os.Mkdir(path, 0o700) },
		"files":       func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"links":       func(path string) error { return os.Symlink("/nowhere", path) },
		"loops":       func(path string) error { return os.Symlink(path, path) },
		"FIFOs":       func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			base := filepath.Join(parent, Name(crash))
			for n := range 3 * maxSuffix {
				path := base
				if n > 0 {
					path += "-" + strconv.Itoa(n+1)
				}
				if err := take(path); err != nil {
					t.Fatal(err)
				}
			}
			seen := map[string]bool{}
			for range 10 {
				dir, err := Create(parent, crash)
				if err != nil {
					t.Fatal(err)
				}
				d, err := Read(dir)
				fi, serr := os.Lstat(dir)
				if err != nil || serr != nil || fi.Mode() != fs.ModeDir|0o700 || seen[dir] || !d.Time.Equal(crash) {
					t.Errorf("%s: %v, %v, %v, %v", dir, d.Time, err, fi.Mode(), serr)
				}
				seen[dir] = true
			}
			if dumps, err := List(parent); err != nil || name == "files" && len(dumps) != 10 {
				t.Errorf("%d dumps are listed, %v", len(dumps), err)
			}
		})
	}
}

func TestParseName(t *testing.T) {
	for name, want := range map[string]int{
		"2026-11-22T23-04-05Z":    1,
		"2026-11-22T23-04-05Z-2":  2,
		"2026-11-22T23-04-05Z-10": 10,
		"2026-11-22T23-04-05Z-x0": math.MaxInt, "2026-11-22T23-04-05Z-x4294967295": math.MaxInt,
		"2026-11-22T23-04-05Z-x": 0, "2026-11-22T23-04-05Z-x4294967296": 0, "2026-11-22T23-04-05Z-x01": 0,
		"2026-11-22T23-04-05Z-x-1": 0, "2026-11-22T23-04-05Z-x1x": 0, "2026-11-22T23-04-05Z-y1": 0,
		"2026-11-22T23-04-05Z-1":  0,
		"2026-11-22T23-04-05Z-02": 0,
		"2026-11-22T23-04-05Zx":   0,
		"2026-11-22T23-04-05":     0,
		"2026-13-22T23-04-05Z":    0,
		"lost+found":              0,
		"":                        0,
	} {
		_, nth, ok := ParseName(name)
		if ok != (want > 0) || ok && nth != want {
			t.Errorf("%q: got %d, %v", name, nth, ok)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	text := func(w io.Writer) error { _, err := io.WriteString(w, "line\n"); return err }
	if err := WriteFile(dir, Dmesg, text); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, Dmesg))
	if err != nil || fi.Mode().Perm() != 0o600 || fi.Size() != 5 {
		t.Errorf("got %v, %v", fi, err)
	}

	// A decoder that stops half-way leaves its output under the other name.
	boom := errors.New("boom")
	err = WriteFile(dir, ReportFile, func(w io.Writer) error { text(w); return boom })
	if !errors.Is(err, boom) {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ReportFile)); err == nil {
		t.Error("a file that is not whole has its final name")
	}
	b, _ := os.ReadFile(filepath.Join(dir, ReportFile+Suffix))
	if string(b) != "line\n" {
		t.Errorf("what was written is %q", b)
	}
}

// put makes a dump from files with contents.
func put(t *testing.T, parent, name string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for f, text := range files {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestList(t *testing.T) {
	parent := t.TempDir()
	good := `{"version":1,"outcome":"complete","panic":{"line":"Kernel panic"}}`
	put(t, parent, "2026-11-22T23-04-05Z-10", map[string]string{Vmcore: "x", ReportFile: good})
	put(t, parent, "2026-11-22T23-04-05Z-2", map[string]string{Vmcore + Suffix: "xyz", Dmesg: "m"})
	put(t, parent, "2026-11-22T23-04-05Z", map[string]string{Dmesg: "m", ReportFile: `{"version":9}`})
	put(t, parent, "2026-11-23T00-00-00Z", map[string]string{ReportFile: strings.Repeat(" ", maxReport+1)})
	// A report cannot promise more than the files hold.
	put(t, parent, "2026-11-24T00-00-00Z", map[string]string{ReportFile: good})
	put(t, parent, "2026-11-24T12-00-00Z", map[string]string{Dmesg + Suffix: "", Vmcore + Suffix: ""})
	put(t, parent, "2026-11-25T00-00-00Z", nil)
	if err := os.Symlink("/etc/passwd", filepath.Join(parent, "2026-11-25T00-00-00Z", Vmcore)); err != nil {
		t.Fatal(err)
	}
	put(t, parent, "other", map[string]string{Vmcore: "x"})

	dumps, err := List(parent)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name    string
		outcome Outcome
		vmcore  string
		report  bool
	}{
		{"2026-11-22T23-04-05Z", DmesgOnly, "", false},
		{"2026-11-22T23-04-05Z-2", Incomplete, Vmcore + Suffix, false},
		{"2026-11-22T23-04-05Z-10", Complete, Vmcore, true},
		{"2026-11-23T00-00-00Z", Failed, "", false},
		{"2026-11-24T00-00-00Z", Failed, "", true},
		{"2026-11-24T12-00-00Z", Failed, "", false},
		{"2026-11-25T00-00-00Z", Failed, "", false},
	}
	if len(dumps) != len(want) {
		t.Fatalf("got %d dumps, want %d", len(dumps), len(want))
	}
	for i, w := range want {
		d := dumps[i]
		v := ""
		if d.Vmcore != "" {
			v = filepath.Base(d.Vmcore)
		}
		if d.Name != w.name || d.Outcome != w.outcome || v != w.vmcore || (d.Report != nil) != w.report {
			t.Errorf("got %s %s %q %v, want %+v", d.Name, d.Outcome, v, d.Report, w)
		}
		if d.Report == nil && d.ReportErr == nil {
			t.Errorf("%s: neither a report nor a reason", d.Name)
		}
	}
	if none, err := List(filepath.Join(parent, "missing")); err != nil || none != nil {
		t.Errorf("missing directory: %v, %v", none, err)
	}
}

// Lists of several directories are put together; of one name the first comes first.
func TestSort(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, name := range []string{a + "/2026-11-22T01-00-00Z", b + "/2026-11-22T01-00-00Z-10", b + "/2026-11-21T01-00-00Z", b + "/2026-11-22T01-00-00Z", a + "/2026-11-22T01-00-00Z-2"} {
		put(t, "", name, nil)
	}
	var dumps []Dump
	for _, dir := range []string{a, b} {
		list, err := List(dir)
		if err != nil {
			t.Fatal(err)
		}
		dumps = append(dumps, list...)
	}
	Sort(dumps)
	got := ""
	for _, d := range dumps {
		got += strings.NewReplacer(a, "a", b, "b").Replace(d.Path) + " "
	}
	if want := "b/2026-11-21T01-00-00Z a/2026-11-22T01-00-00Z b/2026-11-22T01-00-00Z a/2026-11-22T01-00-00Z-2 b/2026-11-22T01-00-00Z-10 "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Copies of a dump have its time of the crash: however the directory lists them, they are
// in the order of their names, so that the same one is expendable each time.
func TestSortCopies(t *testing.T) {
	want := []string{"2014-01-01T00-00-00Z", "2018-01-01T00-00-00Z", "2020-01-01T00-00-00Z", "2020-01-01T00-00-00Z-2", "2020-01-01T00-00-00Z-10", "2026-11-22T01-00-00Z"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		dumps := make([]Dump, len(want))
		for i, at := range random.Perm(len(want)) {
			_, nth, _ := ParseName(want[i])
			dumps[at] = Dump{Name: want[i], Time: crash, nth: nth}
		}
		Sort(dumps)
		var got []string
		for _, d := range dumps {
			got = append(got, d.Name)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	b, err := (&Report{Version: 1, Outcome: Complete, Started: crash}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReport(data)
		if err == nil {
			if _, err := r.Encode(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

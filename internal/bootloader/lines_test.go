package bootloader

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	setCrash    = Edit{Name: "crashkernel", Words: []string{"crashkernel=512M,high", "crashkernel=64M,low"}}
	removeCrash = Edit{Name: "crashkernel"}
)

// apply plans an edit, checks that the plan is done after it was carried out, and returns
// the files that it wrote.
func apply(t *testing.T, l Loader, s *System, e Edit) map[string]string {
	t.Helper()
	p := plan(t, l, s, e)
	write(t, s, p)
	written := make(map[string]string)
	for _, f := range p.Files {
		written[f.Path] = string(f.New)
	}
	if again := plan(t, l, s, e); len(again.Files) > 0 {
		t.Errorf("the second plan for %q changes %s:\n%s", e.Words, again.Files[0].Path, again.Files[0].New)
	}
	return written
}

func plan(t *testing.T, l Loader, s *System, e Edit) *Plan {
	t.Helper()
	p, err := l.Plan(s, e)
	if err != nil {
		t.Fatal(err)
	}
	if p.Manual != "" {
		t.Fatalf("manual: %s", p.Manual)
	}
	return p
}

// roundTrip sets crashkernel=, compares the written files with want, and takes it away,
// which has to bring the bytes of before.
func roundTrip(t *testing.T, l Loader, files, want map[string]string) *System {
	t.Helper()
	s := tree(t, files)
	compareFiles(t, apply(t, l, s, setCrash), want)
	apply(t, l, s, removeCrash)
	for name, content := range files {
		got, err := os.ReadFile(filepath.Join(s.Root, name))
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err != nil || string(got) != content {
			t.Errorf("%s, set and removed:\n got %q, %v\nwant %q", name, got, err, content)
		}
	}
	for name := range want {
		if _, ok := files[name]; !ok {
			if got, err := os.ReadFile(filepath.Join(s.Root, name)); err == nil && len(got) > 0 {
				t.Errorf("%s is left: %q", name, got)
			}
		}
	}
	return s
}

func compareFiles(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s:\n got %q\nwant %q", name, got[name], want[name])
		}
	}
	for name, content := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s was written:\n%s", name, content)
		}
	}
}

// golden compares the file name after the edit with testdata/LOADER/CASE.want, and the file
// of before comes from testdata/LOADER/CASE.
func golden(t *testing.T, l Loader, c, name string, others map[string]string) *System {
	t.Helper()
	before, want := testdata(t, l.Name()+"/"+c), testdata(t, l.Name()+"/"+c+".want")
	files := maps.Clone(others)
	if files == nil {
		files = make(map[string]string)
	}
	files[name] = before
	return roundTrip(t, l, files, map[string]string{name: want})
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// refused checks that a damaged file is an error that names its line, and no plan.
func refused(t *testing.T, l Loader, files map[string]string, want string) {
	t.Helper()
	s := tree(t, files)
	if p, err := l.Plan(s, setCrash); err == nil || p != nil || !strings.Contains(err.Error(), want) {
		t.Errorf("plan: got %v, %v; want %q", p, err, want)
	}
	if entries, err := l.Next(s); err == nil {
		t.Errorf("next: got %v, want %q", entries, want)
	}
}

// cmdlines returns the command lines of what boots next, the default marked by a star.
func cmdlines(t *testing.T, l Loader, s *System) []string {
	t.Helper()
	entries, err := l.Next(s)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		mark := ""
		if e.Default {
			mark = "*"
		}
		list = append(list, mark+e.Title+" "+e.Source+": "+e.Cmdline)
	}
	return list
}

func compareLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got:\n%s\nwant:\n%s", g, w)
	}
}

func TestTextFile(t *testing.T) {
	for _, text := range []string{"", "a", "a\n", "a\nb", "a\r\nb\r\n", "\ufeffa\n\n"} {
		f := newTextFile("f", []byte(text))
		if got := f.content(); string(got) != text {
			t.Errorf("%q: got %q", text, got)
		}
		last := len(f.lines) - 1
		f.insert(last, "new")
		if got := string(f.content()); !strings.Contains(got, "new") || strings.HasSuffix(got, "\n") != strings.HasSuffix(text, "\n") {
			t.Errorf("%q: inserted: %q", text, got)
		}
		f.remove(last + 1)
		if got := f.content(); !bytes.Equal(got, []byte(text)) {
			t.Errorf("%q: inserted and removed: %q", text, got)
		}
		was := f.text(0)
		f.replace(0, "changed")
		f.replace(0, was)
		if got := string(f.content()); got != text {
			t.Errorf("%q: replaced: %q", text, got)
		}
	}
}

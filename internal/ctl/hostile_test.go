package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/crashdir"
)

// fill sets every string in v to s, every number to n, every time to at and every
// list to so many of that.
func fill(v reflect.Value, s string, n float64, at time.Time, entries int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Float64:
		v.SetFloat(n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), entries, entries))
		for i := range entries {
			fill(v.Index(i), s, n, at, entries)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(at))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), s, n, at, entries)
		}
	}
}

// filled returns a report that can be read, but has something else in every field.
func filled(s string, n float64, at time.Time, entries int) string {
	r := new(crashdir.Report)
	fill(reflect.ValueOf(r).Elem(), s, n, at, entries)
	r.Version, r.Outcome = crashdir.ReportVersion, crashdir.DmesgOnly
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// hostileReports are contents that somebody could have put into a report.json.
func hostileReports() map[string]string {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	begin := `{"version":1,"outcome":"failed",`
	return map[string]string{
		"empty":          "",
		"null":           "null",
		"zeros":          strings.Repeat("\x00", 1<<16),
		"huge":           begin + `"host":"` + strings.Repeat("x", 2<<20) + `"}`,
		"nearly huge":    begin + `"panic":{"line":"` + strings.Repeat("x", 1<<20-100) + `"}}`,
		"deep":           strings.Repeat("[", 1<<20-10),
		"deep inside":    begin + `"panic":{"trace":` + strings.Repeat("[", 1<<19),
		"long number":    `{"version":1` + strings.Repeat("0", 1<<19) + `}`,
		"long name":      `{"version":1,"outcome":"` + strings.Repeat("\x1b[2J", 1<<16) + `"}`,
		"many steps":     begin + `"steps":[{}` + strings.Repeat(",{}", 340_000) + `]}`,
		"many attempts":  begin + `"attempts":[{}` + strings.Repeat(",{}", 340_000) + `]}`,
		"many errors":    begin + `"errors":[""` + strings.Repeat(`,""`, 340_000) + `]}`,
		"full":           filled(strings.Repeat("y", 100), 1, at, 400),
		"escapes":        filled(evil, 1, at, 3),
		"newlines":       filled("a\nb\r\nc\x85d\u2028e\vf\fg", 1, at, 3),
		"tabs":           filled("a\tb\t\tc", 1, at, 3),
		"bidi":           filled("\u202e\u2066\u200f\u061cabc\u2069", 1, at, 3),
		"paths":          filled("../../../../../../etc/passwd", 1, at, 3),
		"own path":       filled("/var/crash/../../secret", 1, at, 3),
		"invalid UTF-8":  strings.ReplaceAll(filled("INVALID", 1, at, 3), "INVALID", "\xff\xfe\xc3(\xed\xa0\x80"),
		"lone surrogate": strings.ReplaceAll(filled("LONE", 1, at, 3), "LONE", `\ud800`),
		"wide":           filled(strings.Repeat("容", 3000), 1, at, 3),
		"combining":      filled("a"+strings.Repeat("\u0301", 3000), 1, at, 3),
		"formats":        filled("%s%n%x%!(EXTRA)%9999999d", 1, at, 3),
		"negative":       filled("x", -1e18, at, 3),
		"large":          filled("x", 9e18, at, 3),
		"not integral":   strings.ReplaceAll(filled("x", 4711, at, 3), "4711", "1e308"),
		"year 9999":      filled("x", 1, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), 3),
		"year 0":         filled("x", 1, time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), 3),
		"year 12026":     strings.ReplaceAll(filled("x", 1, at, 3), "2026-11", "12026-11"),
	}
}

// Whatever lies in a dump's directory: kdumpctl ends, prints no more than a person
// can read and nothing that a terminal obeys, needs bounded memory and touches
// nothing else.
func TestHostileDumps(t *testing.T) {
	m := newMachine(t)
	m.boot(1)
	j := newJournald(t, m)
	m.announce(j)
	m.Write("secret", "secret")
	m.Write("outside/2026-11-22T00-00-00Z/vmcore", "a dump elsewhere")
	before := strings.Join(buildtest.Snapshot(t, m.Root), "\n")

	n := 0
	next := func() string {
		n++
		return "var/crash/" + time.Date(2026, 11, 22, 0, 0, n, 0, time.UTC).Format(crashdir.TimeLayout)
	}
	for name, report := range hostileReports() {
		dir := next()
		m.Write(dir+"/report.json", report)
		t.Run("report "+name, func(t *testing.T) {
			m.survives(t, filepath.Base(dir), utf8.ValidString(report) && name != "lone surrogate")
		})
	}
	make := func(path string, how func(path string) error) {
		path = filepath.Join(m.Root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := how(path); err != nil && !errors.Is(err, syscall.EPERM) { // device nodes are root's
			t.Fatal(err)
		}
	}
	for what, how := range map[string]func(path string) error{
		"FIFO":           func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"device":         func(p string) error { return syscall.Mknod(p, syscall.S_IFCHR|0o600, 1<<8|5) }, // null(4): zero
		"directory":      func(p string) error { return os.MkdirAll(p+"/x", 0o700) },
		"link to zero":   func(p string) error { return os.Symlink("/dev/zero", p) },
		"link to secret": func(p string) error { return os.Symlink(m.Root+"/secret", p) },
		"link to itself": func(p string) error { return os.Symlink(p, p) },
		"link upwards":   func(p string) error { return os.Symlink("../..", p) },
	} {
		for _, file := range []string{"report.json", "vmcore", "vmcore-incomplete", "vmcore-dmesg.txt"} {
			dir := next()
			make(dir+"/"+file, how)
			t.Run(what+" for "+file, func(t *testing.T) { m.survives(t, filepath.Base(dir), true) })
		}
		make(next(), how) // in the place of the dump
	}
	for _, name := range []string{evil, "..", "...", "-rf", strings.Repeat("x", 255), "2026-11-22T00-00-00Z-01", "2026-11-22T00-00-00Z-2\n", "2026-99-99T00-00-00Z", "2026-11-22T00-00-00Z-99999999999999999999"} {
		if name != ".." {
			make("var/crash/"+name, func(p string) error { return os.Mkdir(p, 0o700) })
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		core := []byte(kdump(false))
		for range 1 << (i % 10) {
			core[random.IntN(8192)] = byte(random.Uint32())
		}
		copy(core, "KDUMP   ")
		dir := next()
		m.Write(dir+"/vmcore", string(core))
		t.Run(fmt.Sprint("vmcore ", i), func(t *testing.T) { m.survives(t, filepath.Base(dir), true) })
	}
	t.Run("all", func(t *testing.T) {
		for line := range strings.Lines(m.limited(t, "list", 64<<10)) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > pipeWidth {
				t.Errorf("list prints a line of %d characters", n)
			}
		}
		m.limited(t, "list --json", 64<<20)
		if got := len(m.announce(j)); got < n/2 || got > n {
			t.Errorf("%d of %d were announced", got, n)
		}
		m.limited(t, "status", 4<<10)
		m.limited(t, "status --json", 8<<20)
	})

	// All that can be listed can be removed, and nothing else goes.
	m.t = t
	ents, err := os.ReadDir(m.Root + "/var/crash")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ents {
		if r := m.kdumpctl("rm ROOT/var/crash/" + e.Name()); r.status == 0 {
			harmless(t, "rm", r.stdout)
		} else if _, _, ok := crashdir.ParseName(e.Name()); ok && e.IsDir() {
			t.Errorf("rm %s: %+v", e.Name(), r)
		}
	}
	m.expect("list", result{0, "No dumps in ROOT/var/crash.\n", ""})
	for _, name := range []string{"var/crash", "var/lib/ukdump/announced.json"} {
		if err := os.RemoveAll(filepath.Join(m.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	m.announce(j) // writes the state of before
	if after := strings.Join(buildtest.Snapshot(t, m.Root), "\n"); after != before {
		t.Errorf("something else was changed: before\n%s\nafter\n%s", before, after)
	}
}

// survives shows the dump with that name. exact is whether JSON keeps all.
func (m *machine) survives(t *testing.T, name string, exact bool) {
	t.Helper()
	m.limited(t, "info ROOT/var/crash/"+name, 512<<10)
	out := m.limited(t, "info --json ROOT/var/crash/"+name, 8<<20)
	var d dumpJSON
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Errorf("info --json %s: %v", name, err)
	}
	if d.Report == nil || !exact {
		return
	}
	want, err := crashdir.ParseReport([]byte(m.Read("var/crash/" + name + "/report.json")))
	if err != nil || !reflect.DeepEqual(d.Report, want) {
		t.Errorf("--json does not keep all: %v", err)
	}
}

// limited runs kdumpctl, which must print something of at most limit bytes, and
// return soon.
func (m *machine) limited(t *testing.T, line string, limit int) string {
	t.Helper()
	m.t = t
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan result, 1)
	go func() { done <- m.kdumpctl(line) }()
	var r result
	select {
	case r = <-done:
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s hangs", line)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<30 {
		t.Errorf("%s allocates %d MiB", line, used>>20)
	}
	harmless(t, line, r.stdout+r.stderr)
	if len(r.stdout) > limit || len(r.stderr) > 4<<10 || len(r.stdout)+len(r.stderr) == 0 {
		t.Errorf("%s prints %d and %d bytes", line, len(r.stdout), len(r.stderr))
	}
	return r.stdout
}

func TestListDir(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Write("file", "")
	m.expect("list", result{0, "No dumps in ROOT/var/crash.\n", ""})
	m.expect("list --json", result{0, "[]\n", ""})
	for _, verb := range []string{"list", "list --json", "info", "info 2026", "rm 2026"} {
		m.expect(verb+" --dir ROOT/typo", result{1, "", "kdumpctl: stat ROOT/typo: no such file or directory\n"})
		m.expect(verb+" --dir ROOT/file", result{1, "", "kdumpctl: open ROOT/file: not a directory\n"})
	}
}

// The directory of imported dumps is used only if it is nobody else's.
func TestPlantedImported(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	imported := m.Root + "/var/crash/imported"
	m.Write("var/crash/imported/2026-11-22T01-00-00Z/report.json", captureReport(func(*crashdir.Report) {}))
	m.Write("away/2026-11-23T01-00-00Z/report.json", captureReport(func(*crashdir.Report) {}))
	m.Write("vmcore", "x")
	if err := os.Chown(imported, 4242, 4242); err != nil {
		t.Skip(err)
	}
	check := func() {
		t.Helper()
		const who = "ROOT/var/crash/imported belongs to user 4242: not a dump made by ukdump\n"
		m.expect("list", result{0, "No dumps in ROOT/var/crash.\n", "kdumpctl: warning: left out: " + who})
		m.expect("import ROOT/vmcore", result{1, "", "kdumpctl: import: " + who + "kdumpctl: Remove it, or give --dir.\n"})
	}
	check()
	if err := errors.Join(os.RemoveAll(imported), os.Symlink("../../away", imported), os.Lchown(imported, 4242, 4242)); err != nil {
		t.Fatal(err)
	}
	check()
}

// A directory that another user has planted is no dump for anyone.
func TestPlanted(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot(1)
	m.expect("announce", result{0, "", ""})
	const name = "2026-11-22T01-00-00Z"
	m.Write("var/crash/"+name+"/report.json", captureReport(func(*crashdir.Report) {}))
	if err := os.Chmod(m.Root+"/var/crash", 0o777|os.ModeSticky|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(m.Root+"/var/crash/"+name, 4242, 4242); err != nil {
		t.Skip(err)
	}
	const leftOut = "left out: ROOT/var/crash/" + name + " belongs to user 4242: not a dump made by ukdump\n"
	m.expect("list", result{0, "No dumps in ROOT/var/crash.\n", "kdumpctl: warning: " + leftOut})
	m.expect("list --json", result{0, "[]\n", "kdumpctl: warning: " + leftOut})
	if r := m.kdumpctl("status"); !strings.Contains(r.stdout, "\ndumps           none\n                "+leftOut) {
		t.Errorf("status: %+v", r)
	}
	if r := m.kdumpctl("status --json"); !strings.Contains(r.stdout, `"dumps_left_out": 1`) {
		t.Errorf("status --json: %+v", r)
	}
	m.expect("announce", result{0, "", ""})
	m.expect("rm 2026", result{1, "", "kdumpctl: dump 2026: not found in ROOT/var/crash\nkdumpctl: kdumpctl list shows all dumps.\n"})
	m.expect("rm ROOT/var/crash/"+name, result{1, "", "kdumpctl: ROOT/var/crash/" + name + " belongs to user 4242: not a dump made by ukdump\n"})
	if r := m.kdumpctl("info ROOT/var/crash/" + name); r.status != 0 {
		t.Errorf("info of a path: %+v", r)
	}
}

// A FIFO without a writer in place of a vmcore is refused at once. The verbs that take no file
// name those that do.
func TestFIFO(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if err := syscall.Mkfifo(m.Root+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := "kdumpctl: ROOT/fifo: a pipe or socket, not a file\nkdumpctl: Save the vmcore to a file first.\n"
	noDump := "kdumpctl: ROOT/fifo is not the directory of a dump\nkdumpctl: kdumpctl report and kdumpctl log read a vmcore, and kdumpctl import takes it in as a dump.\n"
	for verb, want := range map[string]string{
		"report": pipe,
		"log":    pipe,
		"debug":  pipe,
		"import": "kdumpctl: open ROOT/fifo: not a regular file\n",
		"info":   noDump,
		"export": noDump,
	} {
		m.expect(verb+" ROOT/fifo", result{1, "", want})
	}
}

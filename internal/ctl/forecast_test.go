package ctl

import (
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/kexec"
)

// sample is what makedumpfile of a Debian release said about its own kernel.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/mem-usage/debian-" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Both programs warn that they do not support the kernel; only one is right.
func TestForecast(t *testing.T) {
	const (
		release = "6.1.0-50-amd64"
		meminfo = "MemTotal: 1900000 kB\nMemFree:  1700000 kB\nBuffers: 100 kB\nCached: 7000 kB\nSwapCached: 0 kB\nAnonPages: 700 kB\n"
	)
	bookworm := string(sample(t, "bookworm"))
	m := newMachine(t)
	for _, tt := range []struct {
		name     string
		out      string
		err      error
		level    int
		lockdown string
		bytes    int64
		problem  string
	}{
		{"understood", bookworm, nil, 31, "[none] integrity confidentiality", 37590*(4096+24) + 471976/8*2 + 1<<20, ""},
		{"keeps what processes have", bookworm, nil, 31 - 8, "", (37590+165)*(4096+24) + 471976/8*2 + 1<<20, ""},
		{"keeps private cache", bookworm, nil, 31 - 4, "", (37590+251)*(4096+24) + 471976/8*2 + 1<<20, ""},
		{"level 4 leaves all cache out", bookworm, nil, 31 - 2, "", 37590*(4096+24) + 471976/8*2 + 1<<20, ""},
		{"only zeros", bookworm, nil, 1, "", (471976-6559)*(4096+24) + 471976/8*2 + 1<<20, ""},
		{"everything", bookworm, nil, 0, "", 471976*(4096+24) + 471976/8*2 + 1<<20, ""},
		{"more free pages than the kernel", strings.Replace(bookworm, "FREE\t\t425844", "FREE\t\t425844", 1), nil, 31, "free", 0, "makedumpfile does not understand this kernel: it finds 1663 MiB that are free, the kernel itself 97 MiB"},
		{"no pages of the kernel", strings.Replace(bookworm, "KERN_DATA\t37590", "KERN_DATA\t0", 1), nil, 31, "", 0, "makedumpfile does not understand this kernel: it finds no pages of the kernel"},
		{"more than there are", strings.Replace(bookworm, "FREE\t\t425844", "FREE\t\t425845", 1), nil, 31, "", 0, "makedumpfile does not understand this kernel: it finds 471977 pages of 471976"},
		{"below zero", strings.Replace(bookworm, "KERN_DATA\t37590", "KERN_DATA\t18446744073709551615", 1), nil, 31, "", 0,
			`makedumpfile does not understand this kernel: it counts "18446744073709551615" of KERN_DATA`},
		{"pages of a strange size", strings.Replace(bookworm, "\t4096", "\t4095", 1), nil, 31, "", 0, "makedumpfile does not understand this kernel: its pages have 4095 bytes"},
		{"no table", "The kernel version is not supported.\n", nil, 31, "", 0, "makedumpfile --mem-usage did not print its table"},
		{"failed", "", errors.New("makedumpfile --mem-usage: exit status 1"), 31, "", 0, "makedumpfile --mem-usage: exit status 1"},
		{"locked down", bookworm, nil, 31, "none integrity [confidentiality]", 0, "the kernel is locked down and hides its memory (lockdown=confidentiality)"},
	} {
		m.Write("sys/kernel/security/lockdown", tt.lockdown+"\n")
		m.Write("proc/meminfo", meminfo)
		if tt.lockdown == "free" {
			m.Write("proc/meminfo", strings.Replace(meminfo, "1700000", "100000", 1))
		}
		c := &ctl{root: m.Root, kexec: kexec.New(m.Root), memUsage: func(program string) ([]byte, error) {
			if program != "/usr/bin/makedumpfile" {
				t.Errorf("asked %s", program)
			}
			return []byte(tt.out), tt.err
		}}
		f := c.forecast(&builder.Build{Makedumpfile: "/usr/bin/makedumpfile", DumpLevel: tt.level})
		if *f != (forecast{Release: release, Bytes: tt.bytes, Problem: tt.problem}) {
			t.Errorf("%s: got %+v, want %d, %q", tt.name, f, tt.bytes, tt.problem)
		}
		if f.Note != "" {
			t.Errorf("%s: %s", tt.name, f.Note)
		}
		if (len(f.words()) > 0) != (tt.bytes > 0) {
			t.Errorf("%s: words %q", tt.name, f.words())
		}
	}
	if f := (&ctl{root: t.TempDir()}).forecast(&builder.Build{}); f != nil {
		t.Errorf("of another machine: %+v", f)
	}
}

// A makedumpfile that finds too little makes larger dumps, but whole ones.
func TestForecastNote(t *testing.T) {
	m := newMachine(t)
	c := &ctl{root: m.Root, kexec: kexec.New(m.Root), memUsage: func(string) ([]byte, error) { return sample(t, "trixie"), nil }}
	for level, want := range map[int]string{31: "makedumpfile finds no pages that are free in this kernel and saves them, too: update it for smaller dumps", 1: ""} {
		f := c.forecast(&builder.Build{DumpLevel: level})
		if f.Note != want || f.Problem != "" || len(f.words()) != 2 {
			t.Errorf("level %d: %+v", level, f)
		}
	}
}

func TestForecastWords(t *testing.T) {
	for _, tt := range []struct {
		f    *forecast
		want string
	}{
		{nil, "a b"},
		{&forecast{Release: "6.1", Problem: "x"}, "a b"},
		{&forecast{Bytes: 1}, "a b"},
		{&forecast{Release: "6.1 init=/bin/sh", Bytes: 1}, "a b"},
		{&forecast{Release: "6.1.0-50-amd64", Bytes: 123456789012}, "ukdump.expect=137438953472 ukdump.known=6.1.0-50-amd64 a b"},
	} {
		if got := tt.f.addTo("a b"); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.f, got, tt.want)
		}
	}
}

func TestRunMemUsage(t *testing.T) {
	if _, err := os.Stat("/proc/kcore"); err != nil {
		if _, err := runMemUsage("/bin/true"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without /proc/kcore: %v", err)
		}
		t.Skip("this machine has no /proc/kcore")
	}
	program := t.TempDir() + "/makedumpfile"
	script := "#!/bin/sh\necho \"$@\"\nyes | head -c 100000\necho open: denied >&2\necho 'makedumpfile Failed.' >&2\nexit $STATUS\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STATUS", "0")
	out, err := runMemUsage(program)
	if err != nil || len(out) != 64<<10 || !strings.HasPrefix(string(out), "--mem-usage /proc/kcore\n") {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
	t.Setenv("STATUS", "1")
	if _, err := runMemUsage(program); err == nil || !strings.HasPrefix(err.Error(), "makedumpfile --mem-usage: exit status 1: ") {
		t.Errorf("got %v", err)
	}
	if _, err := runMemUsage(program + "-none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestComplaint(t *testing.T) {
	for out, want := range map[string]string{
		"":                       "",
		"makedumpfile Failed.\n": "",
		// What is not for a terminal comes late.
		"get_machdep_info_arm64: Can't determine platform config values\n\nmakedumpfile Failed.\nThe kernel version is not supported.\nThe makedumpfile operation may be incomplete.\n": ": get_machdep_info_arm64: Can't determine platform config values",
		"a\nopen_dump_memory: Can't open the dump memory(/proc/kcore). Operation not permitted\n\nmakedumpfile Failed.\n":                                                               ": open_dump_memory: Can't open the dump memory(/proc/kcore). Operation not permitted",
	} {
		if got := complaint([]byte(out)); got != want {
			t.Errorf("%q: got %q", out, got)
		}
	}
}

func FuzzParseMemUsage(f *testing.F) {
	f.Add(sample(f, "bookworm"))
	f.Add(sample(f, "trixie"))
	f.Add([]byte("ZERO\t\t1 \nUSER\tx\npage size:\t65536"))
	f.Fuzz(func(t *testing.T, out []byte) {
		u, err := parseMemUsage(out)
		if err != nil || u.check("") != nil {
			return
		}
		all := u.dump(0)
		for level := range 32 {
			if n := u.dump(level); n <= 0 || n > all {
				t.Errorf("level %d: %d of %d bytes of %+v", level, n, all, u)
			}
		}
		if all < u.total*u.pageSize || all == math.MaxInt64 {
			t.Errorf("%d bytes of %+v", all, u)
		}
	})
}

// setForecast makes what is loaded have been loaded with a forecast.
func (m *machine) setForecast(f *forecast) {
	m.t.Helper()
	c := &ctl{root: m.Root}
	l := c.readLoaded()
	if l == nil {
		m.t.Fatal("nothing is loaded")
	}
	l.Forecast, l.Cmdline = f, f.addTo(l.Cmdline)
	m.rewrite("var/lib/ukdump/loaded.json")
	if err := c.saveLoaded(l); err != nil {
		m.t.Fatal(err)
	}
}

func TestStatusForecast(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if got := m.kdumpctl("load"); got.status != 0 {
		t.Fatalf("got %+v", got)
	}
	swap := func(m *machine) {
		m.AddSwap()
		m.rewrite(image)
		m.rewrite("var/lib/ukdump/loaded.json")
		m.kdumpctl("load")
	}
	const release = buildtest.Release
	for _, tt := range []struct {
		name   string
		change func(m *machine)
	}{
		{"forecast", func(m *machine) { m.setForecast(&forecast{Release: release, Bytes: 4 << 10}) }},
		{"forecast-too-large", func(m *machine) { m.setForecast(&forecast{Release: release, Bytes: 1 << 60}) }},
		{"forecast-unknown", func(m *machine) {
			m.setForecast(&forecast{Release: release, Problem: "the kernel is locked down\x1b[2J"})
		}},
		{"swap-partition", func(m *machine) { swap(m); m.setForecast(&forecast{Release: release, Bytes: 1 << 60}) }},
		{"only-raw", func(m *machine) {
			m.Write("etc/ukdump.conf", "TARGET=raw:swap\n")
			swap(m)
			m.setForecast(&forecast{Release: release, Bytes: 100 << 20})
		}},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			tt.change(m)
			buildtest.Golden(t, "status-"+tt.name+".txt", m.status(0))
		})
	}
}

// What the words of a loaded forecast say is not taken for a change.
func TestForecastIsNoChange(t *testing.T) {
	m := newMachine(t)
	if got := m.kdumpctl("load"); got.status != 0 {
		t.Fatalf("got %+v", got)
	}
	m.setForecast(&forecast{Release: "6.1", Bytes: 1})
	if got := string(m.status(0)); !slices.Contains(strings.Split(got, "\n"), "missing         nothing") {
		t.Errorf("got %s", got)
	}
}

// The forecast takes a while: where nothing is loaded yet, the capture kernel is
// loaded without it first, unless loads are limited or it has nothing to add.
func TestLoadBeforeForecast(t *testing.T) {
	t.Parallel()
	const (
		understood = "ZERO\t1\nNON_PRI_CACHE\t1\nPRI_CACHE\t1\nUSER\t1\nFREE\t1\nKERN_DATA\t1\npage size:\t4096\nTotal pages on system:\t9\n"
		limit      = "proc/sys/kernel/kexec_load_limit_panic"
	)
	m := newMachine(t)
	for _, tt := range []struct {
		name, out string
		limit     string
		loaded    bool
		before    int // loads when it was asked for
		loads     int
		words     bool // it is what was loaded last
	}{
		{"first load", understood, "-1", false, 1, 2, true},
		{"not understood", "", "-1", false, 1, 1, false},
		{"loaded already", understood, "-1", true, 0, 1, true},
		{"loaded already, not understood", "", "-1", true, 0, 1, false},
		{"one load left", understood, "1", false, 0, 1, true},
		{"two loads left", understood, "2", false, 0, 1, true},
		{"three loads left", understood, "3", false, 1, 2, true},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			m.calls = nil
			m.Write(limit, tt.limit+"\n")
			if tt.loaded {
				m.Write("sys/kernel/kexec_crash_loaded", "1\n")
			} else {
				m.Write("sys/kernel/kexec_crash_loaded", "0\n")
			}
			c := m.ctl()
			before := -1
			c.memUsage = func(string) ([]byte, error) {
				before = len(m.calls)
				return []byte(tt.out), nil
			}
			c.Args = []string{"load"}
			if status := c.End(c.run()); status != 0 || before != tt.before || len(m.calls) != tt.loads {
				t.Fatalf("status %d, %d loads before the forecast, loads %q", status, before, m.calls)
			}
			last := m.calls[len(m.calls)-1]
			l := c.readLoaded()
			good, _, _, err := c.readLastGood()
			if err != nil || l == nil || l.Cmdline != last || good.Cmdline != last || strings.Contains(last, "ukdump.known=") != tt.words {
				t.Errorf("loaded %q; remembered %+v and %+v, %v", last, l, good, err)
			}
			if l != nil && (l.Forecast == nil || (l.Forecast.Problem == "") != tt.words) {
				t.Errorf("forecast %+v", l.Forecast)
			}
		})
	}
}

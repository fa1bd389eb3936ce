package load

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"ukdump/internal/builder"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/kexec"
	"ukdump/internal/state"
)

// sample is what makedumpfile of a Debian release said about its own kernel.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../ctl/testdata/mem-usage/debian-" + name + ".txt")
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
	m := buildtest.New(t)
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
		ld := &Loader{Root: m.Root, Store: state.Store{Root: m.Root}, Slot: kexec.New(m.Root), MemUsage: func(program string) ([]byte, error) {
			if program != "/usr/bin/makedumpfile" {
				t.Errorf("asked %s", program)
			}
			return []byte(tt.out), tt.err
		}}
		f := ld.forecast(&builder.Build{Makedumpfile: "/usr/bin/makedumpfile", DumpLevel: tt.level})
		if *f != (state.Forecast{Release: release, Bytes: tt.bytes, Problem: tt.problem}) {
			t.Errorf("%s: got %+v, want %d, %q", tt.name, f, tt.bytes, tt.problem)
		}
		if f.Note != "" {
			t.Errorf("%s: %s", tt.name, f.Note)
		}
		if (len(f.Words()) > 0) != (tt.bytes > 0) {
			t.Errorf("%s: words %q", tt.name, f.Words())
		}
	}
	if f := (&Loader{Root: t.TempDir()}).forecast(&builder.Build{}); f != nil {
		t.Errorf("of another machine: %+v", f)
	}
}

// A makedumpfile that finds too little makes larger dumps, but whole ones.
func TestForecastNote(t *testing.T) {
	m := buildtest.New(t)
	ld := &Loader{Root: m.Root, Store: state.Store{Root: m.Root}, Slot: kexec.New(m.Root), MemUsage: func(string) ([]byte, error) { return sample(t, "trixie"), nil }}
	for level, want := range map[int]string{31: "makedumpfile finds no pages that are free in this kernel and saves them, too: update it for smaller dumps", 1: ""} {
		f := ld.forecast(&builder.Build{DumpLevel: level})
		if f.Note != want || f.Problem != "" || len(f.Words()) != 2 {
			t.Errorf("level %d: %+v", level, f)
		}
	}
}

func TestRunMemUsage(t *testing.T) {
	if _, err := os.Stat("/proc/kcore"); err != nil {
		if _, err := RunMemUsage("/bin/true"); !errors.Is(err, os.ErrNotExist) {
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
	out, err := RunMemUsage(program)
	if err != nil || len(out) != 64<<10 || !strings.HasPrefix(string(out), "--mem-usage /proc/kcore\n") {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
	t.Setenv("STATUS", "1")
	if _, err := RunMemUsage(program); err == nil || !strings.HasPrefix(err.Error(), "makedumpfile --mem-usage: exit status 1: ") {
		t.Errorf("got %v", err)
	}
	if _, err := RunMemUsage(program + "-none"); !errors.Is(err, os.ErrNotExist) {
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

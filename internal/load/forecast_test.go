package load

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/kexec"
	"ukdump/internal/makedumpfile/memusage"
	"ukdump/internal/state"
)

// Both programs warn that they do not support the kernel; only one is right.
func TestForecast(t *testing.T) {
	const (
		release = "6.1.0-50-amd64"
		meminfo = "MemTotal: 1900000 kB\nMemFree:  1700000 kB\nBuffers: 100 kB\nCached: 7000 kB\nSwapCached: 0 kB\nAnonPages: 700 kB\n"
	)
	bookworm := string(buildtest.MemUsage(t, "bookworm"))
	m := buildtest.New(t)
	for _, tt := range []struct {
		name     string
		out      string
		err      error
		level    int
		lockdown string
		bytes    int64
		problem  string
		verdict  state.Verdict
	}{
		{"understood", bookworm, nil, 31, "[none] integrity confidentiality", 37590*(4096+24) + 471976/8*2 + 1<<20, "", state.Understood},
		{"keeps what processes have", bookworm, nil, 31 - 8, "", (37590+165)*(4096+24) + 471976/8*2 + 1<<20, "", state.Understood},
		{"keeps private cache", bookworm, nil, 31 - 4, "", (37590+251)*(4096+24) + 471976/8*2 + 1<<20, "", state.Understood},
		{"level 4 leaves all cache out", bookworm, nil, 31 - 2, "", 37590*(4096+24) + 471976/8*2 + 1<<20, "", state.Understood},
		{"only zeros", bookworm, nil, 1, "", (471976-6559)*(4096+24) + 471976/8*2 + 1<<20, "", state.Understood},
		{"everything", bookworm, nil, 0, "", 471976*(4096+24) + 471976/8*2 + 1<<20, "", state.Understood},
		{"more free pages than the kernel", strings.Replace(bookworm, "FREE\t\t425844", "FREE\t\t425844", 1), nil, 31, "free", 0, "makedumpfile does not understand this kernel: it finds 1663 MiB that are free, the kernel itself 97 MiB", state.Misread},
		{"no pages of the kernel", strings.Replace(bookworm, "KERN_DATA\t37590", "KERN_DATA\t0", 1), nil, 31, "", 0, "makedumpfile does not understand this kernel: it finds no pages of the kernel", state.Misread},
		{"more than there are", strings.Replace(bookworm, "FREE\t\t425844", "FREE\t\t425845", 1), nil, 31, "", 0, "makedumpfile does not understand this kernel: it finds 471977 pages of 471976", state.Misread},
		{"below zero", strings.Replace(bookworm, "KERN_DATA\t37590", "KERN_DATA\t18446744073709551615", 1), nil, 31, "", 0,
			`makedumpfile does not understand this kernel: it counts "18446744073709551615" of KERN_DATA`, state.Misread},
		{"pages of a strange size", strings.Replace(bookworm, "\t4096", "\t4095", 1), nil, 31, "", 0, "makedumpfile does not understand this kernel: its pages have 4095 bytes", state.Misread},
		{"no table", "The kernel version is not supported.\n", nil, 31, "", 0, "makedumpfile --mem-usage did not print its table", state.Untried},
		{"failed", "", errors.New("makedumpfile --mem-usage: exit status 1"), 31, "", 0, "makedumpfile --mem-usage: exit status 1", state.Untried},
		{"late", "", fmt.Errorf("%w: 30 seconds", memusage.ErrLate), 31, "", 0, "makedumpfile --mem-usage did not end in time: 30 seconds", state.Untried},
		{"locked down", bookworm, nil, 31, "none integrity [confidentiality]", 0, "the kernel is locked down and hides its memory (lockdown=confidentiality)", state.Untried},
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
		f := ld.ForecastWith(TryLimit, tt.level, "/usr/bin/makedumpfile")
		if *f != (state.Forecast{Release: release, Verdict: tt.verdict, Bytes: tt.bytes, Problem: tt.problem, Late: errors.Is(tt.err, memusage.ErrLate)}) {
			t.Errorf("%s: got %+v, want %d, %q", tt.name, f, tt.bytes, tt.problem)
		}
		if f.Note != "" {
			t.Errorf("%s: %s", tt.name, f.Note)
		}
		if (len(f.Words()) > 0) != (tt.verdict != state.Untried) {
			t.Errorf("%s: words %q", tt.name, f.Words())
		}
	}
}

// A makedumpfile that finds too little makes larger dumps, but whole ones.
func TestForecastNote(t *testing.T) {
	m := buildtest.New(t)
	ld := &Loader{Root: m.Root, Store: state.Store{Root: m.Root}, Slot: kexec.New(m.Root), MemUsage: func(string) ([]byte, error) { return buildtest.MemUsage(t, "trixie"), nil }}
	for level, want := range map[int]string{31: "makedumpfile finds no pages that are free in this kernel and saves them, too: update makedumpfile for smaller dumps", 1: ""} {
		f := ld.ForecastWith(TryLimit, level, "/usr/bin/makedumpfile")
		if f.Note != want || f.Problem != "" || len(f.Words()) != 2 {
			t.Errorf("level %d: %+v", level, f)
		}
	}
}

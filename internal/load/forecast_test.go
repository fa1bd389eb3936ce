package load

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// kcore is a /proc/kcore of arm64 with nothing but this VMCOREINFO.
func kcore(t *testing.T, info string) string {
	t.Helper()
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	const name = "VMCOREINFO\x00\x00"
	size := uint64(12 + len(name) + len(info))
	put(elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_AARCH64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1})
	put(elf.Prog64{Type: uint32(elf.PT_NOTE), Off: 64 + 56, Filesz: size, Memsz: size})
	put([]uint32{11, uint32(len(info)), 0})
	b.WriteString(name + info)
	return b.String()
}

// makedumpfile cannot count the pages of an arm64 kernel that was built for more bits than
// the processor has, but reads its memory if it is told the right ones.
func TestForecastCorrected(t *testing.T) {
	const info = "OSRELEASE=6.12\nPAGESIZE=4096\nNUMBER(VA_BITS)=52\nNUMBER(TCR_EL1_T1SZ)=0x10\nSYMBOL(_stext)=ffff800080010000\n"
	const reads = `while [ $# -gt 1 ]; do if [ "$1" = -i ]; then grep -q 'VA_BITS)=48' "$2" || exit 9; fi; shift; done; `
	m := buildtest.New(t)
	problem := "makedumpfile cannot count the pages of a kernel that was built for 52-bit addresses"
	failed := "makedumpfile --mem-usage: exit status 1: Can't determine platform config values"
	// One that counts does not need the correction, and what it counts wrongly stays a problem.
	misread := strings.Replace(string(buildtest.MemUsage(t, "bookworm")), "KERN_DATA\t37590", "KERN_DATA\t0", 1)
	for _, tt := range []struct {
		name, info, script, problem string
		corrected                   bool
	}{
		{"reads with the right bits", info, reads + `echo log >"$1"`, problem, true},
		{"does not read", info, "exit 1", failed, false},
		{"finds no log", info, reads + `: >"$1"`, failed, false},
		{"writes nothing", info, "exit 0", failed, false},
		{"all bits are used", strings.Replace(info, "0x10", "0xc", 1), reads + `echo log >"$1"`, failed, false},
		{"no VMCOREINFO", "", reads + `echo log >"$1"`, failed, false},
	} {
		m.Write("proc/kcore", kcore(t, tt.info))
		program := filepath.Join(t.TempDir(), "makedumpfile")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		ld := &Loader{Root: m.Root, Store: state.Store{Root: m.Root}, Slot: kexec.New(m.Root),
			MemUsage: func(string) ([]byte, error) { return nil, errors.New(failed) }}
		f := ld.ForecastWith(TryLimit, 31, program)
		if f.Corrected != tt.corrected || f.Problem != tt.problem || f.Verdict != state.Untried {
			t.Errorf("%s: %+v", tt.name, f)
		}
		for name, tell := range map[string]func() ([]byte, error){
			"misread": func() ([]byte, error) { return []byte(misread), nil },
			"late":    func() ([]byte, error) { return nil, memusage.ErrLate },
		} {
			ld.MemUsage = func(string) ([]byte, error) { return tell() }
			if f := ld.ForecastWith(TryLimit, 31, program); f.Corrected || f.Problem == problem {
				t.Errorf("%s, %s: %+v", tt.name, name, f)
			}
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

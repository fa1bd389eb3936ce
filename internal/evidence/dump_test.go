package evidence

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ukdump/internal/crashdir"
)

const (
	oopsLog    = "[    0.000000] Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) (gcc-12)\n[   12.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008\n[   12.000003] Kernel panic - not syncing: Fatal exception\n"
	captureLog = "<13>[    9.000001] kdumpinit: crashed kernel: 5.10.0-1-amd64\n<13>[    9.000005] kdumpinit: | Kernel panic - not syncing: Attempted to kill init!\n"
)

func encoded(t *testing.T, r crashdir.Report) string {
	t.Helper()
	r.Version, r.Outcome = crashdir.ReportVersion, crashdir.Failed
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Whichever file of a dump has the reason of the crash, it is found.
func TestOfDump(t *testing.T) {
	report := encoded(t, crashdir.Report{Kernel: "6.12.1", Panic: crashdir.Panic{Line: "Kernel panic - not syncing: from the report"}})
	silent := encoded(t, crashdir.Report{})
	const cause = "BUG: kernel NULL pointer dereference, address: 0000000000000008"
	for name, tt := range map[string]struct {
		files                map[string]string
		reason, kernel, file string
	}{
		"report":                    {map[string]string{"report.json": report, "vmcore-dmesg.txt": oopsLog}, "Kernel panic - not syncing: from the report", "6.12.1", ""},
		"no report":                 {map[string]string{"vmcore-dmesg.txt": oopsLog, "vmcore": "x"}, cause, "6.1.0-50-amd64", "vmcore-dmesg.txt"},
		"log that is not whole":     {map[string]string{"vmcore-dmesg.txt-incomplete": oopsLog}, cause, "6.1.0-50-amd64", "vmcore-dmesg.txt-incomplete"},
		"report without the reason": {map[string]string{"report.json": silent, "vmcore-dmesg.txt": oopsLog}, cause, "6.1.0-50-amd64", "vmcore-dmesg.txt"},
		"report of another version": {map[string]string{"report.json": `{"version":9}`, "vmcore-dmesg.txt": oopsLog}, cause, "6.1.0-50-amd64", "vmcore-dmesg.txt"},
		"report that is damaged":    {map[string]string{"report.json": report[:50], "vmcore-dmesg.txt": oopsLog}, cause, "6.1.0-50-amd64", "vmcore-dmesg.txt"},
		"report that is not named":  {map[string]string{"report.json-incomplete": report}, "Kernel panic - not syncing: from the report", "6.12.1", "report.json-incomplete"},
		"log of the capture kernel": {map[string]string{"kexec-dmesg.log": captureLog}, "Kernel panic - not syncing: Attempted to kill init!", "5.10.0-1-amd64", "kexec-dmesg.log"},
		"unfinished log of it":      {map[string]string{"kexec-dmesg.log-incomplete": captureLog}, "Kernel panic - not syncing: Attempted to kill init!", "5.10.0-1-amd64", "kexec-dmesg.log-incomplete"},
		"empty log, then another":   {map[string]string{"vmcore-dmesg.txt": "", "kexec-dmesg.log": captureLog}, "Kernel panic - not syncing: Attempted to kill init!", "5.10.0-1-amd64", "kexec-dmesg.log"},
		"long log":                  {map[string]string{"vmcore-dmesg.txt": "[    0.000000] Linux version 6.6.6 (x)\n" + strings.Repeat("[    1.000000] noise\n", 50_000) + oopsLog}, cause, "6.6.6", "vmcore-dmesg.txt"},
		"zeros":                     {map[string]string{"vmcore-dmesg.txt": strings.Repeat("\x00", 1<<20)}, "", "", ""},
		"long release":              {map[string]string{"vmcore-dmesg.txt": "Linux version " + strings.Repeat("x", 100) + " "}, "", "", ""},
		"nothing":                   {nil, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "2026-11-22T00-00-00Z")
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			for file, text := range tt.files {
				if err := os.WriteFile(filepath.Join(path, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d, err := crashdir.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			got := OfDump(&d)
			if got.Panic.Reason() != tt.reason || got.Kernel != tt.kernel || got.File != tt.file || got.Hidden {
				t.Errorf("got %q of %s in %q, hidden: %v\nwant %q of %s in %q", got.Panic.Reason(), got.Kernel, got.File, got.Hidden, tt.reason, tt.kernel, tt.file)
			}
		})
	}
}

// Files that are none do not hold it up.
func TestOfDumpHostile(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"FIFO":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":      func(path string) error { return os.Symlink("/dev/zero", path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"hole": func(path string) error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 1<<40)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "2026-11-22T00-00-00Z")
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{crashdir.Dmesg, crashdir.ReportFile + crashdir.Suffix, crashdir.CaptureLog} {
				if err := plant(filepath.Join(path, file)); err != nil {
					t.Fatal(err)
				}
			}
			d, err := crashdir.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := OfDump(&d); got.Panic.Reason() != "" || got.Hidden {
				t.Errorf("got %+v", got)
			}
		})
	}
}

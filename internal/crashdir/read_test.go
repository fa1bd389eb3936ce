package crashdir

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestOpenFileRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, "/dev/zero", "/dev/null", filepath.Join(dir, "missing")} {
		done := make(chan error, 1)
		go func() {
			f, _, err := OpenFile(path)
			if err == nil {
				f.Close()
			}
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: opened", path)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: hangs", path)
		}
	}
	good := filepath.Join(dir, "good")
	if err := os.WriteFile(good, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, info, err := OpenFile(good)
	if err != nil || info.Size() != 4 {
		t.Fatalf("%v, %v", info, err)
	}
	f.Close()
}

// A number below /proc/sys has several digits and no size, and is there for one read only.
func TestReadFileSysctl(t *testing.T) {
	const path = "/proc/sys/kernel/pid_max"
	want, err := os.ReadFile(path)
	if err != nil {
		t.Skip(err)
	}
	for _, limit := range []int64{int64(len(want)), 4096} {
		if got, err := ReadFile(path, limit); err != nil || string(got) != string(want) {
			t.Errorf("limit %d: %q, %v, want %q", limit, got, err, want)
		}
	}
	if got, err := ReadFile(path, int64(len(want))-1); err == nil {
		t.Errorf("%q is longer than the limit", got)
	}
}

// Why there is no report is told by what is in its place.
func TestReportInItsPlace(t *testing.T) {
	const foreign = " and not a file of ukdump: it is not read"
	for _, c := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"nothing", func(string) error { return nil }, "no report.json: the capture did not finish"},
		{"an empty file", func(path string) error { return os.WriteFile(path, nil, 0o600) }, "report.json is empty: the capture did not finish"},
		{"a symbolic link", func(path string) error { return os.Symlink("/etc/passwd", path) }, "report.json is a symbolic link" + foreign},
		{"a link to nowhere", func(path string) error { return os.Symlink("nowhere", path) }, "report.json is a symbolic link" + foreign},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, "report.json is a directory" + foreign},
		{"a FIFO", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "report.json is a FIFO" + foreign},
		{"a socket", func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0) }, "report.json is a device or socket" + foreign},
	} {
		dir := filepath.Join(t.TempDir(), "2026-11-20T01-00-00Z")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, Vmcore), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.make(filepath.Join(dir, ReportFile)); err != nil {
			t.Fatal(err)
		}
		d, err := Read(dir)
		if err != nil || d.Report != nil || d.ReportErr == nil || d.ReportErr.Error() != c.want || d.Outcome != Complete {
			t.Errorf("%s: got %s, %v, %v, want %s", c.name, d.Outcome, err, d.ReportErr, c.want)
		}
	}
}

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

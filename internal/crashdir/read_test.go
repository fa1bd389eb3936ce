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

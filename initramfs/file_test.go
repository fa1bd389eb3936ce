package initramfs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range list {
		s = append(s, e.Name())
	}
	return strings.Join(s, " ")
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "kdump.img")
	if err := os.WriteFile(name, []byte("the old image"), 0o644); err != nil {
		t.Fatal(err)
	}
	im := sample(t)
	if err := im.WriteFile(name, Zstd); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(pack(t, im, Zstd)) {
		t.Error("the file is not the image")
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	if n := names(t, dir); n != "kdump.img" {
		t.Errorf("directory holds %s", n)
	}
}

func TestWriteFileErrors(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, []byte("the old image"), 0o600); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	for _, tt := range []struct {
		name, file string
		c          Compression
		want       string
	}{
		{"no directory", filepath.Join(dir, "none", "img"), None, "no such file or directory"},
		{"directory is a file", filepath.Join(old, "img"), None, "not a directory"},
		{"target is a directory", sub, None, "not a regular file"},
		{"target is a FIFO", fifo, None, "not a regular file"},
		{"unknown compression", old, "rar", "unknown compression"},
		{"name too long", filepath.Join(dir, strings.Repeat("x", 300)), None, "file name too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := sample(t).WriteFile(tt.file, tt.c)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if n := names(t, dir); n != before {
				t.Errorf("directory holds %s, before %s", n, before)
			}
			if b, _ := os.ReadFile(old); string(b) != "the old image" {
				t.Error("the old image was changed")
			}
		})
	}
}

// A limit on the size of files stands for a full disk: the write fails in the
// middle.
func TestWriteFileFullDisk(t *testing.T) {
	dir := t.TempDir()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4096, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	err := sample(t).WriteFile(filepath.Join(dir, "img"), None)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err == nil || !strings.Contains(err.Error(), "file too large") {
		t.Errorf("got %v", err)
	}
	if n := names(t, dir); n != "" {
		t.Errorf("left behind: %s", n)
	}
}

package ctl

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestNewFile(t *testing.T) {
	t.Parallel()
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	broken := errors.New("broken")
	for _, tt := range []struct {
		name  string
		write func(path string, cancel func()) func(io.Writer) error
		want  string // content of the file, "" for none
		err   error
	}{
		{"whole", func(string, func()) func(io.Writer) error { return text("new") }, "new", nil},
		{"interrupted", func(_ string, cancel func()) func(io.Writer) error {
			return func(w io.Writer) error { text("some")(w); cancel(); return text("more")(w) }
		}, "", errInterrupted},
		{"interrupted at the end", func(_ string, cancel func()) func(io.Writer) error {
			return func(w io.Writer) error { cancel(); return nil }
		}, "", errInterrupted},
		{"failed", func(string, func()) func(io.Writer) error {
			return func(w io.Writer) error { text("some")(w); return broken }
		}, "", broken},
		{"taken meanwhile", func(path string, _ func()) func(io.Writer) error {
			return func(w io.Writer) error { return os.WriteFile(path, []byte("old"), 0o644) }
		}, "old", fs.ErrExist},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.tar.zst")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := newFile(ctx, path, tt.write(path, func() { cancel(errInterrupted) }))
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		b, _ := os.ReadFile(path)
		left, _ := os.ReadDir(dir)
		if string(b) != tt.want || (tt.want == "") != (len(left) == 0) || len(left) > 1 {
			t.Errorf("%s: %q, %d files, want %q", tt.name, b, len(left), tt.want)
		}
	}
}

func TestNewFileTaken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x")
	if err := os.Symlink("nowhere", path); err != nil {
		t.Fatal(err)
	}
	err := newFile(t.Context(), path, func(io.Writer) error { t.Error("it was written"); return nil })
	if want := "write " + path + ": the file exists"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A signal ends the context, and no longer the program.
func TestUntilSignal(t *testing.T) {
	ctx, stop := untilSignal()
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if err := context.Cause(ctx); err != errInterrupted {
		t.Errorf("got %v", err)
	}
}

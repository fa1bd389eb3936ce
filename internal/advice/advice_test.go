package advice_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"ukdump/internal/advice"
	"ukdump/internal/config"
	"ukdump/internal/kexec"
)

func TestFor(t *testing.T) {
	const root = "Run the command as root, for example with sudo."
	for _, tt := range []struct {
		name string
		err  error
		euid int
		want string
	}{
		{"nil", nil, 0, ""},
		{"plain", errors.New("x"), 0, ""},
		{"direct", advice.With(errors.New("x"), "Do it."), 0, "Do it."},
		{"wrapped", fmt.Errorf("a: %w", fmt.Errorf("b: %w", advice.With(errors.New("x"), "Do it."))), 0, "Do it."},
		{"joined", errors.Join(errors.New("x"), advice.With(errors.New("x"), "Do it.")), 0, "Do it."},
		{"outer wins", advice.With(advice.With(errors.New("x"), "Inner."), "Outer."), 0, "Outer."},
		{"outer has none", advice.With(advice.With(errors.New("x"), "Inner."), ""), 0, "Inner."},
		{"more than a line", advice.With(errors.New("x"), "Do it.\nThen\tthat.\n"), 0, "Do it. Then that."},
		{"own before errno", advice.With(syscall.ENOSPC, "Do it."), 0, "Do it."},
		{"kexec", fmt.Errorf("load: %w", &kexec.Error{Cause: kexec.NeedsRoot}), 0, root},
		{"config", &config.Error{File: "f", Line: 1}, 0, "See ukdump.conf(5) for the keys and their values."},
		{"full", &fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}, 0, "Free some space on that file system."},
		{"quota", syscall.EDQUOT, 0, "Free some space on that file system."},
		{"read-only", syscall.EROFS, 0, "Name a file on a file system that can be written."},
		{"permission", &fs.PathError{Op: "open", Path: "f", Err: syscall.EACCES}, 1000, root},
		{"permission of root", &fs.PathError{Op: "open", Path: "f", Err: syscall.EACCES}, 0, ""},
	} {
		defer advice.SetUser(tt.euid)()
		if got := advice.For(tt.err); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{&kexec.Error{}, 1},
		{fmt.Errorf("kdumpctl: %w", &advice.UsageError{Text: "unknown verb"}), 2},
		{fmt.Errorf("status: %w", advice.Answer(3)), 3},
		{advice.Answer(5), 5},
	} {
		if got := advice.Status(tt.err); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.err, got, tt.want)
		}
	}
}

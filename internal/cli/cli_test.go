package cli

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"ukdump/internal/advice"
)

func program() (*Program, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &Program{Name: "prog", Stdout: &out, Stderr: &errs}, &out, &errs
}

// advised is an error with advice.
type advised struct{ error }

func (advised) Advice() string { return "Do \x1b[2J\nthat." }

func TestEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		stderr string
	}{
		{"success", nil, 0, ""},
		{"nothing loaded", fmt.Errorf("status: %w", advice.Answer(3)), 3, ""},
		{"usage", Usage(errors.New("no verb")), 2, "prog: no verb\n"},
		{"error", errors.New("open x: broken"), 1, "prog: open x: broken\n"},
		{"known remedy", fmt.Errorf("write x: %w", syscall.ENOSPC), 1,
			"prog: write x: no space left on device\nprog: Free some space on that file system.\n"},
		{"hostile", fmt.Errorf("dump: %w", advised{errors.New("a\x1b]0;title\x07b\r\nc\u009b31m\u202e")}), 1,
			"prog: dump: a?]0;title?b? c?31m?\nprog: Do ?[2J that.\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, out, errs := program()
			if got := p.End(tt.err); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			if errs.String() != tt.stderr || out.Len() > 0 {
				t.Errorf("stderr %q\nwant   %q\nstdout %q", errs, tt.stderr, out)
			}
		})
	}
}

func TestWarn(t *testing.T) {
	p, _, errs := program()
	p.Warn("one\nline", "\x1bc")
	if want := "prog: warning: one line\nprog: warning: ?c\n"; errs.String() != want {
		t.Errorf("got %q, want %q", errs, want)
	}
}

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"":                        "",
		" Kernel panic \n":        "Kernel panic",
		"a\tb\nc":                 "a b c",
		"\x1b[31mred\x1b[0m":      "?[31mred?[0m",
		"a\x00b\x7fc\u0085d":      "a?b?c?d",
		"\u2028\u2029x":           "x", // white space at the ends
		"x\u2028y":                "x?y",
		"txt\u202eexe.\u2066":     "txt?exe.?", // right to left
		"Größe 容量 →":              "Größe 容量 →",
		"invalid \xff\xc3( UTF-8": "invalid ��( UTF-8",
	} {
		if got := Clean(s); got != want {
			t.Errorf("Clean(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "-1 B", 0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB",
		134217728: "128.0 MiB", 3 << 30: "3.0 GiB", 5 << 40: "5.0 TiB", 1 << 60: "1048576.0 TiB",
		1<<20 - 1: "1.0 MiB", 1<<30 - 1: "1.0 GiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %s, want %s", n, got, want)
		}
	}
}

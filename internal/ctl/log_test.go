package ctl

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"ukdump/internal/vmcore"
)

func TestLogPrinter(t *testing.T) {
	rec := vmcore.Record{Time: 1_500_000_000, Level: 3, Text: []byte("one\n\x1b[2J\u202e\ttwo")}
	start := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, list string
		printer    logPrinter
		want       string
	}{
		{"plain", "", logPrinter{}, "[    1.500000] one\n[    1.500000] \\x1b[2J\\xe2\\x80\\xae\ttwo\n"},
		{"time of day", "", logPrinter{start: start}, "[2026-11-20T00:00:01Z] one\n[2026-11-20T00:00:01Z] \\x1b[2J\\xe2\\x80\\xae\ttwo\n"},
		{"colours", "", logPrinter{colour: true}, "\x1b[32m[    1.500000]\x1b[0m \x1b[31mone\x1b[0m\n\x1b[32m[    1.500000]\x1b[0m \x1b[31m\\x1b[2J\\xe2\\x80\\xae\ttwo\x1b[0m\n"},
		{"another level", "warn,crit", logPrinter{}, ""},
		{"and above", "warn+", logPrinter{}, "[    1.500000] one\n[    1.500000] \\x1b[2J\\xe2\\x80\\xae\ttwo\n"},
	} {
		var b strings.Builder
		tt.printer.w = bufio.NewWriter(&b)
		var err error
		if tt.printer.levels, err = parseLevels(tt.list); err != nil {
			t.Fatal(err)
		}
		tt.printer.print(rec)
		tt.printer.w.Flush()
		if b.String() != tt.want {
			t.Errorf("%s: got %q\nwant %q", tt.name, b.String(), tt.want)
		}
	}
}

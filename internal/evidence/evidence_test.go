package evidence

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
)

// logged returns lines as the kernel logs those of kdumpinit.
func logged(lines []string) []byte {
	var b []byte
	for i, l := range lines {
		b = fmt.Appendf(b, "<13>[    9.%06d] %s%s\n", i, Prefix, l)
	}
	return b
}

// The next boot reads the lines of PID 1.
func TestRoundTrip(t *testing.T) {
	want := Found{
		Kernel: "6.1.0-50-amd64",
		Panic: crashdir.Panic{
			Cause: "BUG: kernel NULL pointer dereference, address: 0000000000000008",
			IP:    "RIP: 0010:bad_function+0x10/0x20 [bad]",
			Trace: []string{"do_init_module+0x4b/0x200", "__do_sys_finit_module+0xac/0x120"},
			Line:  "Kernel panic - not syncing: Fatal exception",
		},
		Errors: []string{"device: ext4 did not appear within 30 s", "| not a quote", "crashed kernel: not a release"},
	}
	log := logged(Lines(&crashdir.Report{Kernel: want.Kernel, Panic: want.Panic, Errors: want.Errors}))
	log = append(log, "<0>[   10.000000] Kernel panic - not syncing: sysrq triggered crash\n"...)
	want.End = "Kernel panic - not syncing: sysrq triggered crash"
	if !FromCapture(log) {
		t.Error("not taken for the log of a capture kernel")
	}
	if got := Parse(log); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The lines are few and short for any report.
func TestLines(t *testing.T) {
	if lines := Lines(&crashdir.Report{}); len(lines) != 0 {
		t.Errorf("an empty report says %q", lines)
	}
	long := strings.Repeat("x", 5000) + "\x1b"
	r := &crashdir.Report{Kernel: "6.1", Panic: crashdir.Panic{Line: "Kernel panic - not syncing: \x1b[2J", Cause: long, IP: long}}
	for range 1000 {
		r.Panic.Trace = append(r.Panic.Trace, long)
		r.Errors = append(r.Errors, long)
	}
	r.Errors = append(r.Errors, "mount: last\nerror")
	text := strings.Join(Lines(r), "\n")
	if n := len(text); n > 8<<10 {
		t.Errorf("%d bytes", n)
	}
	for _, want := range []string{"crashed kernel: 6.1\n", "| Kernel panic - not syncing: ?[2J\n", "error: mount: last?error"} {
		if !strings.Contains(text+"\n", want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.ContainsAny(text, "\x1b") {
		t.Error("control characters")
	}
}

// A program named kdumpinit in the log of another kernel is no capture.
func TestFromCapture(t *testing.T) {
	for log, want := range map[string]bool{
		"<13>[    1.000000] kdumpinit: outcome: failed\n":                 true,
		"kdumpinit: outcome: failed\n":                                    true,
		"<13>kdumpinit: outcome: failed\n":                                true,
		"<4>[   10.000000] CPU: 0 PID: 1 Comm: kdumpinit: x\n":            false,
		"<0>[   10.000000] Kernel panic - not syncing: kdumpinit: x died": false,
		"": false,
	} {
		if got := FromCapture([]byte(log)); got != want {
			t.Errorf("%q: %v", log, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("<13>[    9.000001] kdumpinit: crashed kernel: 6.1\n<11>kdumpinit: |  f+0x1/0x2\nerror: x"))
	f.Fuzz(func(t *testing.T, log []byte) {
		found := Parse(log)
		if len(found.Errors) > parsedErrors || (found.Kernel != "" || len(found.Errors) > 0) && !FromCapture(log) {
			t.Errorf("%q: %+v", log, found)
		}
	})
}

// No text of a report can pass for a line of another kind.
func FuzzRoundTrip(f *testing.F) {
	f.Add("6.1", "error: no", "crashed kernel: 6.2\nkdumpinit: error: x")
	f.Fuzz(func(t *testing.T, kernel, function, failed string) {
		r := &crashdir.Report{Kernel: kernel, Panic: crashdir.Panic{Trace: []string{function}}, Errors: []string{failed}}
		short := func(s string) string { return strings.TrimSpace(Printable(s[:min(len(s), maxLine)])) }
		found := Parse(logged(Lines(r)))
		if found.Kernel != short(kernel) {
			t.Errorf("kernel %q became %q", kernel, found.Kernel)
		}
		if failed != "" && !slices.Equal(found.Errors, []string{short(failed)}) {
			t.Errorf("error %q became %q", failed, found.Errors)
		}
	})
}

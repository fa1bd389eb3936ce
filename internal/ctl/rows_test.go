package ctl

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"ukdump/internal/cli"
)

// The reason is the column that stays, whatever the width and the other columns.
func TestListTable(t *testing.T) {
	const reason = "BUG: kernel NULL pointer dereference, address: 0000000000000000"
	for _, tt := range []struct {
		name, size, outcome, kernel, reason string
		width                               int
		head                                string
	}{
		{"2026-11-22T23-04-05Z", "25.0 KiB", "incomplete", "6.1.0-50-amd64", reason, 120, "DUMP SIZE OUTCOME KERNEL REASON"},
		{"2026-11-22T23-04-05Z", "25.0 KiB", "incomplete", "6.1.0-50-amd64", reason, 80, "DUMP SIZE OUTCOME REASON"},
		{"2026-11-22T23-04-05Z", "1023.9 MiB", "incomplete", "6.1.0-50-amd64", "-", 80, "DUMP SIZE OUTCOME KERNEL REASON"},
		{"2026-11-22T23-04-05Z", "1023.9 MiB", "incomplete", "6.1.0-50-amd64", "sysrq triggered", 80, "DUMP SIZE OUTCOME KERNEL REASON"},
		{"2026-11-22T23-04-05Z-x999999999", "1023.9 MiB", "incomplete", "6.1.0-50-amd64", reason, 80, "DUMP OUTCOME REASON"},
		{"2026-11-22T23-04-05Z", "-", "not known", "-", reason, 40, "DUMP OUTCOME REASON"},
		{"2026-11-22T23-04-05Z", "25.0 KiB", "complete", strings.Repeat("x", 40), reason, 100, "DUMP SIZE OUTCOME REASON"},
		{"2026-11-22T23-04-05Z", "25.0 KiB", "complete", "6.1.0-50-amd64", strings.Repeat("容", 90), 80, "DUMP SIZE OUTCOME REASON"},
	} {
		lines := listTable([][nColumns]string{{tt.name, tt.size, tt.outcome, tt.kernel, tt.reason}}, tt.width)
		if got := strings.Join(strings.Fields(lines[0]), " "); got != tt.head && !strings.HasPrefix(tt.head, strings.TrimSuffix(got, "…")) {
			t.Errorf("%+v: got %s", tt, got)
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > tt.width {
				t.Errorf("%+v: %q is too long", tt, line)
			}
		}
	}
}

func TestRows(t *testing.T) {
	var list rows
	list.add("capture kernel", "loaded: %s", "6.1.0-50-amd64 (/boot/vmlinuz-6.1.0-50-amd64) and more")
	list.add("", "indented")
	list.add("dump", "%s", strings.Repeat("/long", 20))
	for width, want := range map[int]string{
		0: "capture kernel  loaded: 6.1.0-50-amd64 (/boot/vmlinuz-6.1.0-50-amd64) and more\n                indented\ndump            " + strings.Repeat("/long", 20) + "\n",
		50: "capture kernel  loaded: 6.1.0-50-amd64\n                (/boot/vmlinuz-6.1.0-50-amd64) and\n                more\n                indented\n" +
			"dump            " + strings.Repeat("/long", 20) + "\n",
	} {
		var b bytes.Buffer
		if err := list.print(&b, width); err != nil || b.String() != want {
			t.Errorf("width %d: %v, got\n%swant\n%s", width, err, &b, want)
		}
	}
}

// No line of any help is longer than a terminal of 80 columns.
func TestHelpWidth(t *testing.T) {
	m := newMachine(t)
	c := &ctl{Program: &cli.Program{Name: "kdumpctl"}}
	lines := []string{"--help"}
	for _, v := range c.verbs() {
		lines = append(lines, v.Name+" --help")
	}
	for _, line := range lines {
		for out := range strings.Lines(m.kdumpctl(line).stdout) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(out, "\n")); n > 80 {
				t.Errorf("%s: %d characters: %s", line, n, out)
			}
		}
	}
}

// A line of list never continues on the next line of a terminal, where it would look like
// another dump; a trace keeps its indent, but not a page of it.
func TestCut(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		width      int
		want       string
	}{
		{"fits", "abcde", 5, "abcde"},
		{"too long", "abcdef", 5, "abcd…"},
		{"wide letters that fit", "容容", 4, "容容"},
		{"wide letters", "容容容", 5, "容容…"},
		{"a wide letter at the end", "abc容", 4, "abc…"},
		{"Latin letters are narrow", "éüßłő", 5, "éüßłő"},
	} {
		if got := cut(tt.line, tt.width); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := ascii("6.1.0-容\u0301é"); got != "6.1.0-???" {
		t.Errorf("release %q", got)
	}
	if got := cleanLine(strings.Repeat(" ", 5000) + "x"); got != "        x" {
		t.Errorf("indent %q", got)
	}
}

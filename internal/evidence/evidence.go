// Package evidence writes and parses the text by which a capture that saved nothing
// explains itself. kdumpinit logs the text and panics, pstore keeps the end of the log,
// and kdumpctl makes a report from it at the next boot:
//
//	<13>[    9.000001] kdumpinit: crashed kernel: 6.1.0-50-amd64
//	<13>[    9.000002] kdumpinit: | BUG: kernel NULL pointer dereference, address: 0000000000000008
//	<13>[    9.000003] kdumpinit: | RIP: 0010:bad_function+0x10/0x20 [bad]
//	<13>[    9.000004] kdumpinit: |  do_init_module+0x4b/0x200
//	<13>[    9.000005] kdumpinit: | Kernel panic - not syncing: Fatal exception
//	<13>[    9.000006] kdumpinit: error: device: ext4 did not appear within 30 s
//
// PID 1 of the capture kernel links this package, so it imports little.
package evidence

import (
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/crashdir"
	"ukdump/internal/vmcore"
)

// Prefix begins each line of kdumpinit in a kernel log, behind the time stamp.
const Prefix = "kdumpinit: "

// SeverityError is the severity of errors in a kernel log, see syslog(3).
const SeverityError = 3

// The kinds of lines. Only quote is the beginning of another kind: trace.
const (
	release = "crashed kernel: " // release of the crashed kernel
	quote   = "| "               // line of the crashed kernel's log
	trace   = "|  "              // function in the call trace of the crash
	failure = "error: "          // error of the capture
)

// Limits of Lines, in bytes and lines: about 6 KiB in all, which leaves room in
// pstore for the kernel's own messages about the panic.
const (
	maxLine   = 250
	maxTrace  = 12
	maxErrors = 12
)

// Limits of Parse, in entries.
const (
	parsedTrace  = 20
	parsedErrors = 19
)

// Lines returns why the kernel crashed and why nothing was saved. The report
// comes from a worker that may have failed in any way, and its texts from a kernel
// that crashed.
func Lines(r *crashdir.Report) []string {
	var lines []string
	add := func(kind, text string) {
		if text != "" {
			lines = append(lines, kind+Printable(text[:min(len(text), maxLine)]))
		}
	}
	add(release, r.Kernel)
	add(quote, r.Panic.Cause)
	add(quote, r.Panic.IP)
	for _, function := range r.Panic.Trace[:min(len(r.Panic.Trace), maxTrace)] {
		add(trace, function)
	}
	add(quote, r.Panic.Line)
	for _, e := range r.Errors[max(0, len(r.Errors)-maxErrors):] {
		add(failure, e)
	}
	return lines
}

// Printable replaces control characters, which could end a line or control a
// terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// FromCapture reports whether a kernel log is that of a capture kernel.
func FromCapture(log []byte) bool {
	for line := range strings.Lines(string(log)) {
		if _, ok := cutPrefix(line); ok {
			return true
		}
	}
	return false
}

// Found is the content of the log of a capture kernel.
type Found struct {
	Kernel string         // release of the crashed kernel
	Panic  crashdir.Panic // of the crashed kernel
	Errors []string       // of the capture, in order
	End    string         // panic of the capture kernel itself, "" if it did not panic
}

// Parse reads the log of a capture kernel. Its beginning may be missing in pstore.
func Parse(log []byte) Found {
	var found Found
	// kdumpinit quotes the log of the crashed kernel. The other lines are the capture
	// kernel's own.
	var quoted, own strings.Builder
	var functions []string
	for line := range strings.Lines(string(log)) {
		text, ok := cutPrefix(line)
		if !ok {
			own.WriteString(line)
			continue
		}
		quoted.WriteString(strings.TrimPrefix(text, quote))
		if rest, ok := strings.CutPrefix(text, release); ok {
			found.Kernel = strings.TrimSpace(rest)
		} else if rest, ok := strings.CutPrefix(text, failure); ok {
			found.addError(rest)
		} else if severity(line) <= SeverityError {
			found.addError(text)
		} else if rest, ok := strings.CutPrefix(text, trace); ok && len(functions) < parsedTrace {
			functions = append(functions, strings.TrimSpace(rest))
		}
	}
	p := vmcore.FindPanic([]byte(quoted.String()))
	if p.Line == "" {
		p.Line = lastPanic(quoted.String())
	}
	if p.Trace == nil {
		p.Trace = functions
	}
	found.Panic = crashdir.Panic{Line: p.Line, Cause: p.Cause, IP: p.Instruction, Trace: p.Trace}
	found.End = vmcore.FindPanic([]byte(own.String())).Line
	return found
}

// addError adds an error once.
func (f *Found) addError(text string) {
	text = strings.TrimSpace(text)
	if len(f.Errors) < parsedErrors && !slices.Contains(f.Errors, text) {
		f.Errors = append(f.Errors, text)
	}
}

// lastPanic returns the last message of a panic inside any line.
func lastPanic(log string) string {
	i := strings.LastIndex(log, "Kernel panic - not syncing")
	if i < 0 {
		return ""
	}
	line, _, _ := strings.Cut(log[i:], "\n")
	return line
}

// cutPrefix returns the text of a line of kdumpinit, and whether it is such a line. The
// name alone is not enough, as in "Comm: kdumpinit".
func cutPrefix(line string) (text string, ok bool) {
	if _, after, ok := strings.Cut(line, "] "+Prefix); ok {
		return after, true
	}
	if _, after, ok := strings.Cut(line, ">"); ok && strings.HasPrefix(line, "<") {
		line = after // a log without time stamps
	}
	return strings.CutPrefix(line, Prefix)
}

// severity returns the severity of a line that begins with "<N>", a priority of
// syslog(3). Without a priority it is the least severe.
func severity(line string) int {
	const least = 7
	digits, _, ok := strings.Cut(strings.TrimPrefix(line, "<"), ">")
	priority, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return least
	}
	return priority & 7
}

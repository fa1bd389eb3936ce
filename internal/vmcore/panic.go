package vmcore

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Panic is the cause of a crash according to the log. Its texts have no time stamps,
// show control characters as \xNN, and are cut at 500 bytes.
type Panic struct {
	// Line is the last "Kernel panic - not syncing: ..." line. If the kernel started
	// its capture kernel straight from an oops, it is the first line of that oops. It
	// is empty if the log shows no crash.
	Line string
	// Cause is the first line of the BUG, oops or lockup that led to the panic
	// in Line, and empty if there was none.
	Cause string
	// Instruction is the kernel's "RIP: ..." or "pc : ..." line of the cause.
	Instruction string
	// Trace holds the innermost functions, 16 at most, of the call trace that
	// belongs to the cause, or to the panic if that came without one. Entries
	// that the kernel marked as unreliable with "?" are omitted.
	Trace []string
}

const (
	panicPrefix = "Kernel panic - not syncing"
	sysrqCrash  = "Trigger a crash" // "sysrq: " or, before 4.20, "SysRq : " precede it

	maxTrace      = 16
	maxTraceLines = 200 // lines behind the cause that are searched for its trace
	maxLine       = 500

	// Two reports are one incident if no more time passes between them. Printing
	// an oops to a slow serial console takes seconds.
	incidentMicros = 30e6
	incidentLines  = 300 // the same for logs without time stamps
)

// A line that begins with one of causePrefixes or contains one of causeWords
// may be the cause of a crash.
var (
	causePrefixes = []string{
		"BUG: ",
		"kernel BUG at ",
		"Oops",
		"Internal error: ", // arm64
		"Unable to handle kernel ",
		"general protection fault",
		"watchdog: BUG: ",
		"traps: PANIC: ",
		"sysrq: " + sysrqCrash,
		"SysRq : " + sysrqCrash,
	}
	causeWords = []string{
		"hard LOCKUP",
		"BUG: soft lockup",
		" [#", // the oops counter: "divide error: 0000 [#1] SMP"
	}
)

// triggers are reports that are mostly harmless, and the cause only of a panic
// whose text names them.
var triggers = [...]struct{ report, panic string }{
	{"WARNING: ", "panic_on_warn"},
	{"INFO: task ", "hung_task"},
	{"rcu: INFO: ", "RCU Stall"},
	{"INFO: rcu_", "RCU Stall"},
	{"mce: [Hardware Error]: CPU", "achine check"},
}

// FindPanic finds the cause of a crash in a kernel log of WriteLog or dmesg(1). The last
// incident counts: its first BUG or oops is the cause, the panic the consequence. It
// reads the log once, and then some lines behind the cause.
func FindPanic(log []byte) Panic {
	s := scan{incident: none, panic: none, cause: none}
	for i := range s.triggers {
		s.triggers[i] = none
	}
	for off := 0; off < len(log); {
		line := lineAt(log, off)
		s.line(off, line)
		off += len(line) + 1
	}
	var p Panic
	start := s.incident
	switch {
	case s.panic != none && s.cause != none:
		p.Line, p.Cause = textAt(log, s.panic), textAt(log, s.cause)
		if strings.HasSuffix(p.Cause, sysrqCrash) {
			p.Cause = "" // the panic line has it too
		}
		start = s.cause
	case s.panic != none:
		p.Line = textAt(log, s.panic)
		start = s.panic
	case s.incident != none:
		p.Line = textAt(log, s.incident)
	default:
		return p
	}
	p.findTrace(log[start:])
	return p
}

const none = -1

// scan is the state of the pass over the log. Lines are kept as their offsets.
type scan struct {
	lines int

	incident int   // first report of the latest incident
	last     stamp // time of its latest report
	lastLine int

	triggers [len(triggers)]int // latest report of each kind

	panic int // latest panic
	cause int // line of the cause
}

func (s *scan) line(off int, raw []byte) {
	s.lines++
	text, t := message(raw)
	if bytes.HasPrefix(text, []byte(panicPrefix)) {
		s.panic, s.cause = off, none
		if s.near(t) {
			s.cause = s.incident
		}
		for i, tr := range triggers {
			if bytes.Contains(text, []byte(tr.panic)) {
				s.cause = max(s.cause, s.triggers[i])
			}
		}
		return
	}
	for i, tr := range triggers {
		if bytes.HasPrefix(text, []byte(tr.report)) {
			s.triggers[i] = off
			return
		}
	}
	if !isCause(text) {
		return
	}
	// A crash on request has no earlier cause.
	if !s.near(t) || bytes.HasSuffix(text, []byte(sysrqCrash)) {
		s.incident = off
	}
	s.last, s.lastLine = t, s.lines
}

// near reports whether the current line, of time t, belongs to the latest incident.
func (s *scan) near(t stamp) bool {
	switch {
	case s.incident == none:
		return false
	case t.ok && s.last.ok:
		return t.micros-s.last.micros <= incidentMicros
	default:
		return s.lines-s.lastLine <= incidentLines
	}
}

func isCause(text []byte) bool {
	for _, p := range causePrefixes {
		if bytes.HasPrefix(text, []byte(p)) {
			return true
		}
	}
	for _, w := range causeWords {
		if bytes.Contains(text, []byte(w)) {
			return true
		}
	}
	return false
}

// findTrace fills Instruction and Trace from a log that begins with the cause.
func (p *Panic) findTrace(log []byte) {
	var unreliable []string
	inTrace := false
	for n, off := 0, 0; n < maxTraceLines && off < len(log) && len(p.Trace) < maxTrace; n++ {
		raw := lineAt(log, off)
		off += len(raw) + 1
		text, _ := message(raw)
		line := strings.TrimSpace(clean(text))
		if !inTrace {
			if p.Instruction == "" && isInstruction(line) {
				p.Instruction = line
			}
			inTrace = isTraceStart(line)
			continue
		}
		if isTraceEnd(line) {
			break
		}
		if _, fn, ok := strings.Cut(line, ">] "); ok && strings.HasPrefix(line, "[<") {
			line = fn // before 4.10: "[<ffffffff8107a1b0>] function+0x10/0x20"
		}
		if fn, ok := strings.CutPrefix(line, "? "); ok {
			if isFunction(fn) && len(unreliable) < maxTrace {
				unreliable = append(unreliable, line)
			}
		} else if isFunction(line) {
			p.Trace = append(p.Trace, line)
		}
	}
	if p.Trace == nil {
		p.Trace = unreliable
	}
}

// isInstruction recognises the instruction pointer of the kernel; code
// segments 0033 and 0023 are those of x86 user space.
func isInstruction(s string) bool {
	return strings.HasPrefix(s, "RIP: ") && !strings.HasPrefix(s, "RIP: 0033:") && !strings.HasPrefix(s, "RIP: 0023:") ||
		strings.HasPrefix(s, "pc : ")
}

func isTraceStart(s string) bool {
	return strings.HasPrefix(s, "Call Trace:") || strings.HasPrefix(s, "Call trace:")
}

func isTraceEnd(s string) bool {
	for _, p := range []string{"---[", "Modules linked in:", "Kernel Offset:", panicPrefix, "CPU: "} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return isTraceStart(s)
}

// isFunction recognises "name+0x12/0x34", with or without a module behind.
func isFunction(s string) bool {
	name, _, _ := strings.Cut(s, " ")
	_, pos, ok := strings.Cut(name, "+0x")
	return ok && strings.Contains(pos, "/0x") && !strings.Contains(name, ":")
}

// stamp is the time of a line in microseconds since the kernel's start.
type stamp struct {
	micros int64
	ok     bool
}

// message splits a line of the log into its text and its time. It knows
// "<6>[    1.234567] text" and, as newer tools print it with the thread or CPU
// that wrote it, "[    1.234567] [  T123] text" with or without the space.
func message(line []byte) ([]byte, stamp) {
	if len(line) > 3 && line[0] == '<' {
		if i := bytes.IndexByte(line[:min(5, len(line))], '>'); i > 0 {
			line = line[i+1:]
		}
	}
	in, rest, ok := bracket(line)
	if !ok {
		return line, stamp{}
	}
	sec, usec, ok := strings.Cut(in, ".")
	s, err := strconv.ParseUint(sec, 10, 33)
	u, err2 := strconv.ParseUint(usec, 10, 20)
	if !ok || err != nil || err2 != nil || len(usec) != 6 {
		return line, stamp{}
	}
	if in, r, ok := bracket(bytes.TrimPrefix(rest, []byte(" "))); ok && len(in) > 1 && (in[0] == 'T' || in[0] == 'C') {
		if _, err := strconv.ParseUint(in[1:], 10, 32); err == nil {
			rest = r
		}
	}
	return bytes.TrimPrefix(rest, []byte(" ")), stamp{int64(s)*1e6 + int64(u), true}
}

// bracket splits "[  in]rest".
func bracket(b []byte) (in string, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '[' {
		return "", nil, false
	}
	i := bytes.IndexByte(b[:min(32, len(b))], ']')
	if i < 0 {
		return "", nil, false
	}
	return string(bytes.TrimLeft(b[1:i], " ")), b[i+1:], true
}

func lineAt(log []byte, off int) []byte {
	if i := bytes.IndexByte(log[off:], '\n'); i >= 0 {
		return log[off : off+i]
	}
	return log[off:]
}

func textAt(log []byte, off int) string {
	text, _ := message(lineAt(log, off))
	return clean(text)
}

// clean makes text safe to print.
func clean(text []byte) string {
	var b strings.Builder
	for _, c := range bytes.TrimSpace(text) {
		if b.Len() >= maxLine {
			break
		}
		if c >= ' ' && c <= '~' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

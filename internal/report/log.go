package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/kmsg"
	"ukdump/internal/vmcore"
)

const (
	logLines   = 30      // lines of the log in a report
	traceLines = 60      // of them if the last ones are all of the call trace of the panic
	keptLines  = 1000    // in which the panic before a call trace is looked for
	maxLog     = 8 << 20 // bytes of the log in which the cause is looked for
)

// log reads the log and finds the cause of the crash in it.
func (m *maker) log(saved func() (io.ReadCloser, error)) error {
	var err error
	if m.d != nil {
		err = kmsg.Read(m.d, m.record)
	}
	if len(m.text) == 0 && saved != nil {
		f, serr := saved()
		if serr == nil {
			serr = kmsg.ReadText(f, m.record)
			f.Close()
		}
		err = errors.Join(err, serr)
	}
	p := vmcore.FindPanic(m.text)
	m.r.Log = endOfLog(m.r.Log, p.Line)
	c := &m.r.Crash
	c.Panic, c.Cause, c.Instruction = p.Line, p.Cause, p.Instruction
	if m.uptime > 0 {
		s := float64(m.uptime) / 1e9
		c.UptimeSeconds = &s
	}
	return err
}

// endOfLog returns the last lines of a log. If they are all of a call trace, they say less than
// its beginning: then the lines from the panic on.
func endOfLog(log []Line, panicLine string) []Line {
	if len(log) <= logLines {
		return log
	}
	end := log[len(log)-logLines:]
	if panicLine == "" || slices.ContainsFunc(end, func(l Line) bool { return !traceLine.MatchString(l.Text) }) {
		return end
	}
	for i := len(log) - logLines - 1; i >= 0; i-- {
		if strings.HasPrefix(log[i].Text, panicLine) {
			return log[i:min(i+traceLines, len(log))]
		}
	}
	return end
}

// traceLine matches the lines of a call trace and of the registers and the code around it:
// show_trace_log_lvl, __show_regs and show_opcodes below arch/x86/kernel, dump_backtrace and
// __show_regs below arch/arm64/kernel, dump_stack_print_info in lib/dump_stack.c.
var traceLine = regexp.MustCompile(`^(?:` +
	`[ \t]*(?:\? )?[A-Za-z_.$][^ ]*\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[^\]]*\])?[ \t]*` +
	`|[ \t]*</?[A-Za-z#0-9_]+>` + // <TASK>, </IRQ>, <NMI>, <#DF>
	`|Call [Tt]race:.*` +
	`|[ \t]*(?:R[0-9A-Z]{2}|CR[0-9]|DR[0-9]|[CDEFGS]S|EFLAGS|pc|lr|sp|pstate|[xw][0-9]{1,2}|Code|PKRU) ?: ?.*` +
	`|(?:CPU: [0-9]+|Hardware name:|Modules linked in:|Workqueue:|Tainted:|Kernel Offset:|---\[ end) ?.*` +
	`)$`)

// record takes a record of the log.
func (m *maker) record(rec vmcore.Record) {
	m.uptime = rec.Time
	for text := range bytes.SplitSeq(rec.Text, []byte("\n")) {
		line := kmsg.Escape(text)
		m.text = fmt.Appendf(m.text, "[%5d.%06d] %s\n", rec.Time/1e9, rec.Time%1e9/1e3, line)
		m.r.Log = append(m.r.Log, Line{float64(rec.Time/1e3) / 1e6, rec.Level, line})
	}
	if n := len(m.r.Log); n > 2*keptLines {
		m.r.Log = append([]Line(nil), m.r.Log[n-keptLines:]...)
	}
	if n := len(m.text); n > 2*maxLog {
		m.text = append([]byte(nil), m.text[n-maxLog:]...)
	}
}

// info takes the facts of VMCOREINFO.
func (m *maker) info() {
	in := m.d.Info()
	m.r.Kernel.Release = in.Release()
	m.r.Kernel.BuildID = in.Get("BUILD-ID")
	if t := in.CrashTime(); t > 0 {
		when := crashdir.Clamp(time.Unix(t, 0)).UTC()
		m.r.Crash.Time = &when
	}
}

// logged returns the text behind a word in the first line of the log that has it.
func (m *maker) logged(word string) string {
	_, rest, ok := strings.Cut(string(m.text), word)
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

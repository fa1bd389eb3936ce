package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/kmsg"
	"ukdump/internal/vmcore"
)

const (
	logLines = 30      // lines of the log in a report
	maxLog   = 8 << 20 // bytes of the log in which the cause is looked for
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
	if n := len(m.r.Log); n > logLines {
		m.r.Log = m.r.Log[n-logLines:]
	}
	p := vmcore.FindPanic(m.text)
	c := &m.r.Crash
	c.Panic, c.Cause, c.Instruction = p.Line, p.Cause, p.Instruction
	if m.uptime > 0 {
		s := float64(m.uptime) / 1e9
		c.UptimeSeconds = &s
	}
	return err
}

// record takes a record of the log.
func (m *maker) record(rec vmcore.Record) {
	m.uptime = rec.Time
	for text := range bytes.SplitSeq(rec.Text, []byte("\n")) {
		line := kmsg.Escape(text)
		m.text = fmt.Appendf(m.text, "[%5d.%06d] %s\n", rec.Time/1e9, rec.Time%1e9/1e3, line)
		m.r.Log = append(m.r.Log, Line{float64(rec.Time/1e3) / 1e6, rec.Level, line})
	}
	if n := len(m.r.Log); n > 2*logLines {
		m.r.Log = append([]Line(nil), m.r.Log[n-logLines:]...)
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

package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"ukdump/internal/cli"
)

// textWidth is the number of columns in which long lines are wrapped.
const textWidth = 100

// printer prints a report. All texts of the dump pass cli.Text.
type printer struct{ w *bufio.Writer }

// WriteText prints the report for people, with at most textWidth columns unless one word is
// longer.
func (r *Report) WriteText(w io.Writer) error {
	p := &printer{bufio.NewWriter(w)}
	p.crash(r)
	p.kernel(r)
	p.cpus(r.CPUs)
	p.tasks(r.Tasks)
	p.memory(r.Memory)
	p.mounts(r.Mounts)
	p.disks(r.Disks)
	p.log(r.Log)
	p.modules(r.Kernel.Modules)
	p.problems(r.Problems)
	return p.w.Flush()
}

// title prints the title of a part, after an empty line.
func (p *printer) title(format string, a ...any) {
	p.w.WriteString("\n")
	p.wrapped("", fmt.Sprintf(format, a...))
}

// row prints a name and its value, "not known" if that is empty.
func (p *printer) row(name, value string) {
	if value == "" {
		value = "not known"
	}
	p.wrapped(fmt.Sprintf("  %-12s ", cli.Text(name, 40)), value)
}

// empty prints the content of a part that is not known or has nothing.
func (p *printer) empty(unknown bool, n int) {
	switch {
	case unknown:
		p.w.WriteString("  not known\n")
	case n == 0:
		p.w.WriteString("  none\n")
	}
}

// maxText is the limit for one text of a dump, in characters. Command lines are long.
const maxText = 4096

// wrapped prints text behind head and continues it on lines that begin below it.
func (p *printer) wrapped(head, text string) {
	text = cli.Text(text, maxText)
	room := textWidth - utf8.RuneCountInString(head)
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= room:
			line += " " + word
		default:
			p.w.WriteString(head + line + "\n")
			head, line = strings.Repeat(" ", utf8.RuneCountInString(head)), word
		}
	}
	p.w.WriteString(strings.TrimRight(head+line, " ") + "\n")
}

func (p *printer) crash(r *Report) {
	c := r.Crash
	p.wrapped("", firstOf(c.Panic, c.Cause, "A crash, of which the log does not tell the reason"))
	p.w.WriteString("\n")
	if c.Cause != "" {
		p.row("cause", c.Cause)
	}
	if c.Instruction != "" {
		p.row("at", c.Instruction)
	}
	when := ""
	if c.Time != nil {
		when = c.Time.UTC().Format(time.RFC1123)
	}
	p.row("crashed", when)
	p.row("uptime", seconds(c.UptimeSeconds))
	f := r.Fingerprint
	if f == nil {
		p.row("fingerprint", "")
		return
	}
	p.row("fingerprint", f.ID)
	p.row("", f.Kind)
	p.row("", strings.Join(f.Frames, " < "))
	if f.Source == SourceLog {
		p.row("", "(functions from the log, not from the memory)")
	}
}

func (p *printer) kernel(r *Report) {
	k, m := r.Kernel, r.Machine
	p.title("KERNEL AND MACHINE")
	p.row("kernel", k.Release)
	p.row("version", k.Banner)
	p.row("build ID", k.BuildID)
	p.row("command line", k.CommandLine)
	if k.Secrets > 0 {
		p.row("", fmt.Sprintf("(* stands for %s)", plural(k.Secrets, "struck out secret", "struck out secrets")))
	}
	for i, t := range k.Taints {
		name := ""
		if i == 0 {
			name = "tainted"
		}
		p.row(name, fmt.Sprintf("%s  %s: %s", t.Letter, t.Name, t.Meaning))
	}
	if k.Taints == nil {
		p.row("tainted", "")
	} else if len(k.Taints) == 0 {
		p.row("tainted", "no")
	}
	if m.Host != "" {
		p.row("host", m.Host)
	}
	p.row("hardware", m.Hardware)
	p.row("CPUs", count(m.CPUs))
	p.row("memory", size(m.MemoryBytes))
}

func (p *printer) cpus(list []CPU) {
	p.title("CPUS")
	p.empty(list == nil, len(list))
	var idle []string
	for _, c := range list {
		if c.Idle && !c.Panicked {
			idle = append(idle, fmt.Sprint(c.Number))
			continue
		}
		head := fmt.Sprintf("CPU %d", c.Number)
		if c.Panicked {
			head += " panicked"
		}
		switch {
		case c.Task != nil && c.Idle:
			head += ", idle"
		case c.Task != nil:
			head += ", " + taskName(*c.Task)
		}
		if c.User {
			head += ", in user mode"
		}
		p.wrapped("  ", head)
		if c.Note != "" {
			p.wrapped("    ", "("+c.Note+")")
		}
		p.stack(c.Stack)
	}
	switch len(idle) {
	case 0:
	case 1:
		p.wrapped("  ", "CPU "+idle[0]+" idle")
	default:
		p.wrapped("  ", "CPUs "+strings.Join(idle, ", ")+" idle")
	}
}

// stack prints a call stack, and how it ended if it is incomplete.
func (p *printer) stack(s *Stack) {
	if s == nil {
		return
	}
	on := ""
	for i, f := range s.Frames {
		if f.Stack != on {
			if on = f.Stack; on != "" {
				p.wrapped("    ", "<"+on+">")
			} else {
				p.wrapped("    ", "<task>")
			}
		}
		line := f.String()
		if f.Interrupted && i > 0 {
			line += "  <- interrupted"
		}
		p.wrapped("    ", line)
	}
	if s.Omitted > 0 {
		p.wrapped("    ", fmt.Sprintf("(%s left out)", plural(s.Omitted, "frame", "frames")))
	}
	if !s.Complete {
		p.wrapped("    ", "(incomplete: "+firstOf(s.End, "reason not known")+")")
	}
}

// String returns the frame as in a call trace of the kernel: a guess begins with "? ".
func (f Frame) String() string {
	s := f.Function
	switch {
	case s == "":
		s = f.Address.String()
	case f.Size > 0:
		s += fmt.Sprintf("+%#x/%#x", f.Offset, f.Size)
	default:
		s += fmt.Sprintf("+%#x", f.Offset)
	}
	if f.Module != "" {
		s += " [" + f.Module + "]"
	}
	if !f.Reliable {
		s = "? " + s
	}
	return s
}

func (p *printer) tasks(t *Tasks) {
	p.title("TASKS")
	if t == nil {
		p.w.WriteString("  not known\n")
		return
	}
	var states []string
	for _, s := range t.States {
		states = append(states, fmt.Sprintf("%d %s", s.Count, s.State))
	}
	p.wrapped("  ", plural(t.Total, "task", "tasks")+": "+strings.Join(states, ", "))
	if len(t.Blocked) == 0 {
		p.w.WriteString("  no task in uninterruptible sleep\n")
	}
	for _, b := range t.Blocked {
		p.w.WriteString("\n")
		p.wrapped("  ", fmt.Sprintf("%s, %s for %s", taskName(b.TaskID), b.State, atMost(b.BlockedSeconds)))
		if b.Waits != nil {
			p.wrapped("    ", b.Waits.String())
		}
		if b.Note != "" {
			p.wrapped("    ", "("+b.Note+")")
		}
		p.stack(b.Stack)
	}
	if t.Omitted > 0 {
		p.wrapped("  ", fmt.Sprintf("and %s more in uninterruptible sleep", plural(t.Omitted, "task", "tasks")))
	}
}

// atMost prints the time for which a task is blocked.
func atMost(s *float64) string {
	if text := seconds(s); text != "" {
		return "at most " + text
	}
	return "a time not known"
}

// String describes the wait for people.
func (w Wait) String() string {
	if w.Kind == "" {
		return "waits for: not known" + note(w.Note)
	}
	s := "waits for a " + w.Kind + " at " + w.Lock.String()
	if w.Symbol != "" {
		s += " (" + w.Symbol + ")"
	}
	switch {
	case w.Owner == nil:
		s += ", owner not known"
	case w.OwnerBlocked:
		s += ", owned by " + taskName(*w.Owner) + ", which is blocked itself"
	default:
		s += ", owned by " + taskName(*w.Owner)
	}
	return s + note(w.Note)
}

func (p *printer) mounts(list []Mount) {
	p.title("MOUNTS of PID 1")
	p.empty(list == nil, len(list))
	for _, m := range list {
		mode := "rw"
		if m.ReadOnly {
			mode = "ro"
		}
		p.wrapped("  ", fmt.Sprintf("%s  %s on %s type %s", mode, cli.OrDash(m.Source), m.Dir, m.Type))
	}
}

func (p *printer) disks(list []Disk) {
	p.title("DISKS")
	p.empty(list == nil, len(list))
	for _, d := range list {
		head := fmt.Sprintf("%-10s %10s  ", cli.Text(d.Name, maxText), bytesOf(d.Bytes))
		switch n := len(d.Requests) + d.Omitted; {
		case n > 0:
			head += plural(n, "request", "requests") + " in flight"
		case d.Note == "":
			head += "no request in flight"
		}
		if d.ReadOnly {
			head = strings.TrimRight(head, " ") + " (read-only)"
		}
		p.wrapped("  ", strings.TrimSpace(head)+note(d.Note))
		for _, q := range d.Requests {
			p.wrapped("    ", q.String())
		}
		if d.Omitted > 0 {
			p.wrapped("    ", fmt.Sprintf("and %d more", d.Omitted))
		}
	}
}

// String describes the request for people.
func (q Request) String() string {
	s := q.Op
	if q.Bytes > 0 {
		s += " of " + bytesOf(q.Bytes)
	}
	if q.Sector != nil {
		s += fmt.Sprintf(" at sector %d", *q.Sector)
	}
	if q.AgeSeconds == nil {
		return s + ", age not known"
	}
	return s + ", started " + seconds(q.AgeSeconds) + " before the crash"
}

func (p *printer) log(lines []Line) {
	p.title("END OF THE LOG")
	p.empty(lines == nil, len(lines))
	for _, l := range lines {
		text := strings.TrimLeft(l.Text, " ")
		indent := min(len(l.Text)-len(text), 4)
		p.wrapped(fmt.Sprintf("  [%12.6f] %s", l.Seconds, strings.Repeat(" ", indent)), text)
	}
}

func (p *printer) modules(list []Module) {
	p.title("MODULES")
	p.empty(list == nil, len(list))
	for _, m := range list {
		line := fmt.Sprintf("%-24s %10s", cli.Text(m.Name, maxText), bytesOf(m.Bytes))
		for _, more := range []string{m.Version, m.SrcVersion} {
			if more != "" {
				line += "  " + more
			}
		}
		if m.Taints != "" {
			line += "  taints: " + m.Taints
		}
		if m.State != "" {
			line += "  (" + m.State + ")"
		}
		p.columns(line)
	}
}

// columns prints a line of which the columns stay where they are.
func (p *printer) columns(line string) {
	indent := len(line) - len(strings.TrimLeft(line, " "))
	p.w.WriteString("  " + strings.Repeat(" ", min(indent, 4)) + cli.Text(line, maxText) + "\n")
}

func (p *printer) problems(list []Problem) {
	if len(list) == 0 {
		return
	}
	p.title("NOT UNDERSTOOD")
	for _, b := range list {
		p.row(b.Part, b.Reason)
	}
}

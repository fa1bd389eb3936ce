package report

import (
	"fmt"
	"math"
	"time"

	"ukdump/internal/cli"
)

func (p *printer) memory(m *Memory) {
	p.title("MEMORY")
	if m == nil {
		p.w.WriteString("  not known\n")
		return
	}
	for _, v := range []struct {
		name  string
		bytes *uint64
	}{
		{"total", m.Total}, {"free", m.Free}, {"page cache", m.PageCache}, {"anonymous", m.Anonymous},
		{"shared", m.Shmem}, {"slab", sum(m.SlabReclaimable, m.SlabFixed)},
		{"  reclaimable", m.SlabReclaimable}, {"stacks", m.Stacks},
		{"page tables", m.PageTables}, {"dirty", m.Dirty}, {"writeback", m.Writeback},
	} {
		p.columns(fmt.Sprintf("%-14s %10s", v.name, firstOf(size(v.bytes), "not known")))
	}
	for _, h := range m.HugePages {
		p.wrapped("  ", fmt.Sprintf("huge pages of %s: %d, %d free, %d reserved, %d surplus", bytesOf(h.PageBytes), h.Total, h.Free, h.Reserved, h.Surplus))
	}
	if len(m.Zones) > 0 {
		p.w.WriteString("\n")
		p.columns(fmt.Sprintf("%-14s %10s %10s %10s %10s %10s", "zone", "managed", "free", "min", "low", "high"))
	}
	for _, z := range m.Zones {
		name := fmt.Sprintf("node %d %s", z.Node, cli.Text(z.Name, 16))
		p.columns(fmt.Sprintf("%-14s %10s %10s %10s %10s %10s", name, bytesOf(z.Managed), bytesOf(z.Free), bytesOf(z.Min), bytesOf(z.Low), bytesOf(z.High)))
	}
	if len(m.Slabs) > 0 {
		p.w.WriteString("\n")
		p.columns(fmt.Sprintf("%-24s %10s %10s %10s", "largest slab caches", "at most", "objects", "of"))
	}
	for _, s := range m.Slabs {
		n := "-"
		if s.Objects > 0 {
			n = fmt.Sprint(s.Objects)
		}
		p.columns(fmt.Sprintf("%-24s %10s %10s %10s", cli.Text(s.Name, 40), bytesOf(s.Bytes), n, bytesOf(s.ObjectBytes)))
	}
	if len(m.Processes) > 0 {
		p.w.WriteString("\n")
		p.columns(fmt.Sprintf("%-24s %10s %10s %10s", "largest processes", "resident", "anonymous", "swap"))
	}
	for _, u := range m.Processes {
		p.columns(fmt.Sprintf("%-24s %10s %10s %10s", taskName(u.TaskID), bytesOf(u.RSS), bytesOf(u.Anon), bytesOf(u.Swap)))
	}
}

// sum returns a + b, nil if one of them is not known.
func sum(a, b *uint64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	n := *a + *b
	return &n
}

// taskName returns the name of a task for people.
func taskName(t TaskID) string {
	s := fmt.Sprintf("%s (PID %d)", cli.OrDash(cli.Text(t.Comm, 64)), t.PID)
	if t.TGID != 0 && t.TGID != t.PID {
		s = fmt.Sprintf("%s (thread %d of PID %d)", cli.OrDash(cli.Text(t.Comm, 64)), t.PID, t.TGID)
	}
	return s
}

// seconds prints a duration for people, "" if it is not known.
func seconds(s *float64) string {
	if s == nil || math.IsNaN(*s) || *s < 0 {
		return ""
	}
	if *s < 60 {
		return fmt.Sprintf("%.1f s", *s)
	}
	d := time.Duration(min(*s, 1e9)) * time.Second
	switch days := d / (24 * time.Hour); {
	case days > 0:
		return fmt.Sprintf("%s %d h", plural(int(days), "day", "days"), d/time.Hour%24)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d/time.Minute%60)
	}
	return fmt.Sprintf("%d min %d s", d/time.Minute, d/time.Second%60)
}

// bytesOf prints a number of bytes for people.
func bytesOf(n uint64) string { return cli.Size(int64(min(n, math.MaxInt64))) }

// size prints a number of bytes for people, "" if it is not known.
func size(n *uint64) string {
	if n == nil {
		return ""
	}
	return bytesOf(*n)
}

// count prints a number, "" if it is not known.
func count(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

// plural prints a number with the word for it.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// note prints a note in parentheses behind a text.
func note(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// firstOf returns the first text that is not empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

package ctl

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
)

func (c *ctl) infoVerb() *cli.Command {
	var o dumpOptions
	return &cli.Command{
		Name: "info", Summary: "show why a kernel crashed and how its dump was made",
		About: `Shows one dump, the newest by default: why the kernel crashed, the head of the call
trace, which kernel it was, how the vmcore was saved and how long it took.

DUMP is a name as list prints it, the beginning of one that no other dump has, or
the path of its directory.`,
		Options: func(f *pflag.FlagSet) { o.addJSON(f, "print the report as JSON") },
		Args:    "[DUMP]", Max: 1, Values: c.dumpNames(&o),
		Run: func(args []string) error { return c.info(o, strings.Join(args, "")) },
	}
}

// info shows the dump of that name, "" for the newest.
func (c *ctl) info(o dumpOptions, name string) error {
	d, err := c.findDump(o.dir, name)
	if err != nil {
		return err
	}
	if o.json {
		return cli.WriteJSON(c.Stdout, jsonOf(d))
	}
	printDump(c.Stdout, d)
	return nil
}

// findDump returns the dump that name stands for, the newest if it is empty.
func (c *ctl) findDump(dir, name string) (crashdir.Dump, error) {
	if strings.Contains(name, "/") {
		return crashdir.Read(filepath.Clean(name))
	}
	dumps, parent, err := c.dumps(dir)
	if err != nil && len(dumps) == 0 {
		return crashdir.Dump{}, err
	}
	if err != nil {
		c.Warn(err.Error())
	}
	if len(dumps) == 0 {
		return crashdir.Dump{}, noDump(parent, name)
	}
	if name == "" {
		return dumps[len(dumps)-1], nil
	}
	var found []crashdir.Dump
	for _, d := range dumps {
		if d.Name == name {
			return d, nil
		}
		if strings.HasPrefix(d.Name, name) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return crashdir.Dump{}, noDump(parent, name)
	case 1:
		return found[0], nil
	}
	return crashdir.Dump{}, fmt.Errorf("dump %s: the name fits %d dumps, from %s to %s: give more of it",
		name, len(found), found[0].Name, found[len(found)-1].Name)
}

// noDump is the error for a dump that is not in dir.
func noDump(dir, name string) error {
	if name == "" {
		return errors.New("no dumps in " + dir)
	}
	return advice.With(fmt.Errorf("dump %s: not found in %s", name, dir), "kdumpctl list shows what there is.")
}

func printDump(out io.Writer, d crashdir.Dump) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, a ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, cli.Text(fmt.Sprintf(format, a...), cli.MaxText))
	}
	row("dump", "%s", d.Path)
	row("outcome", "%s", outcomeOf(d))
	if r := d.Report; r != nil {
		printReport(row, r)
	} else {
		row("report", "%v", d.ReportErr)
	}
	if d.Vmcore != "" {
		row("vmcore", "%s", describeVmcore(d))
	}
	if d.Outcome == crashdir.Unknown {
		row("files", notKnown)
	} else {
		row("files", "%s", cli.Size(d.Size))
	}
	w.Flush()
	if d.Report == nil {
		return
	}
	r := d.Report
	trace := slices.DeleteFunc(append([]string{r.Panic.IP}, r.Panic.Trace...), func(l string) bool { return l == "" })
	clean := func(lines []string) func(i int) string {
		return func(i int) string { return cli.Text(lines[i], cli.MaxText) }
	}
	printLines(out, "call trace", len(trace), clean(trace))
	printLines(out, "what went wrong", len(r.Errors), clean(r.Errors))
	printLines(out, "warnings", len(r.Warnings), clean(r.Warnings))
	printLines(out, "steps of the capture", len(r.Steps), func(i int) string {
		s := r.Steps[i]
		return fmt.Sprintf("%7.1f s  %-11s %.1f s", s.Start, cli.Text(s.Name, cli.MaxText), s.Seconds)
	})
}

// maxLines is how many lines of one kind info prints.
const maxLines = 100

// printLines prints n lines below a title, nothing if there are none.
func printLines(out io.Writer, title string, n int, line func(i int) string) {
	if n == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s\n", title)
	for i := range min(n, maxLines) {
		fmt.Fprintf(out, "  %s\n", line(i))
	}
	if n > maxLines {
		fmt.Fprintf(out, "  and %d more, see --json\n", n-maxLines)
	}
}

func printReport(row func(name, format string, a ...any), r *crashdir.Report) {
	row("panic", "%s", cli.OrDash(r.Panic.Line))
	if r.Panic.Cause != "" {
		row("cause", "%s", r.Panic.Cause)
	}
	row("kernel", "%s, %s of memory", cli.OrDash(r.Kernel), cli.Size(r.Memory))
	if !r.CrashTime.IsZero() {
		row("crashed", "%s", r.CrashTime.Local().Format(time.RFC1123))
	}
	if r.Host != "" {
		row("host", "%s", r.Host)
	}
	if r.Collector != "" {
		took := 0.0
		for _, a := range r.Attempts {
			took += a.Seconds
		}
		row("collector", "%s, %.1f s", r.Collector, took)
	}
	if r.Target.Device != "" {
		row("target", "%s on %s (%s %s)", r.Target.Dir, r.Target.Device, r.Target.FSType, r.Target.UUID)
	}
	row("captured by", "%s, kdumpinit %s, lowest free memory %s", cli.OrDash(r.Capture), r.Software, cli.Size(r.LowestMem))
	if n := len(r.Steps); n > 0 {
		last := r.Steps[n-1]
		row("time", "%.1f s from the start of the capture kernel", last.Start+last.Seconds)
	}
}

// describeVmcore describes the vmcore of a dump by its header.
func describeVmcore(d crashdir.Dump) string {
	name := filepath.Base(d.Vmcore)
	f, err := d.Open(name)
	if err != nil {
		return fmt.Sprintf("%s: %v", name, crashdir.WithoutPath(err))
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Sprintf("%s: %v", name, err)
	}
	h, err := dumpfile.ReadHeader(f)
	if err != nil {
		return fmt.Sprintf("%s, %s, unreadable: %v", name, cli.Size(fi.Size()), err)
	}
	s := fmt.Sprintf("%s, %s, %s", name, cli.Size(fi.Size()), h.Format)
	if h.Compression != "" {
		s += fmt.Sprintf(", %s, dump level %d", h.Compression, h.DumpLevel)
	}
	if !h.Complete {
		s += ", marked as incomplete"
	}
	return s
}

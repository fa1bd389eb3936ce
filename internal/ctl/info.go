package ctl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/evidence"
	"ukdump/internal/unseal"
)

func (c *ctl) infoVerb() *cli.Command {
	var o dumpOptions
	return &cli.Command{
		Name: "info", Summary: "show why a kernel crashed and how its dump was made",
		About: `Shows one dump, the newest by default: why the kernel crashed, the head of the call
trace, which kernel it was, how the vmcore was saved and how long it took.

DUMP is a name as list prints it, the beginning of one that no other dump has, or
the path of its directory.`,
		Options: func(f *pflag.FlagSet) {
			o.addIdentity(f)
			o.addJSON(f, "print the report as JSON")
		},
		Args: "[DUMP]", Max: 1, Values: c.dumpNames(&o),
		Run: func(args []string) error { return c.info(o, strings.Join(args, "")) },
	}
}

// info shows the dump of that name, "" for the newest.
func (c *ctl) info(o dumpOptions, name string) error {
	ids, err := o.identities()
	if err != nil {
		return err
	}
	d, err := c.findDump(o.dir, name)
	if err != nil {
		return err
	}
	if err := unsealReport(&d, ids); err != nil {
		c.Warn(err.Error())
	}
	if o.json {
		return cli.WriteJSON(c.Stdout, jsonOf(d))
	}
	return printDump(c.Stdout, d, ids, c.terminalWidth())
}

// findDump returns the dump that name stands for, the newest if it is empty.
func (c *ctl) findDump(dir, name string) (crashdir.Dump, error) {
	if strings.Contains(name, "/") {
		return readDump(name)
	}
	dumps, parent, err := c.dumps(dir)
	if err != nil && len(dumps) == 0 {
		return crashdir.Dump{}, err
	}
	if err != nil {
		c.Warn(err.Error())
	}
	if len(dumps) == 0 {
		return crashdir.Dump{}, c.notDump(dir, parent, name)
	}
	if name == "" {
		return newestDump(dumps), nil
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
		return crashdir.Dump{}, c.notDump(dir, parent, name)
	case 1:
		return found[0], nil
	}
	return crashdir.Dump{}, fmt.Errorf("dump %s: the name fits %d dumps, from %s to %s: give more of it",
		name, len(found), found[0].Name, found[len(found)-1].Name)
}

// readDump returns the dump in the directory of that path.
func readDump(path string) (crashdir.Dump, error) {
	d, err := crashdir.Read(filepath.Clean(path))
	if err == nil {
		return d, nil
	}
	fi, missing := os.Stat(path)
	switch {
	case missing != nil:
		return d, missing
	case !fi.IsDir():
		return d, advice.With(err, "kdumpctl report and kdumpctl log read a vmcore, and kdumpctl import takes it in as a dump.")
	}
	if _, _, ok := crashdir.ParseName(d.Name); !ok && coreIn(path) != "" {
		return d, otherTools(path)
	}
	return d, err
}

// notDump is the error for a name that no dump in the directories of dumps has. A file or a
// directory of that name is of another tool.
func (c *ctl) notDump(dir, parent, name string) error {
	dirs := []string{dir}
	if conf, err := c.config(); dir == "" && err == nil {
		dirs = conf.DumpDirs(c.root)
	}
	for _, d := range dirs {
		if name == "" || name == "." || !filepath.IsLocal(name) {
			break
		}
		path := filepath.Join(d, name)
		fi, err := os.Lstat(path)
		if err != nil || !fi.IsDir() && !fi.Mode().IsRegular() {
			continue
		}
		if _, _, ok := crashdir.ParseName(name); !ok {
			return otherTools(path)
		}
		// The name is that of a dump, but list omits it.
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return advice.With(&crashdir.OwnerError{Path: path, UID: st.Uid}, "kdumpctl info "+path+" reads it.")
		}
	}
	return noDump(parent, name)
}

// otherTools is the error for a path that is not the directory of a dump of ukdump, such as
// /var/crash/202611300100 of kdump-tools or /var/crash/127.0.0.1-2026-11-30-01:00:00 of
// kexec-tools. It names the vmcore in it.
func otherTools(path string) error {
	core := coreIn(path)
	if core == "" {
		return advice.With(fmt.Errorf("%s is not the directory of a dump", path), "kdumpctl list shows all dumps.")
	}
	err := fmt.Errorf("%s is not the directory of a dump of ukdump, but has a vmcore of another tool", path)
	if core == path {
		err = fmt.Errorf("%s is a vmcore, and not the directory of a dump", path)
	}
	return advice.With(err, "kdumpctl report "+core+" reports why that kernel crashed, and kdumpctl import takes the file in as a dump.")
}

// maxOthers bounds the files that are read in a directory of another tool.
const maxOthers = 100

// coreIn returns the path of the first vmcore at path, a file or a directory of files, "" if
// there is none. It follows no link, and opens nothing but files.
func coreIn(path string) string {
	paths := []string{path}
	if f, err := os.Open(path); err == nil {
		names, _ := f.Readdirnames(maxOthers)
		f.Close()
		slices.Sort(names)
		for _, name := range names {
			paths = append(paths, filepath.Join(path, name))
		}
	}
	for _, p := range paths {
		fi, err := os.Lstat(p)
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		f, _, err := crashdir.OpenFile(p)
		if err != nil {
			continue
		}
		_, err = dumpfile.ReadHeader(f)
		f.Close()
		if err == nil {
			return p
		}
	}
	return ""
}

// newestDump returns the newest dump of this machine, or else the newest that was imported.
func newestDump(dumps []crashdir.Dump) crashdir.Dump {
	for i := len(dumps) - 1; i >= 0; i-- {
		if !imported(&dumps[i]) {
			return dumps[i]
		}
	}
	return dumps[len(dumps)-1]
}

// noDump is the error for a dump that is not in dir.
func noDump(dir, name string) error {
	if name == "" {
		return errors.New("no dumps in " + dir)
	}
	return advice.With(fmt.Errorf("dump %s: not found in %s", name, dir), "kdumpctl list shows all dumps.")
}

func printDump(out io.Writer, d crashdir.Dump, ids *unseal.Identities, width int) error {
	var list rows
	row := list.add
	row("dump", "%s", d.Path)
	outcome := outcomeOf(&d)
	if d.LogOnly {
		outcome += ", no vmcore by choice (DUMP=log)"
	}
	row("outcome", "%s", outcome)
	if d.At != "" {
		row("at", "%s", d.At)
	}
	why := evidence.OfDump(&d)
	if r := d.Report; r != nil {
		printReport(row, r, why)
	} else {
		row("report", "%v", d.ReportErr)
		printReason(row, why)
		row("kernel", "%s", cli.OrDash(why.Kernel))
	}
	if f := fingerprintOf(&d); f != nil {
		row("fingerprint", "%s, %s", f.ID, strings.Join(append([]string{f.Kind}, f.Frames...), " < "))
	}
	if d.Vmcore != "" {
		row("vmcore", "%s", describeVmcore(d, ids))
	}
	if d.Outcome == crashdir.Unknown {
		row("files", notKnown)
	} else {
		row("files", "%s", cli.Size(d.Size))
	}
	if err := list.print(out, width); err != nil {
		return err
	}
	trace := slices.DeleteFunc(append([]string{why.Panic.IP}, why.Panic.Trace...), func(l string) bool { return l == "" })
	printLines(out, "call trace", trace, width)
	if d.Report == nil {
		return nil
	}
	r := d.Report
	printLines(out, "what went wrong", r.Errors, width)
	printLines(out, "warnings", r.Warnings, width)
	var steps []string
	for _, s := range r.Steps[:min(len(r.Steps), maxLines+1)] {
		steps = append(steps, fmt.Sprintf("%7.1f s  %-11s %.1f s", s.Start, cli.Text(s.Name, cli.MaxText), s.Seconds))
	}
	printLines(out, "steps of the capture", steps, 0)
	return nil
}

// printReason prints why the kernel crashed, and from which file that is known if it is
// not the report.
func printReason(row func(name, format string, a ...any), why evidence.Reason) {
	line := cli.OrDash(why.Panic.Line)
	if why.Hidden {
		line = notKnown
	}
	if why.Sealed {
		line = encryptedText
	}
	row("panic", "%s", line)
	if why.Panic.Cause != "" {
		row("cause", "%s", why.Panic.Cause)
	}
	if why.File != "" {
		row("", "according to %s", why.File)
	}
}

// maxLines is how many lines of one kind info prints.
const maxLines = 100

// printLines prints lines below a title, nothing if there are none.
func printLines(out io.Writer, title string, lines []string, width int) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s\n", title)
	for _, line := range lines[:min(len(lines), maxLines)] {
		for i, part := range wrap(cleanLine(line), width-4) {
			fmt.Fprintf(out, "  %s%s\n", strings.Repeat("  ", min(i, 1)), part)
		}
	}
	if n := len(lines); n > maxLines {
		fmt.Fprintf(out, "  and %d more, see --json\n", n-maxLines)
	}
}

// maxIndent is the longest indent that the line of a trace keeps, in characters.
const maxIndent = 8

// cleanLine is cli.Text, but keeps the indent of a line.
func cleanLine(line string) string {
	text := strings.TrimLeft(line, " ")
	return line[:min(len(line)-len(text), maxIndent)] + cli.Text(text, cli.MaxText)
}

func printReport(row func(name, format string, a ...any), r *crashdir.Report, why evidence.Reason) {
	printReason(row, why)
	memory := "memory " + notKnown
	if r.Memory > 0 {
		memory = cli.Size(r.Memory) + " of memory"
	}
	row("kernel", "%s, %s", cli.OrDash(why.Kernel), memory)
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
	row("captured by", "%s, kdumpinit %s, lowest free memory %s", cli.OrDash(r.Capture), r.Software, sizeIfKnown(r.LowestMem))
	if n := len(r.Steps); n > 0 {
		last := r.Steps[n-1]
		row("time", "%.1f s from the start of the capture kernel", last.Start+last.Seconds)
	}
}

// sizeIfKnown prints a size of a report, which is 0 if it could not be read.
func sizeIfKnown(n int64) string {
	if n <= 0 {
		return notKnown
	}
	return cli.Size(n)
}

// describeVmcore describes the vmcore of a dump by its header, one that is encrypted by the
// header of that.
func describeVmcore(d crashdir.Dump, ids *unseal.Identities) string {
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
	s := fmt.Sprintf("%s, %s", name, cli.Size(fi.Size()))
	var r io.ReaderAt = f
	if d.Sealed() {
		info, err := unseal.Inspect(f, fi.Size())
		if info.Recipients > 0 {
			s += ", encrypted to " + unseal.Keys(info.Recipients)
		}
		if err != nil {
			return fmt.Sprintf("%s, %v", s, err)
		}
		if ids == nil {
			return s + ", not verified beyond its length"
		}
		if r, err = unseal.Open(f, fi.Size(), ids); err != nil {
			return fmt.Sprintf("%s, %v", s, err)
		}
	}
	h, err := dumpfile.ReadHeader(r)
	if err != nil {
		return fmt.Sprintf("%s, unreadable: %v", s, err)
	}
	s += ", " + string(h.Format)
	if h.Compression != "" {
		s += fmt.Sprintf(", %s, dump level %d", h.Compression, h.DumpLevel)
	}
	if !h.Complete {
		s += ", marked as incomplete"
	}
	return s
}

package test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/test/faultlab/found"
)

// judge returns all differences between o and the requirements of f. earlier
// are the dumps from before the crash.
func (f fault) judge(o *observed, earlier []found.Dump) error {
	var wrong []error
	bad := func(format string, a ...any) { wrong = append(wrong, fmt.Errorf(format, a...)) }

	for _, e := range earlier {
		for _, dir := range f.earlierDirs(e) {
			if err := unchanged(e, dir, o.dumps); err != nil {
				bad("%w", err)
			}
		}
	}
	fresh := o.fresh(earlier)
	for _, d := range fresh {
		if err := whole(d); err != nil {
			bad("%w", err)
		}
	}
	best := bestOf(fresh)
	if !slices.Contains(f.want.outcomes, best.Outcome) {
		bad("the outcome is %s, not %s", best.Outcome, orOutcomes(f.want.outcomes))
	}
	if f.want.dir != "" && best.Dir != f.want.dir {
		bad("the dump is in %q, not in %s", best.Dir, f.want.dir)
	}
	if f.want.format != "" && best.Format != f.want.format {
		bad("the dump is %s, not %s", best.Format, f.want.format)
	}
	if err := f.judgeLog(best, fresh); err != nil {
		bad("%w", err)
	}
	if f.want.says != "" && !o.says(f.want.says, fresh) {
		bad("neither a report nor the console says %q", f.want.says)
	}
	if n := panics(o.console); n > 1 && !f.want.panics {
		bad("the capture kernel panicked")
	}
	return errors.Join(wrong...)
}

// earlierDirs are the directories in which an earlier dump must be.
func (f fault) earlierDirs(d found.Dump) []string {
	if f.fs != "" && !f.noEarlier && strings.HasPrefix(d.Name, "2020-") {
		return []string{f.target(), "/var/crash"}
	}
	return []string{"/var/crash"}
}

// unchanged checks that the earlier dump e is still in dir.
func unchanged(e found.Dump, dir string, now []found.Dump) error {
	for _, d := range now {
		if d.Dir != dir || d.Name != e.Name {
			continue
		}
		if d.SHA256 != e.SHA256 {
			return fmt.Errorf("the earlier dump %s/%s has changed: %v", dir, e.Name, d.Files)
		}
		return nil
	}
	return fmt.Errorf("the earlier dump %s/%s is lost", dir, e.Name)
}

// fresh returns the new dumps.
func (o *observed) fresh(earlier []found.Dump) []found.Dump {
	return slices.DeleteFunc(slices.Clone(o.dumps), func(d found.Dump) bool {
		return isOld(d) || slices.ContainsFunc(earlier, func(e found.Dump) bool { return e.Name == d.Name })
	})
}

// isOld recognizes a copy of an earlier dump by the year in its name.
func isOld(d found.Dump) bool { return d.Name > "2010" && d.Name < "2021" }

// whole checks that names and reports are true: a vmcore without suffix can be read to
// its end, and the report does not promise more than the dump has.
func whole(d found.Dump) error {
	name := d.Dir + "/" + d.Name
	// A report from before the dump, never written again, says incomplete.
	if d.Report != nil && d.Report.Outcome == crashdir.Complete && d.Outcome != crashdir.Complete {
		return fmt.Errorf("%s: the report says complete, the files say %s", name, d.Outcome)
	}
	if d.Outcome != crashdir.Complete {
		return nil
	}
	switch {
	case d.VmcoreErr != "":
		return fmt.Errorf("%s is called complete: %s", name, d.VmcoreErr)
	case d.MakedumpfileErr != "":
		return fmt.Errorf("%s is called complete: makedumpfile: %s", name, d.MakedumpfileErr)
	case !d.MakedumpfileMark && !isOld(d):
		return fmt.Errorf("%s is called complete and has not the log of this crash", name)
	}
	return nil
}

// judgeLog checks that the crashed kernel's log is in its place.
func (f fault) judgeLog(best found.Dump, fresh []found.Dump) error {
	if f.want.dmesg == "" {
		if best.Outcome != none && best.Outcome != crashdir.Failed && best.Dmesg != crashdir.Dmesg {
			return fmt.Errorf("the log of the crashed kernel is not in %s/%s: %v", best.Dir, best.Name, best.Files)
		}
		return nil
	}
	for _, d := range fresh {
		if d.Dir == f.want.dmesg && d.Dmesg == crashdir.Dmesg {
			return nil
		}
	}
	return fmt.Errorf("the log of the crashed kernel is not in %s", f.want.dmesg)
}

// says reports whether a report or the console has the text.
func (o *observed) says(text string, fresh []found.Dump) bool {
	if strings.Contains(o.console, text) {
		return true
	}
	for _, d := range fresh {
		if d.Report == nil {
			continue
		}
		words := slices.Concat(d.Report.Errors, d.Report.Warnings)
		for _, a := range d.Report.Attempts {
			words = append(words, a.Error, a.Stderr)
		}
		if strings.Contains(strings.Join(words, "\n"), text) {
			return true
		}
	}
	return false
}

// panics counts the panics on a console. It skips those that PID 1 quotes from the log
// of the crashed kernel, and those that kdumpctl announces.
func panics(console string) (n int) {
	for line := range strings.Lines(console) {
		if strings.Contains(line, "Kernel panic - not syncing") && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "kdumpctl: ") {
			n++
		}
	}
	return n
}

// outcomeOrder has the best first.
var outcomeOrder = []crashdir.Outcome{crashdir.Complete, crashdir.Incomplete, crashdir.DmesgOnly, crashdir.Failed, none}

func better(a, b crashdir.Outcome) bool {
	return slices.Index(outcomeOrder, a) < slices.Index(outcomeOrder, b)
}

// bestOf returns the dump with the best outcome. If there is no dump, the
// outcome is none.
func bestOf(dumps []found.Dump) found.Dump {
	best := found.Dump{Outcome: none}
	for _, d := range dumps {
		if better(d.Outcome, best.Outcome) {
			best = d
		}
	}
	return best
}

func orOutcomes(list []crashdir.Outcome) string {
	var words []string
	for _, o := range list {
		words = append(words, string(o))
	}
	return strings.Join(words, " or ")
}

// required and observation return the words of the table.
func (w want) required() string {
	s := orOutcomes(w.outcomes)
	if len(w.outcomes) == len(anything) {
		s = "back"
	}
	if w.dir != "" {
		s += " in " + w.dir
	}
	if w.dmesg != "" && w.dmesg != w.dir {
		s += ", log in " + w.dmesg
	}
	if w.format == dumpfile.ELF {
		s += ", ELF"
	}
	return s
}

func (o *observed) observation(earlier []found.Dump) string {
	var words []string
	for _, d := range o.fresh(earlier) {
		words = append(words, fmt.Sprintf("%s in %s", d.Outcome, d.Dir))
	}
	if len(words) == 0 {
		return string(none)
	}
	return strings.Join(words, ", ")
}

// faultTable is the table that test-faults prints.
type faultTable struct {
	mu    sync.Mutex
	lines map[string]string
	bad   int
}

func (r *faultTable) add(f fault, o *observed, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.lines = make(map[string]string)
	}
	saw, seconds := "", 0.0
	if o != nil {
		saw, seconds = o.observation(bases[f.kernel()].dumps), o.took.Seconds()
	}
	if err != nil {
		r.bad++
		saw = "FAILED: " + strings.SplitN(err.Error(), "\n", 2)[0]
	}
	r.lines[f.name] = fmt.Sprintf("%s\t%s\t%s\t%.0f", f.name, f.want.required(), saw, seconds)
	fmt.Printf("    %s: %s (%.0f s)\n", f.name, saw, seconds)
}

// String returns the table in the order of faults. The seconds are those from the
// crash to the reset.
func (r *faultTable) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tREQUIRED\tOBSERVED\tSECONDS")
	for _, f := range faults {
		if line, ok := r.lines[f.name]; ok {
			fmt.Fprintln(w, line)
		}
	}
	w.Flush()
	fmt.Fprintf(&b, "%d faults, %d failed\n", len(r.lines), r.bad)
	return b.String()
}

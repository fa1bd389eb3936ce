package test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/internal/crashdir"
	"ukdump/internal/dump"
	"ukdump/internal/dumpfile"
	"ukdump/internal/kmsg"
	"ukdump/internal/report"
	"ukdump/internal/vmcore"
)

// checkDump checks the files of a machine after its crash: dir holds the
// guest's /var/crash and /ukdump-test/out. It returns all errors.
func checkDump(dir, mark string, c cell) error {
	dumps, err := crashdir.List(filepath.Join(dir, "var/crash"))
	if err != nil {
		return err
	}
	if len(dumps) != 1 {
		return fmt.Errorf("%d dumps in /var/crash, not 1", len(dumps))
	}
	d := dumps[0]
	var wrong []error
	bad := func(format string, a ...any) { wrong = append(wrong, fmt.Errorf(format, a...)) }

	if d.Outcome != crashdir.Complete {
		bad("the dump's files say %s, not complete", d.Outcome)
	}
	switch {
	case d.Report == nil:
		bad("no report: %w", d.ReportErr)
	case d.Report.Outcome != crashdir.Complete:
		bad("report.json says %s: %s", d.Report.Outcome, strings.Join(d.Report.Errors, "; "))
	case slices.ContainsFunc(d.Report.Errors, func(e string) bool { return c.copied == "" || !strings.Contains(e, c.copied) }):
		bad("report.json has errors: %s", strings.Join(d.Report.Errors, "; "))
	case c.copied != "" && len(d.Report.Attempts) < 2:
		bad("the collector %s has not failed before", d.Report.Collector)
	case !strings.Contains(d.Report.Panic.Line, "sysrq triggered crash"):
		bad("report.json gives %q as the panic", d.Report.Panic.Line)
	}
	if _, err := os.Stat(filepath.Join(d.Path, crashdir.Vmcore+crashdir.Suffix)); !errors.Is(err, fs.ErrNotExist) {
		bad("%s is there", crashdir.Vmcore+crashdir.Suffix)
	}
	if _, err := dumpfile.VerifyFile(filepath.Join(d.Path, crashdir.Vmcore)); err != nil {
		bad("%w", err)
	}
	// Our own decoder and makedumpfile must both end in this crash. If makedumpfile cannot
	// open the dump, the page tables in it must lead to the log.
	second := filepath.Join(dir, "ukdump-test/out/makedumpfile-dmesg.txt")
	if c.unread() {
		if err := checkMemory(filepath.Join(d.Path, crashdir.Vmcore), second); err != nil {
			bad("%w", err)
		}
	}
	for _, log := range []string{filepath.Join(d.Path, crashdir.Dmesg), second} {
		if err := checkLog(log, mark); err != nil {
			bad("%w", err)
		}
	}
	l := layouts[c.layout]
	if l.renamed && d.Report != nil {
		source, err := os.ReadFile(filepath.Join(dir, "ukdump-test/out/source.txt"))
		if now := "/dev/" + d.Report.Target.Device; err != nil || strings.TrimSpace(string(source)) == now {
			bad("the disk was %s and is %s: its name has not changed", source, now)
		}
	}
	if c.capture != "" && d.Report != nil && !captures[c.capture].zstd && d.Report.Capture == d.Report.Kernel {
		bad("%s has captured its own crash", d.Report.Kernel)
	}
	if !l.noModes {
		if err := checkModes(d.Path); err != nil {
			bad("%w", err)
		}
	}
	list, err := os.ReadFile(filepath.Join(dir, "ukdump-test/out/list.txt"))
	if err != nil || !strings.Contains(string(list), d.Name) {
		bad("kdumpctl list does not name %s: %s", d.Name, list)
	}
	return errors.Join(wrong...)
}

// checkMemory reads a vmcore as memory: it writes the kernel log to the file text, and
// checks that the report names the function that crashed.
func checkMemory(core, text string) error {
	d, err := dump.Open(core)
	if err != nil {
		return err
	}
	defer d.Close()
	var b strings.Builder
	if err := kmsg.Read(d, func(r vmcore.Record) { fmt.Fprintf(&b, "%s\n", r.Text) }); err != nil {
		return err
	}
	if err := os.WriteFile(text, []byte(b.String()), 0o644); err != nil {
		return err
	}
	r := report.Make(context.Background(), d, report.Options{})
	for _, cpu := range r.CPUs {
		if cpu.Panicked && cpu.Stack != nil && slices.ContainsFunc(cpu.Stack.Frames, func(f report.Frame) bool { return f.Function == "sysrq_handle_crash" && f.Reliable }) {
			return nil
		}
	}
	return fmt.Errorf("the report has no stack through sysrq_handle_crash: CPUs %+v, problems %+v", r.CPUs, r.Problems)
}

// checkLog checks that a kernel log has mark, which was printed before this
// crash, and is complete to its end.
func checkLog(name, mark string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	_, crash, ok := strings.Cut(string(b), mark)
	switch {
	case !ok:
		return fmt.Errorf("%s does not have the line that was printed before the crash", name)
	case !strings.Contains(crash, "Kernel panic - not syncing: sysrq triggered crash"):
		return fmt.Errorf("%s does not have the panic", name)
	}
	return nil
}

// checkModes checks that only root can read a dump: 0700 and 0600.
func checkModes(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			return fmt.Errorf("%s has mode %04o, not %04o", p, got, want)
		}
		return nil
	})
}

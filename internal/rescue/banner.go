package rescue

import (
	"fmt"
	"io"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
)

// banner tells the person what failed, what is saved, what to do, and when the machine
// goes down.
func (s *Session) banner(w io.Writer) {
	fmt.Fprintf(w, "\nukdump-rescue: this machine crashed, and the capture failed.\n")
	s.describe(w)
	fmt.Fprintf(w, "Type help for the commands. Remove the cause, then type\n"+
		"  capture         to try the capture again\n"+
		"  save DEVICE     to write the log, and the vmcore if there is room, to another device\n"+
		"  exit            to end the shell: %s\n", s.Final)
	if d := s.timeout(); d > 0 {
		fmt.Fprintf(w, "Without input the shell ends after %s: %s.\n", minutes(d), s.Final)
	}
}

// minutes returns a time in words.
func minutes(d time.Duration) string {
	if d == time.Minute {
		return "1 minute"
	}
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	}
	return fmt.Sprintf("%d seconds", int(d.Seconds()))
}

// mostErrors is how many errors the banner shows: a terminal has 25 lines.
const mostErrors = 8

// describe prints the results of the capture.
func (s *Session) describe(w io.Writer) {
	r := s.report
	if r == nil {
		fmt.Fprintln(w, "The report of the capture cannot be read; dmesg shows the messages.")
		return
	}
	if reason := r.Panic.Reason(); reason != "" {
		fmt.Fprintf(w, "Crash:  %s\n", evidence.Printable(reason))
	}
	list := r.Errors
	if n := len(list) - mostErrors; n > 0 {
		fmt.Fprintf(w, "Error:  (%d earlier errors: type report)\n", n)
		list = list[n:]
	}
	for _, e := range list {
		fmt.Fprintf(w, "Error:  %s\n", evidence.Printable(e))
	}
	fmt.Fprintf(w, "Saved:  %s\n", saved(r))
}

// saved says what the dump has, and where.
func saved(r *crashdir.Report) string {
	where := ""
	if r.Target.Dir != "" {
		where = fmt.Sprintf(" in %s (device %s)", r.Target.Dir, r.Target.Device)
	}
	switch r.Outcome {
	case crashdir.Complete:
		return "a complete dump" + where
	case crashdir.Incomplete:
		return "the log and a part of the vmcore" + where
	case crashdir.DmesgOnly:
		return "the log of the kernel, no vmcore" + where
	}
	return "nothing"
}

func reportCommand(c *call) error {
	r := c.s.report
	if r == nil {
		return fmt.Errorf("%s cannot be read", c.s.path("run/ukdump"))
	}
	b, err := r.Encode()
	if err != nil {
		return err
	}
	_, err = c.out.Write(b)
	return err
}

// planCommand shows the plan as a person reads it.
func planCommand(c *call) error {
	p := c.s.Plan
	if p == nil {
		return fmt.Errorf("the plan cannot be read")
	}
	fmt.Fprintf(c.out, "kernel     %s\n", p.Kernel.Release)
	for _, m := range p.Modules {
		fmt.Fprintf(c.out, "module     %s %s\n", m.Name, m.Params)
	}
	for _, t := range p.Targets {
		fmt.Fprintf(c.out, "target     %s: %s on %s file system %s %s (was %s)\n", t.Dir, t.Path, t.Filesystem.Type, t.Filesystem.UUID, t.Filesystem.Options, t.Device.Name)
		for _, l := range t.Layers {
			fmt.Fprintf(c.out, "  layer    %s %s %s\n", l.Kind, l.Name, l.UUID)
		}
	}
	for _, t := range p.Evidence {
		fmt.Fprintf(c.out, "evidence   %s: %s on %s file system %s\n", t.Dir, t.Path, t.Filesystem.Type, t.Filesystem.UUID)
	}
	for _, col := range p.Collectors {
		fmt.Fprintf(c.out, "collector  %s: %v\n", col.Name, col.Argv)
	}
	if p.LogOnly {
		fmt.Fprintf(c.out, "collector  none: only the kernel log and the report are saved (DUMP=log)\n")
	}
	fmt.Fprintf(c.out, "time       %d s in all, %d s for a device\n", p.Deadlines.Total, p.Deadlines.Device)
	fmt.Fprintf(c.out, "then       %s after a complete dump, else %s\n", p.FinalAction, p.FailureAction)
	return nil
}

package ctl

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"ukdump/internal/cli"
	"ukdump/internal/state"
	"ukdump/internal/verify"
)

func (c *ctl) verifyVerb() *cli.Command {
	return &cli.Command{
		Name: "verify", Summary: "check, short of a crash, that a crash now would be saved",
		About: `Checks, short of crashing the machine, that a crash now would be saved: reads back
the loaded image, compares it and its plan with this machine, looks for each driver,
library and firmware file in it, runs its makedumpfile on the running kernel, and
writes to the targets.

Prints the devices below each target, down to the controllers, with the module of
each, and one line for each check. status shows the result.`,
		Root: true, Status: []string{"0 if there is no problem", "1 if there is one"},
		Run: func([]string) error { return c.locked("verify", c.verify) },
	}
}

func (c *ctl) verify() error {
	c.store.Sweep()
	v := c.checker()
	err := v.Verify()
	if err == nil {
		err = c.printFindings(v)
	}
	// An older result does not describe the next load.
	if err := c.store.SaveVerified(v.Result()); err != nil {
		c.Warn(fmt.Sprintf("status will not know the result: %v", err))
	}
	if err != nil {
		return err
	}
	if n := len(v.Problems()); n > 0 {
		return fmt.Errorf("verify: %d of %d findings are problems: a crash now may not be saved", n, len(v.Findings))
	}
	return nil
}

// checker returns the value that checks for this run.
func (c *ctl) checker() *verify.Run {
	return &verify.Run{Loader: c.loader(), TryWrite: c.tryWrite}
}

// printFindings shows the image, the stacks and the findings.
func (c *ctl) printFindings(v *verify.Run) error {
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	line := func(cells ...string) {
		for i := range cells {
			cells[i] = cleanCell(cells[i])
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	if v.Image != nil {
		which := "the loaded one"
		if v.Loaded == nil {
			which = "the one that load would take"
		}
		line("image", v.Image.Path+", "+which)
		line("", "sha256:"+state.ID(v.Image.Data))
		line()
	}
	for _, s := range v.Stacks {
		for _, l := range v.Tree(s) {
			line(l...)
		}
		line()
	}
	w.Flush()
	for _, f := range v.Findings {
		line(string(f.Severity), f.Topic, f.Text)
		if f.Advice != "" {
			line("", "", f.Advice)
		}
	}
	return w.Flush()
}

// cleanCell is cli.Clean but for the blanks in front.
func cleanCell(s string) string {
	rest := strings.TrimLeft(s, " ")
	return s[:len(s)-len(rest)] + cli.Clean(rest)
}

package ctl

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"ukdump/internal/cli"
	"ukdump/internal/state"
	"ukdump/internal/verify"
)

const verifyUsage = `Usage: kdumpctl verify

Proves that a crash now would be saved, as far as that can be known before one:
reads back the image that is loaded, compares it and its plan with what this
machine is now, looks for each driver, library and firmware file in it, runs its
makedumpfile on the running kernel, and writes to the targets.

Prints what each target lies on, down to the controllers, with the module of each
level, and one line for each thing that was looked at. status shows the result.

Exit status: 0 if everything is in order, 1 if not.
`

func (c *ctl) verify(args []string) error {
	if _, err := cli.Parse(c.Flags("verify", verifyUsage), args, 0, 0); err != nil {
		return err
	}
	if err := c.needRoot("verify"); err != nil {
		return err
	}
	unlock, err := c.lock("verify")
	if err != nil {
		return err
	}
	defer unlock()
	c.store.Sweep()
	v := c.checker()
	err = v.Verify()
	if err == nil {
		err = c.printFindings(v)
	}
	// What was verified before is not what the next load would do.
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

package ctl

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/plan"
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

// verification is one run of verify.
type verification struct {
	*ctl
	conf   *config.Config
	build  *builder.Build  // what this machine needs now; nil if nothing can be built
	stacks []builder.Stack // what the targets lie on
	loaded *loaded         // nil if nothing is, or it is not known what

	image *packed         // what is proven; nil if there is none
	files map[string]file // of image, by path
	plan  *plan.Plan      // of image; nil if it has no valid one

	forecast *forecast // of a dump by the makedumpfile in the image
	findings []finding
}

// finding is one thing that was looked at.
type finding struct {
	topic string
	text  string // what was found; of a problem, what and why
	err   error  // the problem, nil for none
	note  bool   // not in order, but no problem
}

func (v *verification) ok(topic, format string, a ...any) {
	v.findings = append(v.findings, finding{topic: topic, text: fmt.Sprintf(format, a...)})
}

func (v *verification) note(topic, format string, a ...any) {
	v.findings = append(v.findings, finding{topic: topic, text: fmt.Sprintf(format, a...), note: true})
}

// problem adds err, if it is one, and reports whether it is.
func (v *verification) problem(topic string, err error) bool {
	if err != nil {
		v.findings = append(v.findings, finding{topic: topic, text: err.Error(), err: err})
	}
	return err != nil
}

// toReload is a problem that the next load solves.
func toReload(format string, a ...any) error {
	return advice.With(fmt.Errorf(format, a...), "Run kdumpctl reload.")
}

// problems returns what is wrong, one line each.
func (v *verification) problems() (list []string) {
	for _, f := range v.findings {
		if f.err != nil {
			list = append(list, f.topic+": "+f.text)
		}
	}
	return list
}

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
	c.sweep()
	v := &verification{ctl: c}
	if err := v.run(); err != nil {
		// What was proven before is not what the next load would do.
		v.problem("configuration", err)
		if err := c.saveVerified(v.result()); err != nil {
			c.Warn(fmt.Sprintf("status will not know the result: %v", err))
		}
		return err
	}
	if err := v.print(); err != nil {
		return err
	}
	if err := c.saveVerified(v.result()); err != nil {
		c.Warn(fmt.Sprintf("status will not know the result: %v", err))
	}
	if n := len(v.problems()); n > 0 {
		return fmt.Errorf("verify: %d of %d findings are problems: a crash now may not be saved", n, len(v.findings))
	}
	return nil
}

// run looks at everything. What is wrong becomes a finding; the error is that of
// a configuration that cannot be read.
func (v *verification) run() error {
	var err error
	if v.conf, err = v.config(); err != nil {
		return err
	}
	o := builder.Options{Root: v.root, Config: v.conf, Pid1: v.pid1}
	v.stacks, _ = builder.Survey(o) // New has the same error
	v.build, err = builder.New(o)
	if !v.problem("machine", err) {
		for _, w := range v.build.Warnings {
			v.note("machine", "%s", w)
		}
	}
	v.checkSlot()
	v.findImage()
	if v.image != nil {
		v.checkLoaded()
		v.checkPlan()
		if v.emergency() {
			v.checkSystem()
		} else {
			v.checkFresh()
			v.checkModules()
			v.checkDrivers()
			v.checkPrograms()
		}
		v.checkReservation()
	}
	v.checkTargets()
	return nil
}

// print shows the image, the stacks and the findings.
func (v *verification) print() error {
	w := tabwriter.NewWriter(v.Stdout, 0, 0, 2, ' ', 0)
	line := func(cells ...string) {
		for i := range cells {
			cells[i] = cleanCell(cells[i])
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	if v.image != nil {
		which := "the loaded one"
		if v.loaded == nil {
			which = "the one that load would take"
		}
		line("image", v.image.path+", "+which)
		line("", "sha256:"+id(v.image.data))
		line()
	}
	for _, s := range v.stacks {
		for _, l := range v.tree(s).lines() {
			line(l...)
		}
		line()
	}
	w.Flush()
	for _, f := range v.findings {
		switch {
		case f.err != nil:
			line("PROBLEM", f.topic, f.text)
			if a := advice.For(f.err); a != "" {
				line("", "", a)
			}
		case f.note:
			line("note", f.topic, f.text)
		default:
			line("ok", f.topic, f.text)
		}
	}
	return w.Flush()
}

// cleanCell is cli.Clean but for the blanks in front.
func cleanCell(s string) string {
	rest := strings.TrimLeft(s, " ")
	return s[:len(s)-len(rest)] + cli.Clean(rest)
}

// result is what status is to know.
func (v *verification) result() *verified {
	r := &verified{
		Time: time.Now().UTC().Round(time.Second), Running: v.read("proc/sys/kernel/osrelease"),
		Problems: v.problems(),
	}
	if v.image != nil {
		r.Image, r.ImageID = v.image.path, id(v.image.data)
	}
	if v.loaded != nil {
		r.KernelID, r.Cmdline, r.Keys = v.loaded.KernelID, v.loaded.Cmdline, descriptions(v.loaded.Keys)
	}
	return r
}

// few lists the first of names.
func few(names []string) string {
	const most = 3
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

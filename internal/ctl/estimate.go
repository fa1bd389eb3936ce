package ctl

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/load"
)

const aboutEstimate = `Estimates the smallest safe crashkernel= for the capture kernel of this machine: from
the kernel, the image and the devices, and from the memory that captures on this
machine took. Shows what the memory is for, and what to do next.`

func (c *ctl) estimateVerb() *cli.Command {
	var asJSON bool
	return &cli.Command{
		Name: "estimate", Summary: "estimate the smallest safe crashkernel=", About: aboutEstimate,
		Root:    true,
		Options: func(f *pflag.FlagSet) { f.BoolVar(&asJSON, "json", false, "print JSON") },
		Run:     func([]string) error { return c.estimate(asJSON) },
	}
}

// sizing estimates for the configured capture kernel.
func (c *ctl) sizing() (*load.Sizing, error) {
	conf, err := c.config()
	if err != nil {
		return nil, err
	}
	b, err := builder.New(c.loader().BuildOptions(conf))
	if err != nil {
		return nil, err
	}
	return c.sizingOf(b, conf)
}

// sizingOf estimates for the capture kernel of b, which was built for conf.
func (c *ctl) sizingOf(b *builder.Build, conf *config.Config) (*load.Sizing, error) {
	ld := c.loader()
	ld.LearnMemory(conf)
	s := &status{}
	c.gatherImage(s, b)
	packed, unpacked, err := c.imageSize(s, b)
	if err != nil {
		return nil, err
	}
	return ld.Size(b, packed, unpacked)
}

func (c *ctl) estimate(asJSON bool) error {
	z, err := c.sizing()
	if err != nil {
		return err
	}
	if asJSON {
		return cli.WriteJSON(c.Stdout, z)
	}
	var list rows
	list.add("kernel", "%s", z.Kernel)
	if z.LogOnly {
		list.add("dump", builder.LogOnly)
	}
	list.add("estimate", "%s, of these:", cli.Size(z.Estimate))
	for _, p := range z.Parts {
		list.add("", "%s %s", cli.Size(p.Bytes), p.Name)
	}
	list.add("measured", "%s", measuredLine(z))
	list.add("smallest", "crashkernel=%dM is the smallest that is safe", z.Smallest>>20)
	if r, err := c.reserved(); err == nil {
		list.add("reserved", "%s", reservedLine(r))
	}
	if z.Lent > 0 {
		list.add("to lend", "%s", lendLine(z))
	}
	list.add("next", "%s", c.nextSize(z))
	return list.print(c.Stdout, c.terminalWidth())
}

// reserved returns the memory that a capture gets, in bytes, with the part that is lent
// until a crash.
func (c *ctl) reserved() (int64, error) {
	m, err := c.kexec.Memory()
	if err != nil {
		return 0, err
	}
	return m.Total(), nil
}

// lendLine says how a part of the reservation can be lent.
func lendLine(z *load.Sizing) string {
	fixed := z.Recommended() - z.Lent
	return fmt.Sprintf("kdumpctl setup --crashkernel='%dM %dM,cma' lends %s of the memory to programs until a crash, which loses their pages and waits 10 seconds for devices",
		fixed>>20, z.Lent>>20, cli.Size(z.Lent))
}

func reservedLine(n int64) string {
	if n == 0 {
		return "nothing"
	}
	return cli.Size(n)
}

func measuredLine(z *load.Sizing) string {
	if len(z.Measured) == 0 {
		return "nothing yet: no crash or test was captured with this kernel"
	}
	last := z.Measured[len(z.Measured)-1]
	result := "complete"
	if !last.Complete {
		result = "not complete"
	}
	if z.LogOnly && last.Complete {
		result = "of a log, which was saved,"
	}
	n := "1 capture"
	if len(z.Measured) > 1 {
		n = fmt.Sprintf("%d captures", len(z.Measured))
	}
	return fmt.Sprintf("%s with this kernel; the last was %s and had %s of %s to spare", n, result, cli.Size(last.Lowest), cli.Size(last.Memory))
}

// nextSize says what to do about the size of the reservation.
func (c *ctl) nextSize(z *load.Sizing) string {
	r, err := c.reserved()
	switch {
	case err != nil:
		return err.Error()
	case !z.Tested() && r < z.Smallest:
		return fmt.Sprintf("Run kdumpctl setup --crashkernel=%dM --apply, reboot, and run kdumpctl test. Then kdumpctl estimate is certain of the smallest size.", z.Suggested>>20)
	case !z.Tested():
		return "Run kdumpctl test: it measures a capture on this machine."
	case r < z.Smallest:
		return fmt.Sprintf("Run kdumpctl setup --crashkernel=%dM --apply, and reboot.", z.Smallest>>20)
	case r >= z.Smallest+z.Smallest/4:
		return fmt.Sprintf("Run kdumpctl setup --crashkernel=%dM --apply for the next boot. kdumpctl shrink gives the rest back now.", z.Smallest>>20)
	}
	return "Nothing: the reservation fits."
}

const aboutShrink = `Gives the part of the reserved memory that the capture kernel does not need back to the
running kernel, at once, and loads the capture kernel again. The next boot reserves what
crashkernel= says. Never goes below what kdumpctl estimate calls safe, and needs a crash
or a test that was captured with this kernel, or --force.`

func (c *ctl) shrinkVerb() *cli.Command {
	var force bool
	return &cli.Command{
		Name: "shrink", Summary: "give reserved memory that no capture needs back", About: aboutShrink,
		Root:    true,
		Options: func(f *pflag.FlagSet) { f.BoolVar(&force, "force", false, "rely on the estimate alone") },
		Run:     func([]string) error { return c.locked("shrink", func() error { return c.shrink(force) }) },
	}
}

func (c *ctl) shrink(force bool) error {
	z, err := c.sizing()
	if err != nil {
		return err
	}
	if !z.Tested() && !force {
		return advice.With(errors.New("shrink: no capture with this kernel has shown yet how much memory it takes"),
			"Run kdumpctl test first, or give --force.")
	}
	before, after, err := c.loader().Shrink(z.Smallest)
	if err != nil {
		return err
	}
	if before == after {
		c.Say("Nothing to give back: %s are reserved, and %s are safe.", cli.Size(before), cli.Size(z.Smallest))
		return nil
	}
	c.Say("%s of %s are given back until the next boot.", cli.Size(before-after), cli.Size(before))
	return nil
}

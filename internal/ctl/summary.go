package ctl

import (
	"strings"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
)

// summary is kdumpctl without a verb: the state in a few lines, and the next step.
func (c *ctl) summary() error {
	s := c.gatherStatus()
	var list rows
	kernel := "not loaded"
	switch {
	case s.Loaded && s.Ours != nil:
		kernel = "loaded: " + s.Ours.Release
	case s.Loaded:
		kernel = "loaded"
	}
	list.add("capture kernel", "%s", kernel)
	list.add("memory", "%s", s.memoryLine())
	var targets []string
	for _, t := range s.Targets {
		targets = append(targets, t.line())
	}
	list.add("targets", "%s", cli.OrDash(strings.Join(targets, "; ")))
	if s.LogOnly {
		list.add("dump", builder.LogOnly)
	}
	if s.Tested != nil {
		list.add("tested", "%s", s.Tested)
	}
	list.add("dumps", "%s", s.dumpsLine())
	list.add("next", "%s", s.next())
	return list.print(c.Stdout, c.terminalWidth())
}

// next is the one thing to do now.
func (s *status) next() string {
	switch p := s.First(); {
	case p != nil && p.Advice != "":
		return p.Text + ". " + p.Advice
	case p != nil:
		return p.Text + ". kdumpctl verify may say more."
	case s.Partial:
		return "Run sudo kdumpctl: only root sees everything."
	case s.Tested == nil || !s.Tested.Holds:
		return "Run kdumpctl test: it proves that a crash is saved."
	}
	return "Nothing: a crash would be saved. kdumpctl --help lists the verbs."
}

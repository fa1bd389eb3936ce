package ctl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
)

// group is the dumps with one fingerprint, as list --group --json prints them.
type group struct {
	Fingerprint string   `json:"fingerprint"` // "unknown" for the dumps without one
	Kind        string   `json:"kind,omitempty"`
	Frames      []string `json:"frames,omitempty"`
	Count       int      `json:"count"`
	Newest      string   `json:"newest"` // name of the newest dump
	Dumps       []string `json:"dumps"`  // names, oldest first

	reason string // of the newest dump
}

// unknownGroup is the group of the dumps without a fingerprint.
const unknownGroup = "unknown"

// groups prints the dumps by fingerprint.
func (c *ctl) groups(o dumpOptions) error {
	dumps, parent, unread := c.scan(o.dir)
	if unread != nil && len(dumps.Dumps) == 0 {
		return unread
	}
	c.warnLeftOut(dumps)
	list := groupsOf(dumps.Dumps)
	if o.json {
		if err := cli.WriteJSON(c.Stdout, list); err != nil {
			return err
		}
		return unread
	}
	if len(list) == 0 {
		fmt.Fprintf(c.Stdout, "No dumps in %s.\n", parent)
		return nil
	}
	lines := []string{fmt.Sprintf("%5s  %-19s  %-20s  %s", "COUNT", "FINGERPRINT", "NEWEST", "CRASH")}
	for _, g := range list {
		crash := g.reason
		if g.Kind != "" {
			crash = g.Kind
		}
		if len(g.Frames) > 0 {
			crash += " in " + g.Frames[0]
		}
		lines = append(lines, fmt.Sprintf("%5d  %-19s  %-20s  %s", g.Count, g.Fingerprint, g.Newest, cli.OrDash(cli.Text(crash, cli.MaxText))))
	}
	width := cmp.Or(c.terminalWidth(), pipeWidth)
	for _, line := range lines {
		if _, err := fmt.Fprintln(c.Stdout, cut(strings.TrimRight(line, " "), width)); err != nil {
			return err
		}
	}
	return unread
}

// groupsOf groups dumps, which come oldest first: the largest group first, of the same size the
// one with the newer dump, and the unknown ones last.
func groupsOf(dumps []crashdir.Dump) []*group {
	list := []*group{} // never null
	byID := make(map[string]*group)
	order := make(map[string]int)
	for i := range dumps {
		d := &dumps[i]
		f := fingerprintOf(d)
		id := unknownGroup
		if f != nil {
			id = f.ID
		}
		g := byID[id]
		if g == nil {
			g = &group{Fingerprint: id}
			byID[id], list = g, append(list, g)
		}
		if f != nil {
			g.Kind, g.Frames = f.Kind, f.Frames
		}
		g.Count, g.Newest, g.Dumps = g.Count+1, d.Name, append(g.Dumps, d.Name)
		order[id] = i
	}
	for _, g := range list {
		d := &dumps[order[g.Fingerprint]]
		g.reason = strings.TrimPrefix(reasonOf(evidence.OfDump(d)), panicPrefix)
		if g.Fingerprint == unknownGroup {
			g.reason = "dumps without a report that knows the crash"
		}
	}
	slices.SortStableFunc(list, func(a, b *group) int {
		switch unknownGroup {
		case a.Fingerprint:
			return 1
		case b.Fingerprint:
			return -1
		}
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(order[b.Fingerprint], order[a.Fingerprint]))
	})
	return list
}

package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// pageLog is the end of the log as a time line and as a list.
type pageLog struct {
	Lines       shownList[pageLogLine]
	Marks       []pageMark
	Label       string
	Logarithmic bool
}

// A pageLogLine is a line of the log.
type pageLogLine struct {
	Stamp, Severity, Text string
	Class                 string // of the colour and of the lane
	At                    string // position on the time line
	Gap                   string // the time since the line before, if it is long
}

// A pageMark is a mark of the time line.
type pageMark struct {
	At, Label string
	Last      bool
}

// severities are the names of the kernel's levels, see syslog(3).
var severities = [8]struct{ name, class string }{
	{"emerg", "error"}, {"alert", "error"}, {"crit", "error"}, {"err", "error"},
	{"warning", "warning"}, {"notice", "info"}, {"info", "info"}, {"debug", "info"},
}

// decades are the marks of a logarithmic time line, in seconds before the last line.
var decades = []struct {
	seconds float64
	label   string
}{
	{0.1, "0.1 s"}, {1, "1 s"}, {10, "10 s"}, {100, "100 s"}, {1000, "17 min"}, {3600 * 3, "3 h"},
	{3600 * 30, "30 h"}, {86400 * 12, "12 days"}, {86400 * 120, "120 days"},
}

// A time line up to longestLinear seconds is linear. On a longer one all of the last seconds would
// be one mark, so it is logarithmic: the shortest time that it can show is nearest, in seconds.
const (
	longestLinear = 10
	nearest       = 0.01
)

func newPageLog(all []Line) pageLog {
	shown := firstOnes(all[max(0, len(all)-pageLines):], pageLines)
	p := pageLog{}
	p.Lines.Known, p.Lines.Omitted = all != nil, len(all)-len(shown.Items)
	first, last := math.Inf(1), math.Inf(-1)
	for _, l := range shown.Items {
		first, last = min(first, l.Seconds), max(last, l.Seconds)
	}
	scale := newTimeScale(last - first)
	errors, warnings := 0, 0
	for i, l := range shown.Items {
		line := pageLogLine{Stamp: fmt.Sprintf("%.6f", l.Seconds), Severity: "-", Class: "info", Text: visible(l.Text, pageLine), At: scale.at(last - l.Seconds)}
		if l.Level >= 0 && l.Level < len(severities) {
			line.Severity, line.Class = severities[l.Level].name, severities[l.Level].class
		}
		switch line.Class {
		case "error":
			errors++
		case "warning":
			warnings++
		}
		if i > 0 {
			if gap := l.Seconds - shown.Items[i-1].Seconds; gap >= 1 && gap >= (last-first)/10 {
				line.Gap = seconds(&gap) + " later"
			}
		}
		p.Lines.Items = append(p.Lines.Items, line)
	}
	if len(shown.Items) < 2 {
		return p
	}
	p.Marks, p.Logarithmic = scale.marks(), scale.logarithmic
	p.Label = fmt.Sprintf("Time line of %s: %s, %s. The list below has the same lines.", plural(len(shown.Items), "line", "lines"), plural(errors, "error", "errors"), plural(warnings, "warning", "warnings"))
	return p
}

// timeScale places times before the end.
type timeScale struct {
	longest     float64 // in seconds
	logarithmic bool
}

func newTimeScale(longest float64) timeScale {
	if math.IsNaN(longest) || math.IsInf(longest, 0) {
		longest = 0
	}
	return timeScale{max(longest, 1e-6), longest > longestLinear}
}

// at returns the position in per cent. The ends leave room for a mark.
func (s timeScale) at(before float64) string {
	part := min(max(before, 0), s.longest) / s.longest
	if s.logarithmic {
		part = math.Log(min(max(before, nearest), s.longest)/nearest) / math.Log(s.longest/nearest)
	}
	return bar(98-96*part, 100)
}

// marks returns at most five marks, so that their labels fit on a telephone.
func (s timeScale) marks() (shown []pageMark) {
	if s.logarithmic {
		for i := len(decades) - 1; i >= 0; i-- {
			if m := decades[i]; m.seconds < s.longest/2 {
				shown = append(shown, pageMark{s.at(m.seconds), m.label, false})
			}
		}
		for len(shown) > 4 {
			for i := 1; i < len(shown); i++ {
				shown = slices.Delete(shown, i, i+1)
			}
		}
	} else {
		step := math.Pow(10, math.Floor(math.Log10(s.longest)))
		if s.longest/step < 2 {
			step /= 5
		}
		for s.longest/step >= 5 {
			step *= 2
		}
		for n := 4; n > 0; n-- {
			if before := float64(n) * step; before < s.longest {
				shown = append(shown, pageMark{s.at(before), shortTime(before), false})
			}
		}
	}
	return append(shown, pageMark{s.at(0), "end", true})
}

// shortTime prints a time below a minute with one digit.
func shortTime(seconds float64) string {
	if seconds < 1 {
		return strconv.FormatFloat(seconds*1000, 'g', 2, 64) + " ms"
	}
	return strconv.FormatFloat(seconds, 'g', 2, 64) + " s"
}

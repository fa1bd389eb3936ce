package ctl

import (
	"strings"
	"unicode/utf8"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
)

// The columns of list.
const (
	dumpColumn = iota
	sizeColumn
	outcomeColumn
	kernelColumn
	reasonColumn
	nColumns
)

// goodReason is the number of characters in which most reasons can be recognised. To
// have them for the reason, other columns give way.
const goodReason = 32

// panicPrefix begins the line of every panic, in kernel/panic.c.
const panicPrefix = "Kernel panic - not syncing: "

// listRow returns the columns of a dump.
func listRow(d *crashdir.Dump) (row [nColumns]string) {
	why := evidence.OfDump(d)
	row[dumpColumn], row[sizeColumn], row[outcomeColumn] = d.Name, sizeOf(d), outcomeOf(d)
	row[kernelColumn] = cli.OrDash(ascii(cli.Text(why.Kernel, 40))) // distributions' releases are shorter
	row[reasonColumn] = strings.TrimPrefix(reasonOf(why), panicPrefix)
	return row
}

// reasonOf returns the reason of a crash for people.
func reasonOf(r evidence.Reason) string {
	if r.Sealed {
		return encryptedText
	}
	if r.Hidden {
		return notKnown
	}
	return cli.OrDash(cli.Text(r.Panic.Reason(), cli.MaxText))
}

// outcomeOf returns the outcome of a dump for people.
func outcomeOf(d *crashdir.Dump) string {
	if d.Sealed() {
		return plainOutcome(d) + ", " + encryptedText
	}
	return plainOutcome(d)
}

func plainOutcome(d *crashdir.Dump) string {
	switch {
	case d.Outcome == crashdir.Unknown:
		return notKnown
	case imported(d):
		return string(d.Outcome) + ", imported"
	case !d.Test && d.At != "":
		return "complete at a server"
	case !d.Test && d.LogOnly:
		return "log saved"
	case !d.Test:
		return string(d.Outcome)
	// The vmcore of a test that passed is removed when that was announced.
	case d.Saved(), d.Report.Outcome == crashdir.Complete && d.Vmcore == "":
		return "test passed"
	}
	return "test failed"
}

// sizeOf returns the size of a dump for people.
func sizeOf(d *crashdir.Dump) string {
	if d.Outcome == crashdir.Unknown {
		return "-"
	}
	return cli.Size(d.Size)
}

// notKnown is printed for facts that the caller may not read.
const notKnown = "not known"

// encryptedText is printed for files, and for facts that only these tell.
const encryptedText = "encrypted"

// listTable returns the lines of list, of at most width columns of a terminal. The reason is the
// column that people look for: the kernel and then the size give way to it.
func listTable(table [][nColumns]string, width int) (lines []string) {
	table = append([][nColumns]string{{"DUMP", "SIZE", "OUTCOME", "KERNEL", "REASON"}}, table...)
	var widths [nColumns]int
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	shown := []int{dumpColumn, sizeColumn, outcomeColumn, kernelColumn, reasonColumn}
	for _, drop := range []int{kernelColumn, sizeColumn} {
		left := width
		for _, i := range shown[:len(shown)-1] {
			left -= widths[i] + 2
		}
		if left >= min(widths[reasonColumn], goodReason) {
			break
		}
		shown = without(shown, drop)
	}
	for _, row := range table {
		line := ""
		for _, i := range shown {
			line += row[i] + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(row[i])+2)
		}
		lines = append(lines, cut(cli.Clean(line), width))
	}
	return lines
}

// ascii returns s with a question mark for each other letter. Releases have none, and one
// that takes two columns or none would move the columns behind it.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf && r != '…' {
			return '?'
		}
		return r
	}, s)
}

// firstWide is the first letter that may take two columns of a terminal: Hangul Jamo,
// see EastAsianWidth.txt of Unicode.
const firstWide = 0x1100

// cells returns how many columns of a terminal s takes at most.
func cells(s string) (n int) {
	for _, r := range s {
		if n++; r >= firstWide && r != '…' {
			n++
		}
	}
	return n
}

// cut returns s, or its beginning with an ellipsis if s takes more than width columns. A
// longer line would continue on the next one, like a line of list.
func cut(s string, width int) string {
	if cells(s) <= width {
		return s
	}
	left := width - 1
	for i, r := range s {
		if left -= cells(string(r)); left < 0 {
			return s[:i] + "…"
		}
	}
	return s
}

// without returns a list without one of its elements.
func without(list []int, element int) (rest []int) {
	for _, e := range list {
		if e != element {
			rest = append(rest, e)
		}
	}
	return rest
}

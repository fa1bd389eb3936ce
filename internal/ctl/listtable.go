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
	row[kernelColumn] = cli.OrDash(cli.Text(why.Kernel, 40)) // distributions' releases are shorter
	row[reasonColumn] = strings.TrimPrefix(reasonOf(why), panicPrefix)
	return row
}

// reasonOf returns the reason of a crash for people.
func reasonOf(r evidence.Reason) string {
	if r.Hidden {
		return notKnown
	}
	return cli.OrDash(cli.Text(r.Panic.Reason(), cli.MaxText))
}

// outcomeOf returns the outcome of a dump for people.
func outcomeOf(d *crashdir.Dump) string {
	switch {
	case d.Outcome == crashdir.Unknown:
		return notKnown
	case !d.Test:
		return string(d.Outcome)
	// The vmcore of a test that passed is removed when that was announced.
	case d.Outcome == crashdir.Complete, d.Report.Outcome == crashdir.Complete && d.Vmcore == "":
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

// listTable returns the lines of list, of at most width characters. The reason is the
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
		lines = append(lines, cli.Text(line, width))
	}
	return lines
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

package makedumpfile

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// The sentences of makedumpfile that have a meaning here (makedumpfile.c).
const (
	// A kernel newer than makedumpfile knows (check_release). It then goes on,
	// and exits with 0.
	unknownKernel = "The kernel version is not supported."
	mayBePartial  = "The makedumpfile operation may be incomplete."
	failed        = "makedumpfile Failed." // main, whatever the reason
)

// UnknownKernel reports whether output says that the kernel is newer than
// makedumpfile knows. Every makedumpfile says so of every younger kernel, mostly
// without need.
func UnknownKernel(output string) bool { return strings.Contains(output, unknownKernel) }

// Reason returns the last line of output that says why makedumpfile, or another
// collector, failed. It is "" if there is none.
func Reason(output string) string {
	var reason, line string
	for output != "" {
		line, output, _ = strings.Cut(output, "\n")
		line = strings.TrimSpace(line)
		if !slices.Contains([]string{"", unknownKernel, mayBePartial, failed}, line) {
			reason = line
		}
	}
	return reason
}

// Progress is the last progress that makedumpfile printed:
// "Copying data : [ 45.3 %] / eta: 12s" (print_progress in print_info.c).
type Progress struct {
	Phase   string // "Copying data"
	Percent float64
}

// Copying reports whether the percentage is of the pages that are copied. The
// phases before it look for pages.
func (p Progress) Copying() bool { return strings.HasPrefix(p.Phase, "Copying data") }

// Update reads the progress at the end of output, and reports whether there is
// any.
func (p *Progress) Update(output []byte) bool {
	i := bytes.LastIndexByte(output, '%')
	if i < 0 {
		return false
	}
	output = output[:i]
	if j := bytes.LastIndexAny(output, "\r\n"); j >= 0 {
		output = output[j+1:]
	}
	phase, number, ok := strings.Cut(string(output), ": [")
	if !ok {
		return false
	}
	percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return false
	}
	p.Phase, p.Percent = strings.TrimSpace(phase), percent
	return true
}

package makedumpfile

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// The sentences of makedumpfile that have a meaning here (makedumpfile.c).
const (
	// A kernel newer than makedumpfile supports (check_release). makedumpfile then
	// continues, and exits with 0.
	unknownKernel = "The kernel version is not supported."
	mayBePartial  = "The makedumpfile operation may be incomplete."
	failed        = "makedumpfile Failed." // main, for every reason
)

// UnknownKernel reports whether output has the warning about a kernel that is newer
// than makedumpfile supports. It appears for every newer kernel, mostly without need.
func UnknownKernel(output string) bool { return strings.Contains(output, unknownKernel) }

// Reason returns the last line of output with a reason why makedumpfile, or another
// collector, failed, or "".
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

// Copying reports whether the percentage is that of copied pages. Earlier phases search
// for pages.
func (p Progress) Copying() bool { return strings.HasPrefix(p.Phase, "Copying data") }

// Update reads the progress at the end of output, and reports whether it found any.
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

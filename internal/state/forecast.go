package state

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Verdict is whether makedumpfile understands a kernel.
type Verdict string

// The verdicts.
const (
	Untried    Verdict = ""           // makedumpfile was not run, or gave no result
	Understood Verdict = "understood" // it counts no page wrongly
	Misread    Verdict = "misread"    // it counts pages that the kernel does not have
)

// Forecast is how large a dump of the running kernel would be, as far as
// makedumpfile can tell. nil knows nothing.
type Forecast struct {
	Release string  `json:"release"` // of the kernel, as uname -r prints it
	Verdict Verdict `json:"verdict,omitempty"`
	Bytes   int64   `json:"bytes,omitempty"`   // the most that a dump takes, as nothing is compressed; 0 if unknown
	Note    string  `json:"note,omitempty"`    // why it is larger than it could be
	Problem string  `json:"problem,omitempty"` // why the size or the verdict is unknown
	// Corrected says that it reads the kernel's memory if it gets a corrected VMCOREINFO,
	// as in the capture kernel, and could not count the pages.
	Corrected bool      `json:"corrected,omitempty"`
	Late      bool      `json:"late,omitempty"` // makedumpfile did not end in time, which says nothing about the kernel
	Time      time.Time `json:"time,omitzero"`  // when makedumpfile gave the result
}

// Words are the words of the capture kernel's command line for PID 1 about f. A kernel
// that was not tried has none.
func (f *Forecast) Words() []string {
	if f == nil || f.Release == "" || strings.ContainsAny(f.Release, " \t\n\"") {
		return nil
	}
	switch {
	case f.Verdict == Misread:
		return []string{"ukdump.misread=" + f.Release}
	case f.Verdict != Understood:
		return nil
	case f.Bytes == 0:
		return []string{"ukdump.known=" + f.Release}
	}
	// Rounded up, so that not every load has another command line.
	step := int64(1) << max(bits.Len64(uint64(f.Bytes))-3, 20)
	return []string{fmt.Sprintf("ukdump.expect=%d", (f.Bytes+step-1)/step*step), "ukdump.known=" + f.Release}
}

// CoveredBy reports whether the words of o serve as well as those of f: an upper limit
// that is too high.
func (f *Forecast) CoveredBy(o *Forecast) bool {
	return f != nil && o != nil && f.Verdict == Understood && o.Verdict == Understood && f.Release == o.Release && f.Bytes <= o.Bytes
}

// SetForecast makes f the forecast of the set, with its words on the command line. They
// come first, because the user's own words may end in words for init.
func (l *LoadRecord) SetForecast(f *Forecast) {
	bare := l.Bare()
	l.Forecast, l.Words = f, f.Words()
	l.Cmdline = strings.TrimSpace(strings.Join(append(slices.Clone(l.Words), bare), " "))
}

// WithWords returns a command line with the words that the loaded set has.
func (l *LoadRecord) WithWords(cmdline string) string {
	return strings.TrimSpace(strings.Join(append(slices.Clone(l.Words), cmdline), " "))
}

// Bare returns the command line without the words of a forecast, which can be others at
// each boot and change nothing in what is loaded.
func (l *LoadRecord) Bare() string {
	return strings.TrimSpace(strings.TrimPrefix(l.Cmdline, strings.Join(l.Words, " ")))
}

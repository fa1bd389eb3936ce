package state

import (
	"fmt"
	"math/bits"
	"strings"
)

// Forecast is how large a dump of the running kernel would be, as far as
// makedumpfile can tell. nil knows nothing.
type Forecast struct {
	Release string `json:"release"`           // of the kernel, as uname -r prints it
	Bytes   int64  `json:"bytes,omitempty"`   // the most that a dump takes, as nothing is compressed; 0 if unknown
	Note    string `json:"note,omitempty"`    // why it is larger than it could be
	Problem string `json:"problem,omitempty"` // why it is unknown
}

// Words are the words of the capture kernel's command line for PID 1 about f. There are
// none if makedumpfile does not understand the kernel.
func (f *Forecast) Words() []string {
	if f == nil || f.Bytes == 0 || f.Release == "" || strings.ContainsAny(f.Release, " \t\n\"") {
		return nil
	}
	// Rounded up, so that not every load has another command line.
	step := int64(1) << max(bits.Len64(uint64(f.Bytes))-3, 20)
	return []string{fmt.Sprintf("ukdump.expect=%d", (f.Bytes+step-1)/step*step), "ukdump.known=" + f.Release}
}

// AddTo returns a command line with the words of f. They come first, because
// what the user appends may end in words for init.
func (f *Forecast) AddTo(cmdline string) string {
	return strings.TrimSpace(strings.Join(append(f.Words(), cmdline), " "))
}

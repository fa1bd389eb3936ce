package vmtest

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A console keeps at least so many lines, and at most twice as many: a guest
// that prints without end must not fill the host's memory.
const minConsole = 50_000

// console collects the lines of a serial console and lets others wait for
// them. It is an io.Writer.
type console struct {
	mu      sync.Mutex
	lines   []string
	dropped int // lines no longer in lines
	partial []byte
	changed chan struct{} // closed and replaced whenever something was added
	onLine  func(string)
}

func newConsole(onLine func(string)) *console {
	return &console{changed: make(chan struct{}), onLine: onLine}
}

// Write splits p into lines without terminal control sequences.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range p {
		if b != '\n' && len(c.partial) < 4096 {
			c.partial = append(c.partial, b)
			continue
		}
		line := plainText(c.partial)
		c.partial = c.partial[:0]
		c.lines = append(c.lines, line)
		if c.onLine != nil {
			c.onLine(line)
		}
	}
	if len(c.lines) > 2*minConsole {
		n := len(c.lines) - minConsole
		c.lines = slices.Clone(c.lines[n:])
		c.dropped += n
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return len(p), nil
}

// escape matches the control sequences that firmware and systemd print
// (ECMA-48, 5.4).
var escape = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|[@-Z\\-_c])`)

// plainText returns a line as a terminal would show it in the end: progress
// that was overwritten after a carriage return is gone.
func plainText(b []byte) string {
	s := strings.TrimRight(escape.ReplaceAllString(string(b), ""), "\r")
	s = s[strings.LastIndexByte(s, '\r')+1:]
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// find returns the number of the first line from number from on that contains
// marker, or -1 and a channel that is closed when there is more to look at.
func (c *console) find(marker string, from int) (int, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := max(from-c.dropped, 0); i < len(c.lines); i++ {
		if strings.Contains(c.lines[i], marker) {
			return c.dropped + i, nil
		}
	}
	return -1, c.changed
}

// all returns the lines so far, an unfinished last one included.
func (c *console) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := slices.Clone(c.lines)
	if len(c.partial) > 0 {
		lines = append(lines, plainText(c.partial))
	}
	return lines
}

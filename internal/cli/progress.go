package cli

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// quiet is how long work may take before it says what it does, and again how far it is.
	quiet = time.Second
	// clearLine goes to the beginning of the line and clears it (console_codes(4)).
	clearLine = "\r\x1b[K"
)

// Task is work that may take longer than a person likes to look at nothing. Begin returns
// it, and its methods do nothing for nil.
type Task struct {
	p        *Program
	what     string
	terminal bool
	done     chan struct{}
	ended    sync.WaitGroup

	mu      sync.Mutex
	percent int
}

// Begin says on standard error what the program is doing, if it takes more than a second:
// on a terminal a line with time and share that is gone at the end, elsewhere one plain
// line. End must be called, before anything else is printed.
func (p *Program) Begin(format string, a ...any) *Task {
	f, ok := p.Stderr.(*os.File)
	if !ok {
		return nil
	}
	t := &Task{p: p, what: Clean(fmt.Sprintf(format, a...)), terminal: IsTerminal(f), done: make(chan struct{}), percent: -1}
	t.ended.Add(1)
	go t.show(time.Now())
	return t
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Share tells how much of the work is done, of a total.
func (t *Task) Share(done, total int64) {
	if t == nil || total <= 0 {
		return
	}
	t.mu.Lock()
	t.percent = int(min(100, max(0, float64(done)/float64(total)*100)))
	t.mu.Unlock()
}

// End ends the display.
func (t *Task) End() {
	if t == nil {
		return
	}
	close(t.done)
	t.ended.Wait()
}

func (t *Task) show(begin time.Time) {
	defer t.ended.Done()
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	shown := false
	for {
		select {
		case <-t.done:
			if shown && t.terminal {
				fmt.Fprint(t.p.Stderr, clearLine)
			}
			return
		case <-tick.C:
		}
		switch {
		case t.terminal:
			fmt.Fprint(t.p.Stderr, clearLine+t.line(time.Since(begin)))
		case !shown:
			fmt.Fprintf(t.p.Stderr, "%s: %s\n", t.p.Name, t.what)
		}
		shown = true
	}
}

// line is what a terminal shows.
func (t *Task) line(d time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.percent < 0 {
		return fmt.Sprintf("%s: %s … %d s", t.p.Name, t.what, int(d.Seconds()))
	}
	return fmt.Sprintf("%s: %s … %d %%, %d s", t.p.Name, t.what, t.percent, int(d.Seconds()))
}

package main

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// story prints the phases of the demo, each with its time, and below each the
// output of its programs. It records all of it.
type story struct {
	mu    sync.Mutex
	title string // of the current phase, or empty
	start time.Time
	empty bool // nothing was printed under the title yet
	live  bool // the console's lines are shown
	rest  string
	cast  cast
}

// begin ends the current phase and begins another.
func (s *story) begin(title string) {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.title, s.start, s.empty = title, time.Now(), true
	fmt.Printf("==> %-58s", title)
	s.cast.add(true, title)
	s.cast.add(false, "==> "+title)
}

// end ends the current phase, if there is one.
func (s *story) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.title == "" {
		return
	}
	if !s.empty {
		fmt.Printf("%62s", "")
	}
	fmt.Printf("%7.1f s\n", time.Since(s.start).Seconds())
	s.title = ""
}

// show prints a line under the title of the current phase.
func (s *story) show(format string, a ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.empty {
		fmt.Println()
		s.empty = false
	}
	line := "  | " + fmt.Sprintf(format, a...)
	fmt.Println(line)
	s.cast.add(false, line)
}

// Write shows the output of a command, line by line.
func (s *story) Write(p []byte) (int, error) {
	lines := strings.Split(s.rest+string(p), "\n")
	s.rest = lines[len(lines)-1]
	for _, l := range lines[:len(lines)-1] {
		s.show("%s", l)
	}
	return len(p), nil
}

// Titles of the phases that the machine begins: it says "phase NAME".
var phases = map[string]string{
	"load":  "Load the capture kernel",
	"crash": "Crash; after the panic the capture kernel takes over",
	"list":  "Look at the dump",
}

// console takes the lines of the machine's console. It shows them from the
// beginning of a phase to "hide".
func (s *story) console(line string) {
	_, said, ok := strings.Cut(line, "ukdump-test: ")
	switch name, isPhase := strings.CutPrefix(said, "phase "); {
	case ok && isPhase:
		s.begin(phases[name])
		s.live = true
	case ok && strings.HasPrefix(said, "FAILED"):
		s.show("%s", said)
	case ok && said == "hide":
		s.live = false
	case !ok && s.live && line != "":
		s.show("%s", line)
	}
}

// Scripts for the machine, before the crash and after it.
const (
	crashScript = typed + `
say phase load
typed kdumpctl load
typed kdumpctl status
say phase crash
echo "# echo c >/proc/sysrq-trigger"
sync
echo 1 >/proc/sys/kernel/sysrq
echo c >/proc/sysrq-trigger
`
	afterScript = typed + `
say phase list
typed kdumpctl list
typed kdumpctl info
say hide
results var/crash
`
	typed = `. /ukdump-test/lib.sh
typed() {
	echo "# $*"
	"$@" || [ $? = 4 ] || fail "$*: status $?" # 4 is a problem that status shows
}
`
)

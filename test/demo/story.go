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
	"setup": "Install the package and set the machine up",
	"crash": "Test it: shut down, crash at the end, capture",
	"list":  "Look at the result",
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

// Scripts for the machine: the first boot installs a boot loader, and each of the next
// ones runs a step.
const (
	installScript = `. /ukdump-test/boot-install
keep_cloud
own_boot -O ^metadata_csum_seed
words="console=ttyS0 no_timer_check panic=5 loglevel=5 systemd.show_status=no systemd.mask=getty.target"
packages
grub_words
grub-install --target=i386-pc "$boot"
update-grub
installed
`
	stepScript = `. /ukdump-test/lib.sh
typed() {
	echo "# $*"
	"$@" || fail "$*: status $?"
}
step=$(($(cat /ukdump-test/step) + 1))
echo $step >/ukdump-test/step
case $step in
1)
	say phase setup
	cd /ukdump-test
	typed dpkg -i $(ls ukdump_*.deb)
	typed kdumpctl setup
	typed kdumpctl setup --apply
	say hide
	;;
2)
	say phase crash
	typed kdumpctl status
	typed kdumpctl test --yes --keep
	sleep 600
	;;
3)
	say phase list
	typed kdumpctl
	typed kdumpctl list
	typed kdumpctl info
	say hide
	results var/crash
	;;
esac
`
)

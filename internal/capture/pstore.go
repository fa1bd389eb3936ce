package capture

import (
	"fmt"
	"os"
	"strings"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// wantsPstore reports whether the log is to be left in pstore as the last
// resort: if nothing else could be saved of a crash, and the machine is to
// reboot anyway. A panic does both.
func (s *supervisor) wantsPstore(a plan.Action, outcome crashdir.Outcome) bool {
	return s.plan != nil && s.plan.Pstore && outcome == crashdir.Failed &&
		a == plan.Reboot && s.over.final == "" && !s.over.shell &&
		fileExists(vmcorePath) && hasBackend("/sys/module/pstore/parameters/backend")
}

// hasBackend reports whether pstore has somewhere to write, from its module
// parameter (fs/pstore/platform.c), which holds the backend's name.
func hasBackend(parameter string) bool {
	b, err := os.ReadFile(parameter)
	name := strings.TrimSpace(string(b))
	return err == nil && name != "" && name != "(null)"
}

// runPstore is the child that makes this kernel panic, after it has logged what
// is most worth to be known. pstore takes the end of the log, 10 KiB unless it
// is told otherwise (pstore.kmsg_bytes), and a backend may keep less. It returns
// only if there is no panic.
func runPstore() int {
	log := openLog()
	log.printf("nothing could be saved: the panic that follows is on purpose, it leaves this log in pstore")
	for _, line := range summary(&loadState().Report) {
		log.printf("%s", line)
	}
	const timeout = "/proc/sys/kernel/panic"
	if b, err := os.ReadFile(timeout); err == nil && strings.TrimSpace(string(b)) == "0" {
		os.WriteFile(timeout, []byte("10\n"), 0) // or the machine would stay as it is
	}
	sysrq('c')
	return 1
}

// Limits of what goes to pstore, in bytes and lines: about 6 KiB in all, which
// leaves room for what the kernel itself says about the panic.
const (
	summaryLine   = 250
	summaryTrace  = 12
	summaryErrors = 12
)

// summary returns why the kernel crashed and why nothing was saved. The report
// comes from a worker that may have failed in any way, and its texts from a
// kernel that crashed.
func summary(r *crashdir.Report) []string {
	var lines []string
	add := func(format, text string) {
		if text != "" {
			text = printable([]byte(text[:min(len(text), summaryLine)]))
			lines = append(lines, fmt.Sprintf(format, text))
		}
	}
	add("crashed kernel: %s", r.Kernel)
	add("| %s", r.Panic.Cause)
	add("| %s", r.Panic.IP)
	for _, l := range r.Panic.Trace[:min(len(r.Panic.Trace), summaryTrace)] {
		add("|  %s", l)
	}
	add("| %s", r.Panic.Line)
	for _, e := range r.Errors[max(0, len(r.Errors)-summaryErrors):] {
		add("error: %s", e)
	}
	return lines
}

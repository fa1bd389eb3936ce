package capture

import (
	"os"
	"strings"

	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
	"ukdump/internal/plan"
)

// wantsPstore reports whether to leave the log in pstore by a panic, as the last
// resort: nothing was saved of the crash, and the machine reboots anyway.
func (s *supervisor) wantsPstore(a plan.Action, outcome crashdir.Outcome) bool {
	return s.plan != nil && s.plan.Pstore && outcome == crashdir.Failed &&
		a == plan.Reboot && s.over.final == "" && !s.over.shell &&
		fileExists(vmcorePath) && hasBackend("/sys/module/pstore/parameters/backend")
}

// hasBackend reports whether pstore has a backend, whose name is in a module parameter
// (fs/pstore/platform.c).
func hasBackend(parameter string) bool {
	b, err := os.ReadFile(parameter)
	name := strings.TrimSpace(string(b))
	return err == nil && name != "" && name != "(null)"
}

// runPstore is the child that logs the evidence and then makes the capture kernel
// panic. pstore takes the end of the log, 10 KiB by default (pstore.kmsg_bytes), and a
// backend may keep less. runPstore returns only if there is no panic.
func runPstore(mode, []string) int {
	log := openLog()
	log.printf("nothing could be saved: the following panic is on purpose, it leaves this log in pstore")
	for _, line := range evidence.Lines(&loadState().Report) {
		log.printf("%s", line)
	}
	const timeout = "/proc/sys/kernel/panic"
	if b, err := os.ReadFile(timeout); err == nil && strings.TrimSpace(string(b)) == "0" {
		os.WriteFile(timeout, []byte("10\n"), 0) // or the machine would not reboot
	}
	sysrq('c')
	return 1
}

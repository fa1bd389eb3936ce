package capture

import (
	"strconv"
	"strings"

	"ukdump/internal/plan"
)

// overrides are the words on the capture kernel's command line that override the plan.
type overrides struct {
	debug   bool        // ukdump.debug: show the output of the collector
	shell   bool        // ukdump.shell: a shell on the console is allowed, see supervisor.finalAction
	final   plan.Action // ukdump.final=reboot|poweroff|halt: instead of both actions of the plan
	known   string      // ukdump.known=RELEASE: the collectors are known to work on that kernel, "" if none is
	misread string      // ukdump.misread=RELEASE: the filters are known to misread that kernel, "" if none is
	expect  int64       // ukdump.expect=BYTES: how large the dump was forecast to be, 0 if unknown
}

// parseCmdline finds the words of ukdump on a kernel command line. It ignores unknown
// values: a typing error must not cost the dump.
func parseCmdline(line string) overrides {
	var o overrides
	for _, w := range strings.Fields(line) {
		key, val, _ := strings.Cut(w, "=")
		switch key {
		case "ukdump.debug":
			o.debug = true
		case "ukdump.shell":
			o.shell = true
		case "ukdump.final":
			switch a := plan.Action(val); a {
			case plan.Reboot, plan.Poweroff, plan.Halt:
				o.final = a
			}
		case "ukdump.known":
			o.known = val
		case "ukdump.misread":
			o.misread = val
		case "ukdump.expect":
			if n, err := strconv.ParseInt(val, 10, 64); err == nil && n > 0 {
				o.expect = n
			}
		}
	}
	return o
}

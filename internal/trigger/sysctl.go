package trigger

import (
	"fmt"
	"slices"
	"strings"
)

// Choice is an event that a sysctl can make a panic.
type Choice struct {
	Name   string // on the command line
	Line   string // for sysctl.d(5)
	Reason string // for the comment above it
}

// Choices are the events that can be chosen. docs/triggers.md has what each costs.
var Choices = []Choice{
	{"oops", "kernel.panic_on_oops = 1", "A bug of the kernel has ended a process: go on with nothing that it may have damaged."},
	{"softlockup", "kernel.softlockup_panic = 1", "A processor does not schedule."},
	{"hardlockup", "kernel.hardlockup_panic = 1", "A processor takes no interrupt."},
	{"hungtask", "kernel.hung_task_panic = 1", "A task waits for minutes. A disk or server that is slow causes it, too."},
	{"rcustall", "kernel.panic_on_rcu_stall = 1", "A processor does not leave a critical section."},
	{"nmi", "kernel.unknown_nmi_panic = 1", "The NMI button of the machine, or of its hypervisor."},
	{"ionmi", "kernel.panic_on_io_nmi = 1", "A card reports an error."},
	{"oom", "vm.panic_on_oom = 1", "No memory is left, where a process would be killed."},
	{"warn", "kernel.panic_on_warn = 1", "Any warning. For tests only."},
}

// DefaultChoices are what a machine wants that has nobody to look at it.
var DefaultChoices = []string{"oops"}

// ParseChoices returns the events of a list of names, separated by commas. "none" is an
// empty list. It has an error if a name is unknown.
func ParseChoices(list string) ([]Choice, error) {
	if list == "none" {
		return nil, nil
	}
	var known []string
	for _, c := range Choices {
		known = append(known, c.Name)
	}
	var chosen []Choice
	for name := range strings.SplitSeq(list, ",") {
		i := slices.Index(known, strings.TrimSpace(name))
		if i < 0 {
			return nil, fmt.Errorf("unknown event %.40q: the events are %s, or none", name, strings.Join(known, ", "))
		}
		if !slices.Contains(chosen, Choices[i]) {
			chosen = append(chosen, Choices[i])
		}
	}
	return chosen, nil
}

// Sysctl returns the name of the sysctl and its value.
func (c Choice) Sysctl() (name, value string) {
	name, value, _ = strings.Cut(c.Line, " = ")
	return name, value
}

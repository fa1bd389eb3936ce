// Package trigger reads which events make the running kernel start the capture kernel,
// and settings that delay the start. An event that causes no panic leaves no dump.
package trigger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/crashdir"
)

// Event is an event that is captured or not.
type Event struct {
	Name    string `json:"event"`
	Setting string `json:"setting,omitempty"` // that decided, as "kernel.panic_on_oops=0"
}

// Report is what the running kernel does at the events of a failing machine.
type Report struct {
	Captured    []Event  `json:"captured"`
	NotCaptured []Event  `json:"not_captured,omitempty"`
	Unknown     []Event  `json:"unknown,omitempty"` // the setting cannot be read
	Delays      []string `json:"delays,omitempty"`  // why the capture kernel starts late, or perhaps not at all
}

// setting is a number that a file below the root holds.
type setting struct {
	name string // for people
	file string
}

func sysctl(name string) setting {
	return setting{name, "proc/sys/" + strings.ReplaceAll(name, ".", "/")}
}

// row is an event of a running kernel. It is captured if all of the settings are above
// zero, or with any set, if one of them is.
type row struct {
	event    string
	settings []setting
	any      bool
	absent   string // why nothing is captured if the first file is absent; "" if the event cannot occur then
	quiet    bool   // no failure of the machine: named only if it is captured
}

// rows are the events, with their settings (Documentation/admin-guide/sysctl/kernel.rst
// and vm.rst). An oops in an interrupt, of an idle processor or of PID 1 is always
// captured (kexec_should_crash in kernel/crash_core.c).
var rows = []row{
	{event: "oops in a process", settings: []setting{sysctl("kernel.panic_on_oops")}},
	{event: "soft lockup", settings: []setting{sysctl("kernel.softlockup_panic"), sysctl("kernel.soft_watchdog"), sysctl("kernel.watchdog_thresh")},
		absent: "CONFIG_SOFTLOCKUP_DETECTOR is not set"},
	{event: "hard lockup", settings: []setting{sysctl("kernel.hardlockup_panic"), sysctl("kernel.nmi_watchdog"), sysctl("kernel.watchdog_thresh")},
		absent: "CONFIG_HARDLOCKUP_DETECTOR is not set"},
	{event: "hung task", settings: []setting{sysctl("kernel.hung_task_panic"), sysctl("kernel.hung_task_timeout_secs")},
		absent: "CONFIG_DETECT_HUNG_TASK is not set"},
	{event: "RCU stall", settings: []setting{sysctl("kernel.panic_on_rcu_stall")}},
	// Either makes an NMI of an unknown source a panic (arch/x86/kernel/nmi.c).
	{event: "NMI button", settings: []setting{sysctl("kernel.unknown_nmi_panic"), sysctl("kernel.panic_on_unrecovered_nmi")}, any: true},
	{event: "I/O check NMI", settings: []setting{sysctl("kernel.panic_on_io_nmi")}},
	{event: "out of memory", settings: []setting{sysctl("vm.panic_on_oom")}},
	// Fatal machine checks always panic; these are the others (drivers/edac/edac_mc.c).
	{event: "memory error (UE)", settings: []setting{{"edac_core.edac_mc_panic_on_ue", "sys/module/edac_core/parameters/edac_mc_panic_on_ue"}},
		absent: "no EDAC driver is loaded"},
	{event: "kernel warning", settings: []setting{sysctl("kernel.panic_on_warn")}, quiet: true},
}

// Read returns the report of the machine below root, nil if its /proc/sys does not exist.
func Read(root string) *Report {
	m := machine(root)
	if _, err := m.number(rows[0].settings[0].file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r := &Report{Captured: []Event{{Name: "panic"}}}
	for _, row := range rows {
		m.judge(r, row)
	}
	m.machineChecks(r)
	r.Delays = m.delays()
	return r
}

// machine is the root of a machine.
type machine string

// judge adds the event of a row to r.
func (m machine) judge(r *Report, row row) {
	var off, on []string
	for i, s := range row.settings {
		n, err := m.number(s.file)
		switch {
		case errors.Is(err, fs.ErrNotExist) && i == 0:
			if row.absent != "" {
				r.NotCaptured = append(r.NotCaptured, Event{row.event, row.absent})
			}
			return
		case errors.Is(err, fs.ErrNotExist): // an older kernel
			continue
		case err != nil:
			r.Unknown = append(r.Unknown, Event{row.event, s.name})
			return
		case n > 0:
			on = append(on, fmt.Sprintf("%s=%d", s.name, n))
		default:
			off = append(off, fmt.Sprintf("%s=%d", s.name, n))
		}
	}
	switch captured := len(off) == 0 || row.any && len(on) > 0; {
	case captured:
		r.Captured = append(r.Captured, Event{row.event, on[0]})
	case !row.quiet:
		r.NotCaptured = append(r.NotCaptured, Event{row.event, off[0]})
	}
}

// machineChecks adds the fatal machine checks of x86, which panic unless they were
// turned off (Documentation/arch/x86/x86_64/boot-options.rst, machinecheck.rst).
func (m machine) machineChecks(r *Report) {
	const dir = "sys/devices/system/machinecheck"
	if _, err := m.read(dir + "/machinecheck0/check_interval"); err != nil {
		if line, lineErr := m.read("proc/cmdline"); lineErr == nil && slices.Contains(strings.Fields(line), "mce=off") {
			r.NotCaptured = append(r.NotCaptured, Event{"fatal machine check", "mce=off"})
		}
		return
	}
	if n, err := m.number(dir + "/machinecheck0/tolerant"); err == nil && n >= 3 { // until Linux 5.17
		r.NotCaptured = append(r.NotCaptured, Event{"fatal machine check", fmt.Sprintf("tolerant=%d", n)})
		return
	}
	r.Captured = append(r.Captured, Event{Name: "fatal machine check"})
}

// notifiers are modules with a panic notifier that talks to a hypervisor or to
// hardware.
var notifiers = []string{"hv_vmbus", "pvpanic", "pvpanic_mmio", "pvpanic_pci", "ipmi_msghandler", "hpwdt"}

// delays returns the settings by which something runs between a panic and the capture
// kernel (panic in kernel/panic.c).
func (m machine) delays() (list []string) {
	if on, err := m.read("sys/module/kernel/parameters/crash_kexec_post_notifiers"); err == nil && (on == "Y" || on == "1") {
		text := "crash_kexec_post_notifiers=Y: the capture kernel starts after all panic notifiers"
		var loaded []string
		for _, n := range notifiers {
			if _, err := os.Stat(filepath.Join(string(m), "sys/module", n)); err == nil {
				loaded = append(loaded, n)
			}
		}
		if len(loaded) > 0 {
			text += ", such as those of " + strings.Join(loaded, ", ")
		}
		list = append(list, text)
		if n, err := m.number("proc/sys/kernel/panic_print"); err == nil && n != 0 {
			list = append(list, fmt.Sprintf("kernel.panic_print=%d: the kernel prints that before the capture kernel starts", n))
		}
	}
	// kgdb_panic in kernel/debug/debug_core.c.
	if io, err := m.read("sys/module/kgdboc/parameters/kgdboc"); err == nil && io != "" {
		if n, err := m.number("proc/sys/kernel/panic"); err == nil && n == 0 {
			list = append(list, "kgdboc="+io+" with kernel.panic=0: a panic waits for a debugger")
		}
	}
	return list
}

// maxFile bounds a file of proc and sys, in bytes.
const maxFile = 64 << 10

func (m machine) read(file string) (string, error) {
	b, err := crashdir.ReadFile(filepath.Join(string(m), file), maxFile)
	return strings.TrimSpace(string(b)), err
}

// number reads a file with a number or a boolean.
func (m machine) number(file string) (int64, error) {
	text, err := m.read(file)
	switch {
	case err != nil:
		return 0, err
	case text == "Y":
		return 1, nil
	case text == "N":
		return 0, nil
	}
	return strconv.ParseInt(text, 0, 64)
}

// Names lists events for one line.
func Names(events []Event) string {
	var names []string
	for _, e := range events {
		names = append(names, e.Name)
	}
	return strings.Join(names, ", ")
}

// Reasons lists events with the settings that decided.
func Reasons(events []Event) string {
	var list []string
	for _, e := range events {
		if e.Setting != "" {
			e.Name += " [" + e.Setting + "]"
		}
		list = append(list, e.Name)
	}
	return strings.Join(list, ", ")
}

package trigger

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// debian is the state of a Debian 12 machine, as far as it is read.
var debian = map[string]string{
	"proc/sys/kernel/panic_on_oops":            "0",
	"proc/sys/kernel/softlockup_panic":         "0",
	"proc/sys/kernel/soft_watchdog":            "1",
	"proc/sys/kernel/hardlockup_panic":         "0",
	"proc/sys/kernel/nmi_watchdog":             "1",
	"proc/sys/kernel/watchdog_thresh":          "10",
	"proc/sys/kernel/hung_task_panic":          "0",
	"proc/sys/kernel/hung_task_timeout_secs":   "120",
	"proc/sys/kernel/panic_on_rcu_stall":       "0",
	"proc/sys/kernel/unknown_nmi_panic":        "0",
	"proc/sys/kernel/panic_on_unrecovered_nmi": "0",
	"proc/sys/kernel/panic_on_io_nmi":          "0",
	"proc/sys/kernel/panic_on_warn":            "0",
	"proc/sys/kernel/panic":                    "0",
	"proc/sys/kernel/panic_print":              "0",
	"proc/sys/vm/panic_on_oom":                 "0",

	"sys/module/edac_core/parameters/edac_mc_panic_on_ue":          "0",
	"sys/devices/system/machinecheck/machinecheck0/check_interval": "12c",
	"sys/module/kernel/parameters/crash_kexec_post_notifiers":      "N",
	"proc/cmdline": "quiet",
}

func TestRead(t *testing.T) {
	const (
		none  = "oops in a process, soft lockup, hard lockup, hung task, RCU stall, NMI button, I/O check NMI, out of memory, memory error (UE)"
		post  = "sys/module/kernel/parameters/crash_kexec_post_notifiers"
		check = "sys/devices/system/machinecheck/machinecheck0/"
	)
	for _, tt := range []struct {
		name                     string
		change                   map[string]string // "-" removes a file
		captured, not, unknown   string            // names without panic and the machine check, "…" for unchanged
		reason, delays, machines string
	}{
		{name: "Debian", not: none},
		{name: "everything", captured: none, change: map[string]string{
			"proc/sys/kernel/panic_on_oops": "1", "proc/sys/kernel/softlockup_panic": "1", "proc/sys/kernel/hardlockup_panic": "1",
			"proc/sys/kernel/hung_task_panic": "1", "proc/sys/kernel/panic_on_rcu_stall": "1", "proc/sys/kernel/unknown_nmi_panic": "1",
			"proc/sys/kernel/panic_on_io_nmi": "1", "proc/sys/vm/panic_on_oom": "2", "sys/module/edac_core/parameters/edac_mc_panic_on_ue": "1",
		}},
		{name: "RHEL", change: map[string]string{"proc/sys/kernel/panic_on_oops": "1"}, captured: "oops in a process", not: strings.TrimPrefix(none, "oops in a process, ")},
		{name: "warnings", change: map[string]string{"proc/sys/kernel/panic_on_warn": "1"}, captured: "kernel warning", not: none},
		{name: "either NMI setting", change: map[string]string{"proc/sys/kernel/panic_on_unrecovered_nmi": "1"}, captured: "NMI button",
			not: strings.Replace(none, "NMI button, ", "", 1)},
		{name: "a boolean of a module", change: map[string]string{"sys/module/edac_core/parameters/edac_mc_panic_on_ue": "Y"}, captured: "memory error (UE)",
			not: strings.TrimSuffix(none, ", memory error (UE)")},
		{name: "no NMI watchdog in a VM", change: map[string]string{"proc/sys/kernel/hardlockup_panic": "1", "proc/sys/kernel/nmi_watchdog": "0"},
			not: none, reason: "hard lockup [kernel.nmi_watchdog=0]"},
		{name: "the detector is off", change: map[string]string{"proc/sys/kernel/softlockup_panic": "1", "proc/sys/kernel/watchdog_thresh": "0"},
			not: none, reason: "soft lockup [kernel.watchdog_thresh=0]"},
		{name: "hung tasks are not looked for", change: map[string]string{"proc/sys/kernel/hung_task_panic": "1", "proc/sys/kernel/hung_task_timeout_secs": "0"},
			not: none, reason: "hung task [kernel.hung_task_timeout_secs=0]"},
		{name: "no detector", change: map[string]string{"proc/sys/kernel/hardlockup_panic": "-"}, not: none, reason: "hard lockup [CONFIG_HARDLOCKUP_DETECTOR is not set]"},
		{name: "no EDAC", change: map[string]string{"sys/module/edac_core/parameters/edac_mc_panic_on_ue": "-"}, not: none, reason: "memory error (UE) [no EDAC driver is loaded]"},
		{name: "arm64", change: map[string]string{"proc/sys/kernel/unknown_nmi_panic": "-", "proc/sys/kernel/panic_on_io_nmi": "-", check + "check_interval": "-"},
			not: strings.Replace(none, "NMI button, I/O check NMI, ", "", 1), machines: "-"},
		{name: "unreadable", change: map[string]string{"proc/sys/vm/panic_on_oom": "x"}, not: strings.Replace(none, "out of memory, ", "", 1), unknown: "out of memory"},
		{name: "machine checks are off", change: map[string]string{check + "check_interval": "-", "proc/cmdline": "quiet mce=off"}, not: none + ", fatal machine check", machines: "-"},
		{name: "machine checks are tolerated", change: map[string]string{check + "tolerant": "3"}, not: none + ", fatal machine check", machines: "-", reason: "[tolerant=3]"},
		{name: "Hyper-V", change: map[string]string{post: "Y", "sys/module/hv_vmbus/x": ""}, not: none,
			delays: "crash_kexec_post_notifiers=Y: the capture kernel starts after all panic notifiers, such as those of hv_vmbus"},
		{name: "notifiers with much to print", change: map[string]string{post: "1", "proc/sys/kernel/panic_print": "0x1f"}, not: none,
			delays: "crash_kexec_post_notifiers=Y: the capture kernel starts after all panic notifiers|kernel.panic_print=31: the kernel prints that before the capture kernel starts"},
		{name: "printing comes after the capture", change: map[string]string{"proc/sys/kernel/panic_print": "31", "sys/module/pvpanic/x": ""}, not: none},
		{name: "a debugger", change: map[string]string{"sys/module/kgdboc/parameters/kgdboc": "ttyS0\n"}, not: none, delays: "kgdboc=ttyS0 with kernel.panic=0: a panic waits for a debugger"},
		{name: "a debugger that does not wait", change: map[string]string{"sys/module/kgdboc/parameters/kgdboc": "ttyS0\n", "proc/sys/kernel/panic": "10"}, not: none},
	} {
		root := t.TempDir()
		files := maps.Clone(debian)
		maps.Copy(files, tt.change)
		for name, text := range files {
			file := filepath.Join(root, name)
			if text == "-" {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r := Read(root)
		captured := "panic"
		if tt.captured != "" {
			captured += ", " + tt.captured
		}
		if tt.machines != "-" {
			captured += ", fatal machine check"
		}
		if Names(r.Captured) != captured || Names(r.NotCaptured) != tt.not || Names(r.Unknown) != tt.unknown {
			t.Errorf("%s: captured %s\nnot %s\nunknown %s", tt.name, Names(r.Captured), Names(r.NotCaptured), Names(r.Unknown))
		}
		if !strings.Contains(Reasons(r.NotCaptured), tt.reason) {
			t.Errorf("%s: %s, want %s", tt.name, Reasons(r.NotCaptured), tt.reason)
		}
		if got := strings.Join(r.Delays, "|"); got != tt.delays {
			t.Errorf("%s: delays %q, want %q", tt.name, got, tt.delays)
		}
	}
	if r := Read(t.TempDir()); r != nil {
		t.Errorf("no /proc/sys: %+v", r)
	}
}

package vmcore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFindPanicReal reads the logs that Debian's 6.1 left when a module crashed
// it in different ways in QEMU.
func TestFindPanicReal(t *testing.T) {
	for _, x := range []struct {
		name, line, cause, instruction, trace string
	}{
		// panic_on_oops goes into the capture kernel without a panic line.
		{"null", "BUG: kernel NULL pointer dereference, address: 0000000000000000", "",
			"RIP: 0010:crashme_null+0x5/0x15 [crashme]", "crashme_init+0x22/0x1000 [crashme]"},
		{"gpf", "general protection fault, probably for non-canonical address 0xdeadbeef00000000: 0000 [#1] PREEMPT SMP NOPTI", "",
			"RIP: 0010:crashme_gpf+0xe/0x19 [crashme]", "crashme_init+0x3e/0x1000 [crashme]"},
		{"warn", "Kernel panic - not syncing: kernel: panic_on_warn set ...", "WARNING: CPU: 0 PID: 1 at crashme.c:14 crashme_init+0x79/0x1000 [crashme]",
			"RIP: 0010:crashme_init+0x79/0x1000 [crashme]", "do_one_initcall+0x59/0x220"},
		{"soft", "Kernel panic - not syncing: softlockup: hung tasks", "watchdog: BUG: soft lockup - CPU#0 stuck for 9s! [init:1]",
			"RIP: 0010:crashme_spin+0xe/0xfd2 [crashme]", "crashme_init+0x9a/0x1000 [crashme]"},
		{"hung", "Kernel panic - not syncing: hung_task: blocked tasks", "INFO: task init:1 blocked for more than 2 seconds.",
			"", "__schedule+0x34d/0x9e0"},
		{"panic", "Kernel panic - not syncing: crashme panics", "",
			"", "dump_stack_lvl+0x44/0x5c"},
	} {
		log, err := os.ReadFile(filepath.Join("testdata", "panics", "debian-6.1-"+x.name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		p := FindPanic(log)
		if p.Line != x.line || p.Cause != x.cause || p.Instruction != x.instruction {
			t.Errorf("%s:\n line  %q\n cause %q\n at    %q", x.name, p.Line, p.Cause, p.Instruction)
		}
		if len(p.Trace) < 4 || p.Trace[0] != x.trace || p.Trace[len(p.Trace)-1] != "entry_SYSCALL_64_after_hwframe+0x6e/0xd8" {
			t.Errorf("%s: trace %q", x.name, p.Trace)
		}
	}
}

func TestFindPanic(t *testing.T) {
	const (
		bug   = "BUG: unable to handle page fault for address: ffffdead"
		oops  = "Oops: 0000 [#1] PREEMPT SMP"
		fatal = "Kernel panic - not syncing: Fatal exception"
		sysrq = "Kernel panic - not syncing: sysrq triggered crash"
	)
	for _, x := range []struct {
		name        string
		log         []string // "seconds text"
		line, cause string
		instruction string
		trace       string // joined by spaces
	}{
		{name: "nothing", log: []string{"1 booting", "2 NMI watchdog: Enabled. Permanently consumes one hw-PMU counter."}},
		{name: "oops, then panic",
			log: []string{"9 " + bug, "9 " + oops, "9 RIP: 0010:f+0x1/0x2", "9 Call Trace:", "9  <TASK>", "9  ? noise+0x1/0x2", "9  a+0x1/0x2", "9  b+0x1/0x2 [m]",
				"9 RIP: 0033:0x1234", "9 RSP: 002b:0", "9  </TASK>", "9 Modules linked in: m", "9 ---[ end trace 0 ]---", "10 " + fatal, "10  late+0x1/0x2"},
			line: fatal, cause: bug, instruction: "RIP: 0010:f+0x1/0x2", trace: "a+0x1/0x2 b+0x1/0x2 [m]"},
		{name: "second oops follows at once",
			log:  []string{"9 " + bug, "9 " + oops, "12 BUG: scheduling while atomic: x/1", "13 Oops: 0002 [#2] SMP", "14 " + fatal},
			line: fatal, cause: bug},
		{name: "old oops was survived", log: []string{"9 " + bug, "9 " + oops, "500 sysrq: Trigger a crash", "500 " + sysrq},
			line: sysrq},
		{name: "fresh oops before sysrq", log: []string{"490 " + bug, "500 sysrq: Trigger a crash", "500 " + sysrq},
			line: sysrq},
		{name: "old sysrq", log: []string{"5 SysRq : Trigger a crash", "5 BUG: unable to handle kernel NULL pointer dereference", "5 Oops: 0002 [#1] SMP"},
			line: "SysRq : Trigger a crash"},
		{name: "old oops, unrelated panic", log: []string{"9 " + bug, "9 Call Trace:", "9  wrong+0x1/0x2", "500 " + fatal, "500 Call Trace:", "500  right+0x1/0x2"},
			line: fatal, trace: "right+0x1/0x2"},
		{name: "oops without panic", log: []string{"3 " + bug, "3 " + oops, "900 divide error: 0000 [#2] SMP", "900 RIP: 0010:g+0x1/0x2"},
			line: "divide error: 0000 [#2] SMP", instruction: "RIP: 0010:g+0x1/0x2"},
		{name: "arm64",
			log: []string{"7 Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008", "7 Mem abort info:",
				"7 Internal error: Oops: 0000000096000044 [#1] SMP", "7 pc : sysrq_handle_crash+0x20/0x30", "7 lr : x+0x1/0x2", "7 Call trace:",
				"7  sysrq_handle_crash+0x20/0x30 (P)", "7  el0_svc+0x30/0xf8", "7 Code: aa0003e0", "7 ---[ end trace 0 ]---", "7 Kernel panic - not syncing: Oops: Fatal exception"},
			line: "Kernel panic - not syncing: Oops: Fatal exception", cause: "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
			instruction: "pc : sysrq_handle_crash+0x20/0x30", trace: "sysrq_handle_crash+0x20/0x30 (P) el0_svc+0x30/0xf8"},
		{name: "hard lockup", log: []string{"8 watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3", "8 Kernel panic - not syncing: Hard LOCKUP"},
			line: "Kernel panic - not syncing: Hard LOCKUP", cause: "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3"},
		{name: "warning that did not panic", log: []string{"8 WARNING: CPU: 0 PID: 1 at x.c:1", "8 " + fatal}, line: fatal},
		{name: "bug under panic_on_warn", log: []string{"2 WARNING: old", "8 BUG: KASAN: use-after-free in f", "8 Kernel panic - not syncing: KASAN: panic_on_warn set ..."},
			line: "Kernel panic - not syncing: KASAN: panic_on_warn set ...", cause: "BUG: KASAN: use-after-free in f"},
		{name: "old trace format", log: []string{"1 " + fatal, "1 Call Trace:", "1  [<ffffffff8107a1b0>] ? x+0x1/0x2", "1  [<ffffffff8107a1b0>] y+0x1/0x2"},
			line: fatal, trace: "y+0x1/0x2"},
		{name: "only unreliable entries", log: []string{"1 " + fatal, "1 Call Trace:", "1  ? x+0x1/0x2", "1 ---[ end Kernel panic - not syncing: x ]---"},
			line: fatal, trace: "? x+0x1/0x2"},
		{name: "escapes", log: []string{"1 " + fatal + "\x1b[2J\a"}, line: fatal + `\x1b[2J\x07`},
		{name: "quoted", log: []string{`1 systemd[1]: said "Kernel panic - not syncing"`}},
	} {
		for _, prefix := range []string{"[%5s.000001] ", "<4>[%5s.000001] ", "[%5s.000001] [  T123] ", "[%5s.000001][    C0] "} {
			var b strings.Builder
			for _, l := range x.log {
				sec, text, _ := strings.Cut(l, " ")
				fmt.Fprintf(&b, prefix, sec)
				b.WriteString(text + "\n")
			}
			p := FindPanic([]byte(b.String()))
			if p.Line != x.line || p.Cause != x.cause || p.Instruction != x.instruction || strings.Join(p.Trace, " ") != x.trace {
				t.Errorf("%s, %q: %+v", x.name, prefix, p)
			}
		}
	}
}

func TestFindPanicWithoutTimes(t *testing.T) {
	p := FindPanic([]byte("BUG: bad\nOops: 1 [#1]\n" + strings.Repeat("x\n", incidentLines+1) + "Kernel panic - not syncing: a\nBUG: late"))
	if p.Line != "Kernel panic - not syncing: a" || p.Cause != "" {
		t.Errorf("%+v", p)
	}
}

// A search in quadratic time would not end before the time limit of go test.
func TestFindPanicIsLinear(t *testing.T) {
	for name, line := range map[string]string{
		"reports": "[    1.000000] BUG: x\n[   99.000000] Kernel panic - not syncing: y\n",
		"traces":  "[    1.000000] Call Trace:\n",
		"empty":   "\n",
	} {
		p := FindPanic([]byte(strings.Repeat(line, 32<<20/len(line))))
		if got := p.Line != ""; got != (name == "reports") {
			t.Errorf("%s: %+v", name, p)
		}
	}
	long := FindPanic([]byte("Kernel panic - not syncing: " + strings.Repeat("y", 1<<20)))
	if n := len(long.Line); n < maxLine || n > maxLine+4 {
		t.Errorf("line of %d bytes", n)
	}
}

func FuzzFindPanic(f *testing.F) {
	logs, _ := filepath.Glob("testdata/panics/*.log")
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("<4>[    1.000000] [T1] Kernel panic - not syncing: x\n[ 2.000000] Call Trace:\n [<f>] a+0x1/0x2"))
	f.Fuzz(func(t *testing.T, log []byte) {
		p := FindPanic(log)
		if p.Line == "" && (p.Cause != "" || p.Trace != nil) || len(p.Trace) > maxTrace {
			t.Errorf("%+v", p)
		}
		for _, s := range append([]string{p.Line, p.Cause, p.Instruction}, p.Trace...) {
			for i := range len(s) {
				if s[i] < ' ' || s[i] > '~' {
					t.Errorf("byte %#x in %q", s[i], s)
				}
			}
		}
	})
}

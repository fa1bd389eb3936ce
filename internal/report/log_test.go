package report

import (
	"fmt"
	"strings"
	"testing"
)

func TestTraceLine(t *testing.T) {
	for _, line := range []string{
		"Call Trace:", "Call trace:", " <TASK>", " </TASK>", " <IRQ>", " <#DF>", " dump_stack_lvl+0x44/0x5c", " ? _printk+0x68/0x83", " ext4_x.isra.0+0x1/0x20 [ext4]",
		"RIP: 0033:0x7f666344c350", "Code: 40 00 48 <48> 3d", "RSP: 002b:00007ffed47f49c8 EFLAGS: 00000202 ORIG_RAX: 0000000000000001", "R10: 00007f66633fcd00 R11: 0000000000000202",
		"FS:  00007f(0000) GS:ffff(0000) knlGS:0", "CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033", "CR2: 0000000000000000 CR3: 0", "PKRU: 55555554",
		"CPU: 0 PID: 140 Comm: sh Not tainted 6.1.0-57-amd64 #1  Debian 6.1.192-3", "Hardware name: QEMU", "Modules linked in: ext4(E)", "Kernel Offset: 0x2a000000 from 0xffffffff81000000",
		"pc : el0_svc+0x1/0x2", "x29: ffff800008 x28: 0", "sp : ffff8000", "pstate: 60400005 (nZCv)",
	} {
		if !traceLine.MatchString(line) {
			t.Errorf("%q is of a call trace", line)
		}
	}
	for _, line := range []string{
		"", "Kernel panic - not syncing: sysrq triggered crash", "BUG: kernel NULL pointer dereference", "usb 1-1: new device", "sd 0:0:0:0: [sda] Attached SCSI disk",
		"x: y", "INFO: task sh:140 blocked for more than 120 seconds.", "EXT4-fs (vda1): mounted filesystem",
	} {
		if traceLine.MatchString(line) {
			t.Errorf("%q is not of a call trace", line)
		}
	}
}

func TestEndOfLog(t *testing.T) {
	const panicLine = "Kernel panic - not syncing: sysrq triggered crash"
	for _, tt := range []struct {
		name, log   string // runs of lines: m is a message, p the panic, t a line of a call trace
		panic       string
		first, last int // lines of the report, from 1
	}{
		{"short", "5m p 20t", panicLine, 1, 26},
		{"panic in the last lines", "50m p 29t", panicLine, 51, 80},
		{"panic before them", "50m p 30t", panicLine, 51, 81},
		{"message in them", "50m p 29t m 10t", panicLine, 62, 91},
		{"long trace", "50m p 59t", panicLine, 51, 110},
		{"longer trace", "50m p 80t", panicLine, 51, 110},
		{"second panic", "p 40t p 40t", panicLine, 42, 82},
		{"no panic", "50m 40t", "", 61, 90},
		{"panic not in the log any more", "50m 40t", panicLine, 61, 90},
	} {
		var log []Line
		for _, run := range strings.Fields(tt.log) {
			n, kind := 1, run
			fmt.Sscanf(run, "%d%s", &n, &kind)
			for range n {
				text := map[string]string{"m": "message", "p": panicLine, "t": " f+0x1/0x2"}[kind]
				log = append(log, Line{Seconds: float64(len(log) + 1), Text: text})
			}
		}
		got := endOfLog(log, tt.panic)
		if first, last := int(got[0].Seconds), int(got[len(got)-1].Seconds); first != tt.first || last != tt.last {
			t.Errorf("%s: lines %d to %d, want %d to %d", tt.name, first, last, tt.first, tt.last)
		}
	}
}

package report

import (
	"strings"
	"testing"

	"ukdump/internal/vmcore"
)

func TestKind(t *testing.T) {
	for _, c := range []struct{ panic, cause, want string }{
		{"Kernel panic - not syncing: sysrq triggered crash", "", "sysrq triggered crash"},
		{"Kernel panic - not syncing: Fatal exception", "BUG: kernel NULL pointer dereference, address: 0000000000000008", "BUG: kernel NULL pointer dereference, address: N"},
		{"Kernel panic - not syncing: Fatal exception", "BUG: unable to handle page fault for address: ffffc90000a1b000", "BUG: unable to handle page fault for address: N"},
		{"Kernel panic - not syncing: Fatal exception", "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP NOPTI", "general protection fault, probably for non-canonical address N"},
		{"Kernel panic - not syncing: Fatal exception", "Oops: general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#2] SMP", "general protection fault, probably for non-canonical address N"},
		{"Kernel panic - not syncing: Fatal exception", "kernel BUG at mm/slub.c:448!", "kernel BUG at mm/slub.c:N!"},
		{"Kernel panic - not syncing: softlockup: hung tasks", "watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [kworker/3:1:1234]", "BUG: soft lockup - CPUN stuck for N! [task]"},
		{"Kernel panic - not syncing: hung_task: blocked tasks", "INFO: task jbd2/sda1-8:345 blocked for more than 120 seconds.", "INFO: task blocked for more than N seconds."},
		{"Kernel panic - not syncing: panic_on_warn set ...", "WARNING: CPU: 1 PID: 77 at net/core/dev.c:123 skb_warn_bad_offload+0xd8/0xf0", "WARNING: at net/core/dev.c:N skb_warn_bad_offload"},
		{"Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", "", "Attempted to kill init! exitcode=N"},
		{"Kernel panic - not syncing: Fatal exception in interrupt", "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008", "Unable to handle kernel NULL pointer dereference at virtual address N"},
		{"", "", ""},
	} {
		if got := Kind(c.panic, c.cause); got != c.want {
			t.Errorf("%q: got %q, want %q", c.cause, got, c.want)
		}
	}
}

func TestFunction(t *testing.T) {
	for name, want := range map[string]string{
		"do_exit": "do_exit", "__handle_sysrq.cold": "__handle_sysrq", "exit_to_user_mode.isra.0": "exit_to_user_mode",
		"f.part.1": "f", "f.constprop.2": "f", "f.isra.0.constprop.1.cold": "f", "f.llvm.123456789": "f",
		"f.constprop.0.isra.0": "f", "f.12": "f", "f.lto_priv.0": "f", "": "", "x.y": "x.y",
	} {
		if got := function(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// stackOf makes a stack from names: "?" marks a guess, "!" an interrupted function.
func stackOf(names ...string) *Stack {
	s := &Stack{}
	for _, n := range names {
		name, guess := strings.CutPrefix(n, "?")
		name, interrupted := strings.CutPrefix(name, "!")
		s.Frames = append(s.Frames, Frame{Function: name, Reliable: !guess, Interrupted: interrupted})
	}
	return s
}

func TestFramesOf(t *testing.T) {
	const oops, lockup, hung = "BUG: kernel NULL pointer dereference, address: N", "BUG: soft lockup - CPUN stuck for N! [task]", "INFO: task blocked for more than N seconds."
	for _, c := range []struct {
		name, kind string
		stack      *Stack
		panic      vmcore.Panic
		want, from string
	}{
		{"sysrq by /proc", "sysrq triggered crash", stackOf("!__crash_kexec", "vpanic", "panic", "sysrq_handle_crash", "__handle_sysrq.cold", "write_sysrq_trigger"), vmcore.Panic{}, "sysrq_handle_crash", SourceStack},
		{"out of memory, a page fault", "Out of memory: compulsory panic_on_oom is enabled", stackOf("!__crash_kexec", "panic", "out_of_memory.cold", "__alloc_pages_slowpath.constprop.0", "handle_mm_fault"), vmcore.Panic{}, "out_of_memory", SourceStack},
		{"out of memory, a pipe", "Out of memory: compulsory panic_on_oom is enabled", stackOf("!__crash_kexec", "panic", "out_of_memory.cold", "__alloc_pages_slowpath.constprop.0", "pipe_write"), vmcore.Panic{}, "out_of_memory", SourceStack},
		{"out of memory elsewhere", "Out of memory: compulsory panic_on_oom is enabled", stackOf("!__crash_kexec", "panic", "other"), vmcore.Panic{}, "other", SourceStack},
		{"sysrq by the keyboard", "sysrq triggered crash", stackOf("!__crash_kexec", "panic", "sysrq_handle_crash", "__handle_sysrq", "uart_handle_irq", "!default_idle"), vmcore.Panic{}, "sysrq_handle_crash", SourceStack},
		{"oops", oops, stackOf("!crash_kexec", "oops_end", "page_fault_oops", "exc_page_fault", "asm_exc_page_fault", "!bad_read.isra.0", "vfs_read", "ksys_read", "do_syscall_64", "entry", "more"), vmcore.Panic{Cause: oops}, "bad_read vfs_read ksys_read do_syscall_64 entry", SourceStack},
		{"oops in an interrupt", oops, stackOf("!crash_kexec", "oops_end", "asm_exc_page_fault", "!handler", "irq", "asm_common_interrupt", "!default_idle"), vmcore.Panic{Cause: oops}, "handler irq asm_common_interrupt default_idle", SourceStack},
		{"soft lockup", lockup, stackOf("!__crash_kexec", "panic", "watchdog_timer_fn", "hrtimer_interrupt", "asm_sysvec_apic_timer_interrupt", "!spin", "worker"), vmcore.Panic{Cause: lockup}, "spin worker", SourceStack},
		{"hung task", hung, stackOf("!__crash_kexec", "panic", "watchdog", "kthread"), vmcore.Panic{Cause: hung, Trace: []string{"__schedule+0x1/0x2", "schedule+0x1/0x2", "bad_wait+0x1/0x2 [bad]"}}, "bad_wait", SourceLog},
		{"stack overflow", oops, stackOf("!crash_kexec", "!recurse", "recurse", "recurse.cold", "begin"), vmcore.Panic{Cause: oops}, "recurse begin", SourceStack},
		{"guesses only", oops, stackOf("?one", "?two"), vmcore.Panic{Cause: oops, Instruction: "RIP: 0010:bad_function+0x10/0x20 [bad]", Trace: []string{"bad_caller+0x1/0x2"}}, "bad_function bad_caller", SourceLog},
		{"a guess", "x", stackOf("panic", "one", "?two", "three"), vmcore.Panic{}, "one", SourceStack},
		{"no memory", oops, nil, vmcore.Panic{Cause: oops, Instruction: "pc : bad_function+0x10/0x20", Trace: []string{"bad_function+0x10/0x20", "caller+0x4/0x8"}}, "bad_function caller", SourceLog},
		{"arm64 6.1, no memory", "sysrq triggered crash", nil, vmcore.Panic{Trace: []string{"dump_backtrace+0xe4/0x140", "show_stack+0x20/0x30", "dump_stack_lvl+0x64/0x80", "dump_stack+0x18/0x34", "panic+0x184/0x364", "sysrq_reset_seq_param_set+0x0/0xa0", "__handle_sysrq+0x90/0x19c"}}, "__handle_sysrq", SourceLog},
		{"nothing", oops, nil, vmcore.Panic{}, "", SourceLog},
	} {
		got, from := framesOf(c.kind, c.stack, c.panic)
		if strings.Join(got, " ") != c.want || from != c.from {
			t.Errorf("%s: got %v from %s, want %s from %s", c.name, got, from, c.want, c.from)
		}
	}
}

// Fingerprints are compared for years: these may only change with the version in front.
func TestHash(t *testing.T) {
	if got, want := hash("sysrq triggered crash", []string{"sysrq_handle_crash"}), "v1:5f40fb21704f7e64"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStrikeOut(t *testing.T) {
	for _, c := range []struct {
		line, want string
		n          int
	}{
		{"root=/dev/sda1 ro quiet", "root=/dev/sda1 ro quiet", 0},
		{"cifs.password=geheim ro", "cifs.password=* ro", 1},
		{`rd.iscsi.password="two words" ro`, "rd.iscsi.password=* ro", 1},
		{`"db-passwd=x y" ro`, `"db-passwd=* ro`, 1},
		{"netroot=iscsi:u:p@10.0.0.1::3260::iqn inst.ks=http://user:pw@host/ks", "netroot=* inst.ks=http://user:*@host/ks", 2},
		{"root=zfs:pool/fs@snap iommu=pt vfio.passthrough=1", "root=zfs:pool/fs@snap iommu=pt vfio.passthrough=1", 0},
		{"rd.luks.key=/key:UUID=1 systemd.set_credential=a:b x.api-key=1 wpa_psk=abc pinctrl=1", "rd.luks.key=* systemd.set_credential=* x.api-key=* wpa_psk=* pinctrl=1", 4},
		{"cifs=user=a,pass=b,uid=1 token=", "cifs=user=a,pass=*,uid=1 token=", 1},
		{"dm-mod.create=\"a,,,rw,0 1 crypt aes key 0\"", "dm-mod.create=*", 1},
	} {
		if got, n := strikeOut(c.line); got != c.want || n != c.n {
			t.Errorf("%s: got %s, %d, want %s, %d", c.line, got, n, c.want, c.n)
		}
	}
}

func FuzzStrikeOut(f *testing.F) {
	f.Add(`a="b c" password=x url=http://u:p@h`)
	f.Fuzz(func(t *testing.T, line string) {
		out, n := strikeOut(line)
		if n == 0 && strings.Join(splitWords(line), " ") != out {
			t.Errorf("%q became %q", line, out)
		}
		Kind(line, line)
		function(line)
	})
}

func TestTaints(t *testing.T) {
	if got := taintLetters(1<<0 | 1<<9 | 1<<12 | 1<<13 | 1<<40); got != "PWOE?" {
		t.Errorf("got %s", got)
	}
	if got := taints(0); got == nil || len(got) != 0 {
		t.Errorf("got %v", got)
	}
	letters := map[string]bool{}
	for _, e := range taintTable {
		if letters[e.Letter] || e.Name == "" || e.Meaning == "" {
			t.Errorf("%+v", e)
		}
		letters[e.Letter] = true
	}
}

func TestStateName(t *testing.T) {
	for _, c := range []struct {
		state, exit uint32
		want        string
	}{
		{0, 0, "R (running)"}, {1, 0, "S (sleeping)"}, {2, 0, stateBlocked}, {0x102, 0, stateBlocked},
		{0x402, 0, "I (idle)"}, {0x80, 0x20, "Z (zombie)"}, {0x80, 0x10, "X (dead)"}, {0x40, 0, "P (parked)"},
		{0x8000, 0, stateBlocked}, {0x2001, 0, "S (sleeping)"}, {4, 0, "T (stopped)"}, {8, 0, "t (tracing stop)"},
	} {
		if got := stateName(c.state, c.exit); got != c.want {
			t.Errorf("%#x %#x: got %s, want %s", c.state, c.exit, got, c.want)
		}
	}
}

func TestLockOf(t *testing.T) {
	for want, s := range map[string]*Stack{
		"mutex":        stackOf("__schedule", "schedule", "__mutex_lock.constprop.0", "bad"),
		"rw_semaphore": stackOf("__schedule", "schedule", "rwsem_down_write_slowpath", "down_write"),
		"semaphore":    stackOf("__schedule", "schedule_timeout", "___down_common", "__down"),
		"":             stackOf("__schedule", "io_schedule", "?__mutex_lock"),
	} {
		if got := lockOf(s); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

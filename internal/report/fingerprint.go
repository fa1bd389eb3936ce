package report

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ukdump/internal/vmcore"
)

// fingerprintVersion begins each fingerprint. Another way to make them needs another version,
// since fingerprints are compared for years.
const fingerprintVersion = "v1"

// maxFingerprint is the number of functions in a fingerprint.
const maxFingerprint = 5

// fingerprint groups the crash: a hash of the kind of the crash and the innermost functions that
// led to it.
func (m *maker) fingerprint() {
	p := vmcore.FindPanic(m.text)
	kind := Kind(p.Line, p.Cause)
	if kind == "" {
		m.problem("fingerprint", errors.New("the log does not tell the kind of the crash"))
		return
	}
	frames, source := framesOf(kind, m.panicStack(), p)
	if len(frames) == 0 {
		m.problem("fingerprint", errors.New("neither the memory nor the log has the functions that led to the crash"))
		return
	}
	m.r.Fingerprint = &Fingerprint{ID: hash(kind, frames), Kind: kind, Frames: frames, Source: source}
}

// hash returns the fingerprint of a kind and functions.
func hash(kind string, frames []string) string {
	sum := sha256.Sum256([]byte(kind + "\n" + strings.Join(frames, "\n")))
	return fmt.Sprintf("%s:%x", fingerprintVersion, sum[:8])
}

// panicStack returns the stack of the CPU that panicked, nil if it is not known.
func (m *maker) panicStack() *Stack {
	for _, c := range m.r.CPUs {
		if c.Panicked {
			return c.Stack
		}
	}
	return nil
}

// The parts of a line that differ between crashes of one kind, and their replacements.
var kindRules = []struct {
	find    *regexp.Regexp
	replace string
}{
	{regexp.MustCompile(`^Kernel panic - not syncing: `), ""},
	{regexp.MustCompile(`^(Internal error: )?Oops: `), ""}, // since 6.10 in front of more lines
	{regexp.MustCompile(`^watchdog: `), ""},
	{regexp.MustCompile(`: [0-9a-f]{4} \[#\d+\].*$`), ""},                                       // error code
	{regexp.MustCompile(` \[#\d+\].*$`), ""},                                                    // SMP, PREEMPT and other options
	{regexp.MustCompile(`^INFO: task .*:\d+( <[^>]*>)? (is )?blocked `), "INFO: task blocked "}, // kernel/hung_task.c
	{regexp.MustCompile(`\[.*:-?\d+\]$`), "[task]"},                                             // kernel/watchdog.c
	{regexp.MustCompile(`^WARNING: (CPU: \d+ PID: \d+ )?at `), "WARNING: at "},
	{regexp.MustCompile(`\+0x[0-9a-f]+/0x[0-9a-f]+`), ""},
	{regexp.MustCompile(`\b(0x)?[0-9a-f]{8,16}\b`), "N"},
	{regexp.MustCompile(`0x[0-9a-f]+`), "N"},
	{regexp.MustCompile(`#?\b\d+(\.\d+)?s?\b`), "N"},
}

// Kind returns the kind of a crash from the line of its panic and that of its cause: the cause
// without numbers and addresses.
func Kind(panicLine, cause string) string {
	line := cause
	if line == "" {
		line = panicLine
	}
	for _, r := range kindRules {
		line = r.find.ReplaceAllString(line, r.replace)
	}
	return strings.TrimSpace(line)
}

// suffixes are those that compilers add to a function: GCC's passes, and LLVM's hash of ThinLTO.
var suffixes = regexp.MustCompile(`\.(isra|part|constprop|cold|llvm|lto_priv|localalias|warm|hot|unlikely)(\.\d+)*|\.\d+$|\.(cfi|cfi_jt)$`)

// function returns the name of a function without the suffixes of compilers.
func function(name string) string { return suffixes.ReplaceAllString(name, "") }

// machinery are the functions that a kernel passes through from the detection of an error to the
// capture kernel. They are the same for different errors.
var machinery = regexp.MustCompile(`^(` + strings.Join([]string{
	"__?crash_kexec", "crash_(save_cpu|setup_regs|nmi_callback)", "machine_(kexec|crash_shutdown)", "relocate_kernel",
	"v?panic", "nmi_panic(_self_stop)?", "panic_smp_self_stop", "check_panic_on_warn", "__warn(_printk)?", "report_bug",
	"(__)?die(_body|_addr)?", "oops_(begin|end|enter|exit)", "make_task_dead", "do_exit", "rewind_stack_and_make_dead",
	"dump_(backtrace|stack(_lvl|_print_info)?)", "__dump_stack", "show_(stack|trace|regs).*",
	"page_fault_oops", "no_context", "bad_area.*", "__bad_area.*", "kernelmode_fixup_or_oops", "do_(kern|user)_addr_fault",
	"handle_(bug|stack_overflow)", "gp_(try_fixup_and_notify|user_force_sig_segv)", "do_error_trap", "do_trap.*",
	"(asm_)?exc_.*", "asm_sysvec_.*", "sysvec_.*", "(asm_)?common_interrupt",
	"__die_kernel_fault", "die_kernel_fault", "__do_kernel_fault", "do_(mem_abort|page_fault|translation_fault|bad_area|sp_pc_abort|undefinstr|el1_undef|el1_.*)",
	"el1_?.*", "el1h_.*", "arm64_(notify|panic).*", "bug_handler", "call_break_hook", "brk_handler", "do_debug_exception", "arm64_serror_panic",
}, "|") + `)$`)

// sleep are the functions in which all sleeping tasks are.
var sleep = regexp.MustCompile(`^(__schedule|(io_)?schedule(_timeout|_preempt_disabled|_hrtimeout.*)?|preempt_schedule.*|__switch_to)$`)

// chance has the kinds of crash that can hit any task, by the beginning of the kind, and the
// function behind which the stack says nothing of the cause: who asked for the last page, who
// wrote to /proc, or what an NMI has interrupted.
var chance = []struct{ kind, function string }{
	{"sysrq triggered crash", "sysrq_handle_crash"},
	{"Out of memory", "out_of_memory"}, // mm/oom_kill.c
	{"System is deadlocked on memory", "out_of_memory"},
	{"Fatal machine check", "mce_panic"},         // arch/x86/kernel/cpu/mce/core.c
	{"NMI: Not continuing", "unknown_nmi_error"}, // arch/x86/kernel/nmi.c
	{"NMI IOCK error", "io_check_error"},
}

// framesOf returns the functions of a fingerprint and their source.
func framesOf(kind string, stack *Stack, p vmcore.Panic) (frames []string, source string) {
	// Only the log has the stack of a task that was hung; that of the panic is of the task that
	// looks for them.
	if strings.HasPrefix(kind, "INFO: task ") {
		frames = fromLog(p)
		for len(frames) > 0 && sleep.MatchString(frames[0]) {
			frames = frames[1:]
		}
		return limited(frames), SourceLog
	}
	if frames = fromStack(stack, p.Cause != ""); len(frames) > 0 {
		return decisive(kind, frames), SourceStack
	}
	return decisive(kind, fromLog(p)), SourceLog
}

// decisive returns the functions that belong to the cause.
func decisive(kind string, frames []string) []string {
	for _, c := range chance {
		if !strings.HasPrefix(kind, c.kind) {
			continue
		}
		if i := slices.Index(frames, c.function); i >= 0 {
			return frames[i : i+1]
		}
	}
	return limited(frames)
}

// limited returns the first functions.
func limited(frames []string) []string { return frames[:min(len(frames), maxFingerprint)] }

// fromStack returns the reliable functions of a stack above the machinery. If an exception or
// interrupt detected the cause, the function that it interrupted is the first.
func fromStack(s *Stack, exception bool) (names []string) {
	if s == nil {
		return nil
	}
	frames := s.Frames
	if exception {
		for i, f := range frames {
			if i > 0 && f.Interrupted {
				frames = frames[i:]
				break
			}
		}
	}
	for _, f := range frames {
		if !f.Reliable {
			break
		}
		names = addName(names, f.Function)
	}
	return names
}

// addName adds a function unless it is machinery in front of all others, or called itself.
func addName(names []string, name string) []string {
	name = function(name)
	if name == "" || len(names) == 0 && machinery.MatchString(name) || len(names) > 0 && names[len(names)-1] == name {
		return names
	}
	return append(names, name)
}

// instruction is the function in the line of the kernel about the instruction of an oops.
var instruction = regexp.MustCompile(`(?:RIP: [0-9a-f]+:|pc : )([A-Za-z_][\w.$]*)\+0x`)

// fromLog returns the functions of the call trace in the log.
func fromLog(p vmcore.Panic) (names []string) {
	if found := instruction.FindStringSubmatch(p.Instruction); found != nil {
		names = addName(names, found[1])
	}
	for _, line := range p.Trace {
		name, offset, _ := strings.Cut(strings.TrimSpace(line), "+")
		// The address behind a call that does not return can be the start of the next
		// function, whose name arm64 prints: dump_backtrace_entry of
		// arch/arm64/kernel/stacktrace.c.
		if !strings.HasPrefix(offset, "0x0/") {
			names = addName(names, name)
		}
	}
	return names
}

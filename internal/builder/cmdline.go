package builder

import (
	"strings"

	"ukdump/internal/config"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
	"ukdump/internal/plan"
)

// archWords come before everything else, for the reasons given with each.
var archWords = map[string][]string{
	"amd64": append(commonWords[:len(commonWords):len(commonWords)],
		"irqpoll",            // the crash may have left interrupts screaming
		"numa=off",           // one node's worth of per-node structures
		"mce=off",            // banks still hold errors of the crash
		"hest_disable",       // likewise for ACPI error sources
		"acpi_no_memhotplug", // no memory of the crashed kernel may be added
	),
	"arm64": commonWords, // no irqpoll: it breaks some machines, and the kernel's own guide has none
}

var commonWords = []string{
	"rootfstype=ramfs", // else rootfs is a tmpfs of half the memory, and unpacking can fail
	"reset_devices",
	"nr_cpus=1",
	"panic=10", // a crash in here reboots
	// A driver that spins would keep PID 1 and its deadline from running: after
	// twice the threshold the kernel panics instead.
	"softlockup_panic=1", "watchdog_thresh=30",
	// But no oops=panic, and not as the kernel's default either: a driver that
	// oopses in the child that loads it must cost that driver and not the dump.
	// PID 1 does not wait for a hung task.
	"sysctl.kernel.panic_on_oops=0", "sysctl.kernel.hung_task_panic=0",
	// The Go runtime of PID 1 maps 32 MiB and more, of which it uses a few pages; the
	// kernel's default refuses a mapping of more than its memory (mm/util.c,
	// __vm_enough_memory).
	"sysctl.vm.overcommit_memory=1",
	"cgroup_disable=memory",
	"transparent_hugepage=never",
	"novmcoredd",
	"cma=0",
	"raid=noautodetect",                 // PID 1 runs the arrays that the dump needs, and no other
	"init_on_alloc=0", "init_on_free=0", // clearing memory twice is only slow
	"printk.devkmsg=on", // the log keeps all that PID 1 says
	"loglevel=5",        // warnings and worse: a serial line is slower than the kernel
}

// CommandLine returns the capture kernel's command line for arch (a GOARCH):
// our own words, those of running that hardware needs, extra, and last the
// user's, which therefore win. conf is that of the capture kernel, parts are the
// drivers of the image, cpus replace nr_cpus=1 if there are any, running is the content of /proc/cmdline.
func CommandLine(arch string, conf *kimage.Config, cpus []string, parts *parts, running string, extra []string, user string) string {
	words := append(withCPUs(ownWords(arch, conf), cpus), hardware(running, parts)...)
	words = append(words, extra...)
	words = append(words, splitWords(user)...)
	return strings.Join(words, " ")
}

// ownWords returns those of archWords that make sense for the capture kernel.
func ownWords(arch string, conf *kimage.Config) []string {
	var words []string
	for _, w := range archWords[arch] {
		if f, ok := kfeature.Words[w]; ok && f.In("", conf) == kfeature.No {
			continue
		}
		words = append(words, w)
	}
	return words
}

// shellWord permits PID 1 to open a shell. An image alone does not: whoever
// stands at the console of a crashed machine would be root.
const shellWord = "ukdump.shell"

// shellWords returns shellWord if the configuration asks for a shell.
func shellWords(c *config.Config) []string {
	if c.FailureAction != plan.Shell {
		return nil
	}
	return []string{shellWord}
}

// hardware picks the words of a command line that the hardware needs.
func hardware(line string, p *parts) []string {
	var out []string
	for _, w := range splitWords(line) {
		if w == "--" { // the rest is for init
			break
		}
		if w = carried(w, p); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// splitWords splits a command line at white space outside of double quotes, as
// next_arg in lib/cmdline.c does.
func splitWords(s string) []string {
	var out []string
	quoted, start := false, -1
	for i, r := range s {
		space := !quoted && (r == ' ' || r == '\t' || r == '\n')
		if r == '"' {
			quoted = !quoted
		}
		switch {
		case space && start >= 0:
			out = append(out, s[start:i])
			start = -1
		case !space && start < 0:
			start = i
		}
	}
	if start >= 0 {
		out = append(out, s[start:])
	}
	return out
}

package builder

import (
	"slices"
	"strings"

	"ukdump/internal/kimage"
	"ukdump/internal/plan"
)

const emergencyTarget = "ukdump-emergency.target"

// notForEmergency are the words of our own capture kernel that the distribution's
// initramfs would misunderstand.
var notForEmergency = []string{
	"rootfstype=ramfs", // it mounts the root with that
	"panic=10",         // initramfs-tools reboots where it would open a shell, before the guard has saved anything
}

// emergencyWords come after them.
var emergencyWords = []string{
	`"panic=10"`,             // for the kernel alone: whoever splits words at blanks finds the quotes
	"fsck.mode=skip",         // it takes time and memory; journals are replayed at the mount
	"noresume",               // initramfs-tools has a device of its own configuration to wait for
	"plymouth.enable=0",      // no splash screen
	"udev.children_max=2",    // each one is memory
	"enforcing=0",            // a policy of SELinux must not cost the dump
	"systemd.crash_reboot=1", // PID 1 that crashes otherwise waits for ever
}

// notInherited are the words of the running kernel's command line that are not
// for a capture kernel. A name that ends in '.' stands for all that begin so.
var notInherited = []string{
	"BOOT_IMAGE", "initrd", "rdinit", "ukdump.",
	// The memory, the processors and the crashes of the other kernel.
	"crashkernel", "mem", "memmap", "hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "movablecore", "kernelcore",
	"log_buf_len", "slub_debug", "slab_debug", "swiotlb", "page_owner", "kasan", "kfence.", "maxcpus", "isolcpus", "nohz_full", "rcu_nocbs",
	"oops", "panic_on_warn", "panic_on_oops", "hung_task_panic", "unknown_nmi_panic",
	// The end of that boot, and its looks.
	"systemd.unit", "rd.systemd.unit", "rd.break", "single", "emergency", "rescue", "1", "2", "3", "4", "5", "s", "S", "-s", "-b",
	"quiet", "splash", "rhgb", "resume", "resume_offset", "ignition.firstboot",
}

// EmergencyCommandLine returns the command line of a kernel for arch (a GOARCH)
// that starts the distribution's own initramfs. A root= among the user's words means
// that these are all that is needed, as in a simple-kdump.conf; otherwise those of
// running are taken over, with which the distribution does find its root, but for
// what only concerns the kernel that runs. conf is that of the capture kernel,
// running the content of /proc/cmdline. The user's words win over all but those that
// make it emergency mode.
func EmergencyCommandLine(arch string, conf *kimage.Config, running, user string) string {
	words := slices.DeleteFunc(ownWords(arch, conf), func(w string) bool { return slices.Contains(notForEmergency, w) })
	words = append(words, emergencyWords...)
	theirs, forInit := splitWords(user), []string(nil)
	if i := slices.Index(theirs, "--"); i >= 0 {
		theirs, forInit = theirs[:i], theirs[i:]
	}
	if hasKey(theirs, "root") {
		words = append(words, hardware(running)...)
	} else {
		words = append(words, inherited(running, words)...)
	}
	words = append(words, theirs...)
	if !hasKey(words, "root") {
		words = append(words, "initramfs_options=size=90%") // rootfs is a tmpfs then (Linux 6.18)
	}
	words = append(words, plan.EmergencyWord, "rdinit=/"+plan.GuardPath, "systemd.unit="+emergencyTarget)
	return strings.Join(append(words, forInit...), " ")
}

// inherited returns the words of the running kernel's command line without those
// that are not for a capture kernel, and those that ours replace.
func inherited(running string, ours []string) []string {
	var out []string
	for _, w := range splitWords(running) {
		if w == "--" {
			break
		}
		k := key(w)
		if k == "console" || !hasKey(ours, k) && !slices.ContainsFunc(notInherited, func(n string) bool {
			return k == n || strings.HasSuffix(n, ".") && strings.HasPrefix(k, n)
		}) {
			out = append(out, w)
		}
	}
	return out
}

// key returns the name of a parameter without its value. The kernel takes '-' and
// '_' for the same, and quotes around the whole of it for nothing.
func key(word string) string {
	k, _, _ := strings.Cut(strings.Trim(word, `"`), "=")
	if len(k) > 2 {
		k = strings.ReplaceAll(k, "-", "_")
	}
	return k
}

func hasKey(words []string, name string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return key(w) == name })
}

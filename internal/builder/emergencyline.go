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
		words = append(words, hardware(running, nil)...)
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
// that wordRules keeps from every capture kernel, and those that ours replace.
func inherited(running string, ours []string) []string {
	var out []string
	for _, w := range splitWords(running) {
		if w == "--" {
			break
		}
		k := key(w)
		if r := ruleOf(w); k == "console" || !hasKey(ours, k) && (r == nil || r.fate != never) {
			out = append(out, withoutPanic(w))
		}
	}
	return out
}

// withoutPanic takes errors=panic from the mount options of the root: a damaged root must
// not end the capture kernel.
func withoutPanic(word string) string {
	if k := key(word); k != "rootflags" && k != "rd.rootflags" {
		return word
	}
	return strings.ReplaceAll(word, "errors=panic", "errors=continue")
}

func hasKey(words []string, name string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return key(w) == name })
}

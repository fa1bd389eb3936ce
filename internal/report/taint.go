package report

import "math/bits"

// taintTable has the letter, name and meaning of each bit of tainted_mask:
// Documentation/admin-guide/tainted-kernels.rst and include/linux/panic.h. A set bit 0 is P, and
// a kernel without it prints G.
var taintTable = []Taint{
	{"P", "proprietary module", "a module with a licence that is not compatible with the GPL was loaded"},
	{"F", "forced module", "a module was loaded by force, against its version"},
	{"S", "system out of specification", "the kernel runs on a processor or system for which it was not made"},
	{"R", "forced unload", "a module was unloaded by force"},
	{"M", "machine check", "the processor has reported a hardware error"},
	{"B", "bad page", "a page reference or page flags were wrong: hardware or memory corruption"},
	{"U", "by a user", "a program asked for the taint"},
	{"D", "died before", "there was an oops or BUG before or with the crash"},
	{"A", "ACPI table", "a user has replaced an ACPI table"},
	{"W", "warning", "the kernel has issued a warning before"},
	{"C", "staging driver", "a driver from drivers/staging was loaded"},
	{"I", "firmware bug", "the kernel works around a severe bug in the firmware"},
	{"O", "out-of-tree module", "a module that is not a part of the kernel's source was loaded"},
	{"E", "unsigned module", "a module without a valid signature was loaded"},
	{"L", "soft lockup", "a processor was stuck before"},
	{"K", "live patch", "the kernel's code was patched while it ran"},
	{"X", "auxiliary", "the distribution has set its own taint"},
	{"T", "randstruct", "structures are laid out at random"},
	{"N", "test", "a test inside the kernel has run"},
	{"J", "fwctl", "a program has used a debugging interface of a device's firmware"},
}

// taints decodes tainted_mask. The result is not nil, as it is known.
func taints(mask uint64) []Taint {
	list := []Taint{}
	for ; mask != 0; mask &= mask - 1 {
		bit := bits.TrailingZeros64(mask)
		if bit < len(taintTable) {
			list = append(list, taintTable[bit])
		} else {
			list = append(list, Taint{"?", "not known", "a taint that a newer kernel has"})
		}
	}
	return list
}

// taintLetters returns the letters of a mask, as in /proc/modules.
func taintLetters(mask uint64) (letters string) {
	for _, t := range taints(mask) {
		letters += t.Letter
	}
	return letters
}

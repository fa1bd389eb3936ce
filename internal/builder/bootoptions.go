package builder

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/config"
	"ukdump/internal/kexec"
	"ukdump/internal/plan"
)

// checkBootOptions returns an error that names all words of BOOT_OPTIONS with which
// the capture kernel would save nothing.
func (b *Build) checkBootOptions(c *config.Config) error {
	var bad []string
	for _, w := range splitWords(c.BootOptions) {
		if w == "--" { // the rest is for init
			break
		}
		if why := b.refuses(c, w); why != "" {
			bad = append(bad, fmt.Sprintf("%.80s %s", w, why))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return advice.With(fmt.Errorf("%s: BOOT_OPTIONS: %s", c.Where("BOOT_OPTIONS"), strings.Join(bad, "; ")),
		"Remove it from BOOT_OPTIONS; ukdump copies the words that the hardware needs from the running kernel.")
}

// refuses returns why BOOT_OPTIONS may not have a word, "" if it may.
func (b *Build) refuses(c *config.Config, word string) string {
	name, value := key(word), valueOf(word)
	if r := ruleOf(word); r != nil && r.refused {
		return r.why
	}
	if name == "memmap" && pmem(value) != value {
		return changesMemory
	}
	if why := unknownOwn(name, value); why != "" {
		return why
	}
	if c.Emergency() {
		return "" // its system loads modules and starts init itself
	}
	p := b.parts
	if driver := p.keptAway(name, value); driver != "" {
		return "keeps the disk away: a target needs " + driver
	}
	switch name {
	case "init":
		return "has no effect: kdumpinit is PID 1"
	case "module_blacklist":
		for m := range strings.SplitSeq(value, ",") {
			if m := p.loads(m); p != nil && p.needed[m] {
				return "keeps the disk away: a target needs " + m
			}
		}
	case "initcall_blacklist":
		for f := range strings.SplitSeq(value, ",") {
			if what := vitalInits[f]; what != "" {
				return "leaves the capture kernel without " + what
			}
			if driver := p.starts(f); p != nil && p.needed[driver] {
				return "keeps the disk away: a target needs " + driver
			}
		}
	case "nomodule", "sysctl.kernel.modules_disabled":
		if name != "nomodule" && !hasNonzero(value) {
			break
		}
		if p != nil && len(p.modules) > 0 {
			return "keeps the disk away: the image has modules"
		}
	}
	if p != nil && p.unsigned != "" && wantsSignatures(name, value) {
		return "forbids the module " + p.unsigned + ", which has no signature"
	}
	return ""
}

// wantsSignatures reports whether a kernel with this parameter loads only signed
// modules: kernel/module/signing.c, security/lockdown/lockdown.c.
func wantsSignatures(name, value string) bool {
	return name == "module.sig_enforce" && isTrue(value) ||
		name == "lockdown" && (value == "integrity" || value == "confidentiality")
}

// unknownOwn returns why a word for kdumpinit means nothing, "" if it does or is for
// somebody else.
func unknownOwn(name, value string) string {
	if !strings.HasPrefix(name, "ukdump.") {
		return ""
	}
	switch {
	case name == "ukdump.debug", name == "ukdump.shell", name == "ukdump.known", name == "ukdump.expect": // the last two for tests
	case name != "ukdump.final":
		return "is unknown; the words are ukdump.debug, ukdump.final= and ukdump.shell"
	case !slices.Contains([]plan.Action{plan.Reboot, plan.Poweroff, plan.Halt}, plan.Action(value)):
		return "is not reboot, poweroff or halt"
	}
	return ""
}

// checkLength returns an error if the kernel cannot take the whole command line. The
// load adds words for this crash (state.Forecast), which must fit as well.
func (b *Build) checkLength(c *config.Config) error {
	const known, expect = len("ukdump.known= "), len("ukdump.expect=9223372036854775807 ")
	length := len(b.Cmdline) + known + len(b.Kernel.Release) + expect
	if line, _ := b.kernelWords(); line != "" {
		length += len(line) + len(" ")
	}
	limit := (&kexec.Kernel{CmdlineSize: b.Kernel.CmdlineSize}).CommandLineLimit()
	if length <= limit {
		return nil
	}
	text := fmt.Sprintf("the command line of the capture kernel would have %d bytes, the limit is %d", length, limit)
	if !c.IsSet("BOOT_OPTIONS") {
		return advice.With(errors.New(text), "Shorten the running kernel's command line in the boot loader's configuration and reboot.")
	}
	return advice.With(fmt.Errorf("%s: BOOT_OPTIONS: %s", c.Where("BOOT_OPTIONS"), text), "Shorten BOOT_OPTIONS.")
}

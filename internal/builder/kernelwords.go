package builder

import (
	"fmt"
	"strconv"

	"ukdump/internal/config"
	"ukdump/internal/kfeature"
)

// kernelWords returns the words that the capture kernel adds to its command line by its
// configuration, "" if none are known. If they are last they override ours, otherwise
// ours override them.
func (b *Build) kernelWords() (line string, last bool) {
	for _, f := range []kfeature.Feature{kfeature.CmdlineFirst, kfeature.CmdlineLast} {
		if !f.For(b.Kernel.Arch) || f.In(b.Kernel.Release, b.conf) != kfeature.Yes {
			continue
		}
		line, err := strconv.Unquote(b.conf.Get(kfeature.CmdlineWords))
		if err == nil && line != "" {
			return line, f == kfeature.CmdlineLast
		}
	}
	return "", false
}

// warnBootConfig warns of words that the capture kernel reads from itself and that nobody
// can check before. Ours come later.
func (b *Build) warnBootConfig() {
	has := func(f kfeature.Feature) bool { return f.In(b.Kernel.Release, b.conf) == kfeature.Yes }
	if file := b.conf.Get(kfeature.BootConfigFile); !has(kfeature.BootConfig) || file == "" || file == `""` {
		return
	}
	if has(kfeature.BootConfigForced) || hasKey(splitWords(b.Cmdline), "bootconfig") {
		b.warn("%s has a boot configuration of its own (%s in %s), which adds words to its command line: unknown whether they disturb a capture",
			b.Kernel.Release, kfeature.BootConfig.Option, b.conf.Source)
	}
}

// checkKernelWords refuses a kernel that adds a word to its command line with which it
// would save nothing: one that BOOT_OPTIONS may not have either.
func (b *Build) checkKernelWords(c *config.Config) error {
	line, last := b.kernelWords()
	ours := splitWords(b.Cmdline)
	for _, w := range splitWords(line) {
		if name := key(w); name == "init" || !last && name != "memmap" && hasKey(ours, name) {
			continue // without effect
		}
		if why := b.refuses(c, w); why != "" {
			return &KernelError{b.Kernel.Path, fmt.Sprintf("%s adds %.80s to its command line (%s in %s), which %s", b.Kernel.Release, w, kfeature.CmdlineWords, b.conf.Source, why),
				"Choose a kernel without it with KERNEL=."}
		}
	}
	return nil
}

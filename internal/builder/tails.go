package builder

import (
	"fmt"

	"ukdump/internal/kfeature"
)

// Bits of the dump level, see makedumpfile(8).
const (
	userPages = 8  // excludes pages of programs
	allPages  = 31 // excludes all that can be excluded
)

// newTails is the first kernel in whose tail pages of slabs makedumpfile up to 1.7.8 sees
// pages of programs: commit f50c015 of makedumpfile.
var newTails = kfeature.Version{7, 1}

// dumpLevel returns the level to use for the running kernel. A program that takes memory
// of the kernel for that of programs must keep both.
func (b *Build) dumpLevel(level int, version string) int {
	if level&userPages == 0 || !b.misreadsTails(version) {
		return level
	}
	level &^= userPages
	running, _ := b.host.Kernel()
	b.warn("makedumpfile %s takes memory of Linux %s for that of programs: the dump is larger, as it keeps both (-d %d). Install makedumpfile 1.7.9 or later", version, running, level)
	return level
}

// quickLevel returns the level that saves the least of the running kernel's memory.
func (b *Build) quickLevel(version string) int {
	if b.misreadsTails(version) {
		return allPages &^ userPages
	}
	return allPages
}

// misreadsTails reports whether a makedumpfile takes memory of the running kernel for that
// of programs.
func (b *Build) misreadsTails(version string) bool {
	running, err := b.host.Kernel()
	return err == nil && !newTails.After(running) && before(version, 1, 7, 9)
}

// before reports whether a version such as "1.7.8" is older; false if it is none.
func before(version string, want ...int) bool {
	var have [3]int
	if n, _ := fmt.Sscanf(version, "%d.%d.%d", &have[0], &have[1], &have[2]); n < 2 {
		return false
	}
	for i, w := range want {
		if have[i] != w {
			return have[i] < w
		}
	}
	return false
}

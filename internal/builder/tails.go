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

// dumpLevel returns the level to use for the running kernel, and warns if that is not the
// wanted one.
func (b *Build) dumpLevel(level int, version string) int {
	possible := b.possibleLevel(level, version)
	if possible != level {
		running, _ := b.host.Kernel()
		b.warn("makedumpfile %s takes memory of Linux %s for that of programs: the dump is larger, as it keeps both (-d %d). Install makedumpfile 1.7.9 or later", version, running, possible)
	}
	return possible
}

// possibleLevel returns the level without the pages that makedumpfile of this version does
// not recognise in the running kernel. One that takes memory of the kernel for that of
// programs must keep both.
func (b *Build) possibleLevel(level int, version string) int {
	if running, err := b.host.Kernel(); err != nil || newTails.After(running) || !before(version, 1, 7, 9) {
		return level
	}
	return level &^ userPages
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

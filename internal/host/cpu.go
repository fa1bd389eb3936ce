package host

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"
)

// FiveLevel reports whether the running kernel uses the 5-level page tables of x86. The
// kernel removes la57 from the flags of the processors if it does not use them
// (arch/x86/kernel/cpu/common.c).
func (h *Host) FiveLevel() (bool, error) {
	f, err := os.Open(h.path("/proc/cpuinfo"))
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() { // the first processor will do
		if name, flags, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "flags" {
			return slices.Contains(strings.Fields(flags), "la57"), nil
		}
	}
	if err := lines.Err(); err != nil {
		return false, err
	}
	return false, errors.New("/proc/cpuinfo: no flags")
}

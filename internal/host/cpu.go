package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/crashdir"
)

// OnlineCPUs returns the number of processors that are online, from
// /sys/devices/system/cpu/online (Documentation/ABI/testing/sysfs-devices-system-cpu).
func (h *Host) OnlineCPUs() (int, error) {
	b, err := h.ReadFile("/sys/devices/system/cpu/online")
	if errors.Is(err, fs.ErrNotExist) { // a kernel without SMP
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(b)), ",") {
		first, last, ranged := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 16)
		z := a
		if ranged && err == nil {
			z, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || z < a {
			return 0, fmt.Errorf("/sys/devices/system/cpu/online: %q is no range", part)
		}
		n += int(z-a) + 1
	}
	return n, nil
}

// BootAPIC returns the initial APIC ID of the processor that booted the machine, from
// /proc/cpuinfo of x86.
func (h *Host) BootAPIC() (id int, ok bool) {
	value, err := h.firstCPU("initial apicid")
	if err != nil {
		return 0, false
	}
	id, err = strconv.Atoi(value)
	return id, err == nil
}

// FiveLevel reports whether the running kernel uses the 5-level page tables of x86. The
// kernel removes la57 from the flags of the processors if it does not use them
// (arch/x86/kernel/cpu/common.c).
func (h *Host) FiveLevel() (bool, error) {
	flags, err := h.firstCPU("flags")
	return slices.Contains(strings.Fields(flags), "la57"), err
}

// firstCPU returns a field of /proc/cpuinfo of the first processor that has it: processor 0
// comes first. It reads no further, as there may be thousands.
func (h *Host) firstCPU(field string) (string, error) {
	path, err := h.File("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	f, _, err := crashdir.OpenFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value), nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("/proc/cpuinfo: no %s", field)
}

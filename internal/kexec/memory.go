package kexec

import (
	"cmp"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/crashdir"
)

// Limits of files about memory, in bytes. A machine has some hundred resources, and
// at most four ranges for crashkernel=SIZE,cma.
const (
	maxIomem = 4 << 20
	maxCMA   = 4096
)

// Range is a range of physical addresses.
type Range struct {
	Start, End uint64 // first and last address
}

// Size returns the size in bytes.
func (r Range) Size() int64 { return int64(r.End - r.Start + 1) }

// Below returns how many bytes lie below the address limit.
func (r Range) Below(limit uint64) int64 {
	if r.Start >= limit {
		return 0
	}
	return int64(min(r.End, limit-1) - r.Start + 1)
}

// Memory is the memory that the running kernel has reserved for a capture kernel.
// Sizes are in bytes.
type Memory struct {
	// Main is the size of the range that kernel and image are loaded into.
	Main int64
	// Low is the size of the range below 4 GiB that crashkernel=SIZE,low adds to a
	// Main above 4 GiB.
	Low int64
	// CMA is the size of what crashkernel=SIZE,cma adds (Linux 6.17 on x86,
	// Documentation/admin-guide/kdump/kdump.rst). The capture kernel can use it, but
	// nothing is loaded there.
	CMA int64
	// CMAUnknown says that crashkernel=SIZE,cma is on the command line, but not how
	// much of it the kernel has reserved.
	CMAUnknown bool
	// Ranges are the addresses of all of it, ascending. They are nil if they are not
	// known: only root can read them in /proc/iomem.
	Ranges []Range
}

// Total returns the size of all memory that the capture kernel can use, in bytes.
func (m *Memory) Total() int64 { return m.Main + m.Low + m.CMA }

// Above reports whether some of the memory lies at or above the address limit.
// It is false if the addresses are not known.
func (m *Memory) Above(limit uint64) bool {
	return slices.ContainsFunc(m.Ranges, func(r Range) bool { return r.End >= limit })
}

// Below returns how many bytes of the memory lie below the address limit.
func (m *Memory) Below(limit uint64) (sum int64) {
	for _, r := range m.Ranges {
		sum += r.Below(limit)
	}
	return sum
}

// Memory returns the memory reserved for a capture kernel. Errors are as for Reserved.
func (s *Slot) Memory() (*Memory, error) {
	size, err := s.Reserved()
	if err != nil {
		return nil, err
	}
	m := &Memory{Main: size}
	if size == 0 {
		return m, nil
	}
	m.place(s.crashRanges())
	s.addCMA(m)
	return m, nil
}

// place fills in the ranges of /proc/iomem if they are the reserved memory. The last
// one is crashk_res, which kexec loads into, and another is crashk_low_res
// (kernel/crash_reserve.c). The size in sysfs has both since Linux 6.5, before that
// only the first.
func (m *Memory) place(ranges []Range) {
	if len(ranges) == 0 || len(ranges) > 2 {
		return
	}
	main, low := ranges[len(ranges)-1].Size(), int64(0)
	if len(ranges) == 2 {
		low = ranges[0].Size()
	}
	if m.Main != main && m.Main != main+low {
		return
	}
	m.Main, m.Low, m.Ranges = main, low, ranges
}

// crashRanges returns the ranges "Crash kernel" of /proc/iomem, ascending.
func (s *Slot) crashRanges() []Range {
	ranges := s.resources("Crash kernel")
	slices.SortFunc(ranges, compareRanges)
	return ranges
}

// resources returns the ranges of /proc/iomem with that name, ascending but for nested
// ones. Without CAP_SYS_ADMIN all addresses there are 0 (kernel/resource.c).
func (s *Slot) resources(name string) (ranges []Range) {
	b, err := crashdir.ReadFile(filepath.Join(s.Root, "proc/iomem"), maxIomem)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		addresses, is, _ := strings.Cut(strings.TrimSpace(line), " : ")
		if r, ok := parseRange(addresses); ok && is == name {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// addCMA adds the memory of crashkernel=SIZE,cma. sysfs has its ranges since Linux
// 6.19; the kernel keeps each in an area of CMA with the name crashkernel, which
// CONFIG_CMA_SYSFS shows.
func (s *Slot) addCMA(m *Memory) {
	words := strings.Fields(s.Crashkernel())
	if !slices.ContainsFunc(words, func(w string) bool { return strings.HasSuffix(w, ",cma") }) {
		return
	}
	if ranges, ok := s.cmaRanges(); ok {
		for _, r := range ranges {
			m.CMA += r.Size()
		}
		if m.Ranges != nil {
			m.Ranges = append(m.Ranges, ranges...)
			slices.SortFunc(m.Ranges, compareRanges)
		}
		return
	}
	pages, err := s.read("sys/kernel/mm/cma/crashkernel/total_pages")
	n, parseErr := strconv.ParseUint(pages, 10, 40)
	if err != nil || parseErr != nil {
		m.CMAUnknown = true
		return
	}
	m.CMA = int64(n) * int64(os.Getpagesize())
}

// cmaRanges returns the ranges in sysfs, and whether the kernel shows them.
func (s *Slot) cmaRanges() (ranges []Range, ok bool) {
	for _, name := range []string{"sys/kernel/kexec/crash_cma_ranges", "sys/kernel/kexec_crash_cma_ranges"} {
		b, err := crashdir.ReadFile(filepath.Join(s.Root, name), maxCMA)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if r, ok := parseRange(strings.TrimSpace(line)); ok {
				ranges = append(ranges, r)
			}
		}
		return ranges, true
	}
	return nil, false
}

// parseRange reads "17000000-1b1fffff". A range that is empty or all zeros is none.
func parseRange(text string) (Range, bool) {
	first, last, _ := strings.Cut(text, "-")
	start, err := strconv.ParseUint(first, 16, 64)
	if err != nil {
		return Range{}, false
	}
	end, err := strconv.ParseUint(last, 16, 64)
	// No processor has more than 52 bits for physical addresses.
	if err != nil || end <= start || bits.Len64(end) > 56 {
		return Range{}, false
	}
	return Range{start, end}, true
}

func compareRanges(a, b Range) int { return cmp.Compare(a.Start, b.Start) }

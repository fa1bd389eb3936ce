package kexec

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
)

// iomem returns a /proc/iomem in which the reservation has these addresses.
func iomem(ranges ...string) string {
	text := "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n00100000-1bfdffff : System RAM\n"
	for _, r := range ranges {
		text += "  " + r + " : Crash kernel\n"
	}
	return text + "  19000000-19ffffff : Kernel code\nfee00000-fee00fff : Local APIC\n"
}

// The words of the command line, the size in sysfs and /proc/iomem together.
func TestMemory(t *testing.T) {
	const (
		size = "sys/kernel/kexec_crash_size"
		line = "proc/cmdline"
		file = "proc/iomem"
	)
	high := Range{0x130000000, 0x13bffffff} // 192 MiB
	for _, tt := range []struct {
		name   string
		change machine
		want   Memory
	}{
		{"one range below 4 GiB", machine{file: iomem("17000000-1effffff")},
			Memory{Main: 128 << 20, Ranges: []Range{{0x17000000, 0x1effffff}}}},
		{"not root: all addresses are 0", machine{file: iomem("00000000-00000000")}, Memory{Main: 128 << 20}},
		{"no iomem", nil, Memory{Main: 128 << 20}},
		{"high without low", machine{size: "201326592", file: iomem("130000000-13bffffff")},
			Memory{Main: 192 << 20, Ranges: []Range{high}}},
		{"high and low, both in sysfs (6.5)", machine{size: fmt.Sprint(264 << 20), file: iomem("130000000-13bffffff", "b0000000-b47fffff")},
			Memory{Main: 192 << 20, Low: 72 << 20, Ranges: []Range{{0xb0000000, 0xb47fffff}, high}}},
		{"high and low, high alone in sysfs (6.1)", machine{size: fmt.Sprint(192 << 20), file: iomem("130000000-13bffffff", "b0000000-b47fffff")},
			Memory{Main: 192 << 20, Low: 72 << 20, Ranges: []Range{{0xb0000000, 0xb47fffff}, high}}},
		{"iomem has another size", machine{file: iomem("17000000-17ffffff")}, Memory{Main: 128 << 20}},
		{"three ranges", machine{file: iomem("17000000-1effffff", "20000000-20ffffff", "21000000-21ffffff")}, Memory{Main: 128 << 20}},
		{"nonsense", machine{file: iomem("1effffff-17000000", "x-y", "17000000", "-", "ffffffffffffff00-ffffffffffffffff")}, Memory{Main: 128 << 20}},
		{"nothing reserved", machine{size: "0", line: "crashkernel=128M,cma"}, Memory{}},
		{"cma, in the new directory", machine{line: "crashkernel=128M crashkernel=64M,cma", file: iomem("17000000-1effffff"),
			"sys/kernel/kexec/crash_cma_ranges": "01000000-02ffffff\n40000000-41ffffff\n"},
			Memory{Main: 128 << 20, CMA: 64 << 20, Ranges: []Range{{0x1000000, 0x2ffffff}, {0x17000000, 0x1effffff}, {0x40000000, 0x41ffffff}}}},
		{"cma, in the old directory, addresses of the rest unknown", machine{line: "crashkernel=128M crashkernel=64M,cma",
			"sys/kernel/kexec_crash_cma_ranges": "01000000-02ffffff\n"}, Memory{Main: 128 << 20, CMA: 32 << 20}},
		{"cma was asked for, none was reserved", machine{line: "crashkernel=128M crashkernel=64M,cma", "sys/kernel/kexec/crash_cma_ranges": ""},
			Memory{Main: 128 << 20, CMAUnknown: true}}, // newSlot makes no empty file: as in Linux 6.17
		{"cma by its area", machine{line: "crashkernel=128M crashkernel=64M,cma", "sys/kernel/mm/cma/crashkernel/total_pages": "16384\n"},
			Memory{Main: 128 << 20, CMA: 64 << 20}},
		{"a senseless area", machine{line: "crashkernel=128M crashkernel=64M,cma", "sys/kernel/mm/cma/crashkernel/total_pages": "99999999999999"},
			Memory{Main: 128 << 20, CMAUnknown: true}},
	} {
		m, err := newSlot(t, tt.change, nil).Memory()
		if err != nil || !reflect.DeepEqual(*m, tt.want) {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, m, err, tt.want)
		}
	}
}

func TestRangeBelow(t *testing.T) {
	const limit = 1 << 32
	for _, tt := range []struct {
		r    Range
		want int64
	}{
		{Range{0, 0xfff}, 0x1000},
		{Range{limit - 0x1000, limit + 0xfff}, 0x1000},
		{Range{limit, limit + 0xfff}, 0},
		{Range{0xb0000000, limit - 1}, 0x50000000},
	} {
		if n := tt.r.Below(limit); n != tt.want {
			t.Errorf("%x: %#x bytes, want %#x", tt.r, n, tt.want)
		}
	}
}

// Kernel and packed image must fit the range that they are loaded into, and the files
// of the image all of the memory.
func TestRoomOfRanges(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name     string
		change   machine
		unpacked int64
		need     int64 // MiB of the error, 0 for none
		have     int64
	}{
		{"fits", nil, 10 * mib, 0, 0},
		{"unpacked is too large", nil, 80 * mib, 131, 128},
		{"with cma", machine{"proc/cmdline": "crashkernel=128M crashkernel=64M,cma", "sys/kernel/kexec/crash_cma_ranges": "01000000-04ffffff\n"}, 80 * mib, 0, 0},
		{"kernel does not fit the high range", machine{"sys/kernel/kexec_crash_size": fmt.Sprint((48 + 256) * mib),
			"proc/iomem": iomem("130000000-132ffffff", "b0000000-bfffffff")}, 10 * mib, 51, 48},
		{"kernel fits the high range, its files the low one", machine{"sys/kernel/kexec_crash_size": fmt.Sprint((64 + 256) * mib),
			"proc/iomem": iomem("130000000-133ffffff", "b0000000-bfffffff")}, 80 * mib, 0, 0},
	} {
		s := newSlot(t, tt.change, nil)
		kernel, initrd := files(t)
		_, _, err := s.Room(kernel, initrd, tt.unpacked)
		var e *Error
		errors.As(err, &e)
		if (e == nil) != (tt.need == 0) || e != nil && (e.Cause != TooSmall || e.Need != tt.need*mib || e.Have != tt.have*mib) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

package dump

import "fmt"

// arm64Walker returns the tables of any size of pages and of addresses:
// arch/arm64/include/asm/pgtable-hwdef.h, Documentation/arch/arm64/memory.rst.
func (d *Dump) arm64Walker(root uint64) (*walker, error) {
	shift := uint(0)
	switch d.PageSize() {
	case 4 << 10:
		shift = 12
	case 16 << 10:
		shift = 14
	case 64 << 10:
		shift = 16
	default:
		return nil, fmt.Errorf("page size %d is none of arm64", d.PageSize())
	}
	config, ok := d.info.Number("VA_BITS")
	if !ok || config < 36 || config > 52 {
		return nil, fmt.Errorf("VMCOREINFO has VA_BITS %d", config)
	}
	// The processor may have fewer bits than the kernel was built for; since 5.9.
	actual := config
	if t1sz, ok := d.info.Number("TCR_EL1_T1SZ"); ok && t1sz >= 64-config && t1sz <= 64-36 {
		actual = 64 - t1sz
	}
	return &walker{^uint64(0) << actual, root, arm64Levels(shift, uint(config), uint(actual)), arm64EntryOf(shift, uint(actual))}, nil
}

// arm64Levels returns the tables for pages of 1<<shift bytes and addresses of actual bits
// in a kernel that was built for config bits.
func arm64Levels(shift, config, actual uint) []level {
	// A kernel of 64 KiB pages and 52 bits indexes its first table by 52 bits on any
	// processor (TTBR1_BADDR_4852_OFFSET). The others skip the levels that they lack.
	top := actual
	if shift == 16 {
		top = config
	}
	width := shift - 3
	var levels []level
	for at := shift; at < top; at += width {
		levels = append([]level{{at, min(width, top-at), at != shift}}, levels...)
	}
	return levels
}

// arm64Entry decodes descriptors: PTE_ADDR_LOW and PTE_ADDR_HIGH in pgtable-hwdef.h.
type arm64Entry struct {
	low       uint64 // address bits in their place
	high      uint64 // address bits above them
	highShift uint   // by which high is moved up
}

// arm64EntryOf returns the decoder for pages of 1<<shift bytes and addresses of va bits.
func arm64EntryOf(shift, va uint) arm64Entry {
	if shift == 16 { // LPA: bits 15-12 are address bits 51-48, and zero without it
		return arm64Entry{1<<48 - 1<<16, 0xf << 12, 36}
	}
	if va == 52 { // LPA2: bits 9-8 are address bits 51-50
		return arm64Entry{1<<50 - 1<<shift, 3 << 8, 42}
	}
	return arm64Entry{low: 1<<48 - 1<<shift}
}

// decode implements entry.
func (m arm64Entry) decode(e uint64, last bool) (addr uint64, large, present bool) {
	const valid, table = 1, 2
	addr = e&m.low | e&m.high<<m.highShift
	if last {
		return addr, false, e&(valid|table) == valid|table
	}
	return addr, e&table == 0, e&valid != 0
}

package vmcore

import "testing"

// TestAddresses translates with headers that say nothing about virtual
// addresses, or nothing right.
func TestAddresses(t *testing.T) {
	for _, x := range []struct {
		name, machine, info string
		segment             segment // at file offset 0x1000
		addr                uint64
		off                 int64 // -1: not in the core
	}{
		{"header", "amd64", "", segment{vaddr: 0xffff888000001000, size: 16}, 0xffff888000001008, 0x1008},
		{"behind the segment", "amd64", "", segment{vaddr: 0xffff888000001000, size: 16}, 0xffff888000001010, -1},
		{"x86 text", "amd64", "NUMBER(phys_base)=16777216", segment{paddr: 0x2000000, size: 16}, 0xffffffff81000004, 0x1004},
		{"x86 text, moved down", "amd64", "NUMBER(phys_base)=-16777216", segment{paddr: 0x1000000, size: 16}, 0xffffffff82000004, 0x1004},
		{"x86 text without phys_base", "amd64", "", segment{paddr: 0x1000000, size: 16}, 0xffffffff81000004, -1},
		{"x86 direct map", "amd64", "", segment{paddr: 0x1000000, size: 16}, 0xffff888001000004, 0x1004},
		{"x86 direct map, 5 levels", "amd64", "NUMBER(pgtable_l5_enabled)=1", segment{paddr: 0x1000000, size: 16}, 0xff11000001000004, 0x1004},
		{"x86 vmalloc", "amd64", "", segment{paddr: 0, size: 1 << 50}, 0xffffc90000000000, -1},
		{"arm64 direct map", "arm64", "NUMBER(VA_BITS)=48\nNUMBER(PHYS_OFFSET)=0x40000000\nSYMBOL(_stext)=ffff800010010000",
			segment{paddr: 0x41000000, size: 16}, 0xffff000001000004, 0x1004},
		{"arm64 image", "arm64", "NUMBER(VA_BITS)=48\nNUMBER(kimage_voffset)=0xffff7fffd0000000\nSYMBOL(_stext)=ffff800010010000",
			segment{paddr: 0x41000000, size: 16}, 0xffff800011000004, 0x1004},
		{"arm64 direct map, 52 bits", "arm64", "NUMBER(VA_BITS)=52\nNUMBER(PHYS_OFFSET)=0x40000000\nSYMBOL(_stext)=ffff800010010000",
			segment{paddr: 0x41000000, size: 16}, 0xfff0000001000004, 0x1004},
		{"arm64 direct map, 52 bits on 48", "arm64", "NUMBER(VA_BITS)=52\nNUMBER(PHYS_OFFSET)=0xfff1000040000000\nSYMBOL(_stext)=ffff800010010000",
			segment{paddr: 0x41000000, size: 16}, 0xffff000001000004, 0x1004},
		{"arm64 direct map before 5.4", "arm64", "NUMBER(VA_BITS)=48\nNUMBER(PHYS_OFFSET)=0x40000000\nSYMBOL(_stext)=ffff000008080000",
			segment{paddr: 0x41000000, size: 16}, 0xffff800001000004, 0x1004},
		{"arm64 image before 5.4", "arm64", "NUMBER(VA_BITS)=48\nNUMBER(kimage_voffset)=0xfffeffffc8000000\nSYMBOL(_stext)=ffff000008080000",
			segment{paddr: 0x41000000, size: 16}, 0xffff000009000004, 0x1004},
		{"arm64 without VA_BITS", "arm64", "NUMBER(PHYS_OFFSET)=0", segment{size: 16}, 0xffff000000000000, -1},
		{"arm64 with a bad VA_BITS", "arm64", "NUMBER(VA_BITS)=200\nNUMBER(PHYS_OFFSET)=0", segment{size: 16}, 0xffff000000000000, -1},
	} {
		x.segment.off = 0x1000
		f := &File{Machine: x.machine, Info: ParseInfo([]byte(x.info)), loads: []segment{x.segment}}
		off, _, ok := f.locate(x.addr)
		if !ok {
			off = -1
		}
		if off != x.off {
			t.Errorf("%s: offset %#x, want %#x", x.name, off, x.off)
		}
	}
}

func TestDirectMapFromAnotherSegment(t *testing.T) {
	f := &File{Machine: "amd64", loads: []segment{
		{off: 0x1000, vaddr: 0xffff9e0e40100000, paddr: 0x100000, size: 16},
		{off: 0x2000, paddr: 0x200000, size: 16}, // its address is missing
	}}
	if off, _, ok := f.locate(0xffff9e0e40200008); !ok || off != 0x2008 {
		t.Errorf("offset %#x, %v", off, ok)
	}
}

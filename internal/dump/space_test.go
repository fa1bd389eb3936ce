package dump

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// geometry is a kind of page tables.
type geometry struct {
	name   string
	arch   string
	page   int
	info   string // VMCOREINFO besides the common keys
	levels []level
	vaBits uint
	table  func(addr uint64) uint64             // entry that points to a table
	leaf   func(addr uint64, large bool) uint64 // entry that maps memory
	image  uint64                               // virtual address of physical address 0 of the image
}

func geometries() []geometry {
	x86 := func(name, info string, bits uint64, levels ...level) geometry {
		return geometry{
			name: name, arch: "amd64", page: 4096, info: info + "NUMBER(phys_base)=0\n", levels: levels,
			vaBits: levels[0].shift + 9, image: 0xffffffff80000000,
			table: func(a uint64) uint64 { return a | bits | 0x67 },
			leaf: func(a uint64, large bool) uint64 {
				if large {
					return a | bits | 1<<63 | 1<<12 | 0xe3 // with PAT
				}
				return a | bits | 1<<63 | 0x163
			},
		}
	}
	four := []level{{39, 9, false}, {30, 9, true}, {21, 9, true}, {12, 9, false}}
	const sme = 1 << 47
	all := []geometry{
		x86("x86-64, 4 levels", "", 0, four...),
		x86("x86-64, 5 levels", "NUMBER(pgtable_l5_enabled)=1\n", 0, append([]level{{48, 9, false}}, four...)...),
		x86("x86-64, SME", fmt.Sprintf("NUMBER(sme_mask)=%d\n", uint64(sme)), sme, four...),
	}
	for _, a := range []struct {
		page         int
		config, real uint
		levels       []level
	}{
		{4096, 48, 48, []level{{39, 9, true}, {30, 9, true}, {21, 9, true}, {12, 9, false}}},
		{4096, 39, 39, []level{{30, 9, true}, {21, 9, true}, {12, 9, false}}},
		{4096, 52, 52, []level{{48, 4, true}, {39, 9, true}, {30, 9, true}, {21, 9, true}, {12, 9, false}}},
		{4096, 52, 48, []level{{39, 9, true}, {30, 9, true}, {21, 9, true}, {12, 9, false}}},
		{16384, 47, 47, []level{{36, 11, true}, {25, 11, true}, {14, 11, false}}},
		{16384, 48, 48, []level{{47, 1, true}, {36, 11, true}, {25, 11, true}, {14, 11, false}}},
		{16384, 52, 52, []level{{47, 5, true}, {36, 11, true}, {25, 11, true}, {14, 11, false}}},
		{16384, 52, 47, []level{{36, 11, true}, {25, 11, true}, {14, 11, false}}},
		{65536, 42, 42, []level{{29, 13, true}, {16, 13, false}}},
		{65536, 48, 48, []level{{42, 6, true}, {29, 13, true}, {16, 13, false}}},
		{65536, 52, 52, []level{{42, 10, true}, {29, 13, true}, {16, 13, false}}},
		{65536, 52, 48, []level{{42, 10, true}, {29, 13, true}, {16, 13, false}}},
	} {
		enc := func(p uint64) uint64 {
			switch {
			case a.page == 65536:
				return p&(1<<48-1) | p>>48<<12
			case a.real == 52:
				return p&(1<<50-1) | p>>50<<8
			}
			return p | 3<<8 // inner shareable
		}
		image := ^uint64(0)<<(min(a.config, max(a.real, 47), 48)-1) + 1<<27
		if a.page == 16384 && a.config == 52 {
			image = ^uint64(1<<46-1) + 1<<27
		}
		all = append(all, geometry{
			name: fmt.Sprintf("arm64, %d KiB, %d of %d bits", a.page>>10, a.real, a.config), arch: "arm64", page: a.page,
			info:   fmt.Sprintf("NUMBER(VA_BITS)=%d\nNUMBER(TCR_EL1_T1SZ)=0x%x\nNUMBER(kimage_voffset)=0x%x\n", a.config, 64-a.real, image),
			levels: a.levels, vaBits: a.real, image: image,
			table: func(p uint64) uint64 { return enc(p) | 3 },
			leaf: func(p uint64, large bool) uint64 {
				if large {
					return enc(p) | 1 | 1<<54 | 1<<10
				}
				return enc(p) | 3 | 1<<54 | 1<<10
			},
		})
	}
	return all
}

const rootPFN = 1

// mapped is a machine with page tables.
type mapped struct {
	*machine
	g    geometry
	free uint64 // next page frame for a table
}

func newMapped(g geometry) *mapped {
	m := newMachine(g.arch, g.page)
	m.page(rootPFN)
	root := g.image + rootPFN*uint64(g.page)
	m.info = fmt.Sprintf("OSRELEASE=6.1.0-test\nPAGESIZE=%d\nSYMBOL(swapper_pg_dir)=%x\nSYMBOL(_stext)=%x\n", g.page, root, g.image+0x1000) + g.info
	return &mapped{m, g, rootPFN + 1}
}

// mapPage maps a virtual address, at a level from the last: 0 for a page.
func (m *mapped) mapPage(virt, phys uint64, up int) {
	table := uint64(rootPFN * m.block)
	for i, l := range m.g.levels {
		at := table + virt>>l.shift&(1<<l.bits-1)*8
		if i == len(m.g.levels)-1-up {
			m.write64(at, m.g.leaf(phys, up > 0))
			return
		}
		b := m.page(at / uint64(m.block))[at%uint64(m.block):]
		if le.Uint64(b) == 0 {
			m.page(m.free)
			m.write64(at, m.g.table(m.free*uint64(m.block)))
			m.free++
		}
		e := le.Uint64(b)
		for pfn := uint64(rootPFN + 1); pfn < m.free; pfn++ {
			if m.g.table(pfn*uint64(m.block)) == e {
				table = pfn * uint64(m.block)
			}
		}
	}
}

func TestTranslate(t *testing.T) {
	for _, g := range geometries() {
		t.Run(g.name, func(t *testing.T) {
			m := newMapped(g)
			kernel := ^uint64(0) << (g.vaBits - 1)
			if g.arch == "arm64" {
				kernel <<= 1
			}
			page := kernel + 0x12345*uint64(g.page)
			high := uint64(40) * uint64(g.page)
			m.mapPage(page, high, 0)
			m.mapPage(page+uint64(g.page), 42*uint64(g.page), 0)
			m.write(high, 1, 2, 3)
			m.write(high+uint64(g.page)-2, 4, 5)
			m.write(42*uint64(g.page), 6, 7)
			far := uint64(0x3) << 50
			wide := g.arch == "arm64" && (g.page == 65536 || g.vaBits == 52)
			large := kernel + 7<<g.levels[len(g.levels)-2].shift
			m.mapPage(large, 1<<g.levels[len(g.levels)-2].shift, 1)
			if wide { // physical addresses of 52 bits
				m.mapPage(page+5*uint64(g.page), far, 0)
			}
			d := open(t, m.elf())
			for _, c := range []struct{ virt, want uint64 }{
				{page, high}, {page + 77, high + 77}, {page + uint64(g.page), 42 * uint64(g.page)},
				{large, 1 << g.levels[len(g.levels)-2].shift}, {large + 0x12345, 1<<g.levels[len(g.levels)-2].shift + 0x12345},
			} {
				if got, err := d.Translate(c.virt); err != nil || got != c.want {
					t.Errorf("%#x: got %#x, %v, want %#x", c.virt, got, err, c.want)
				}
			}
			if got, err := d.Translate(page + 5*uint64(g.page)); wide && (err != nil || got != far) {
				t.Errorf("52 bits: got %#x, %v", got, err)
			}
			var unmapped *UnmappedError
			for _, virt := range []uint64{page + 2*uint64(g.page), kernel - 1<<40, 0, 0x400000, 1 << 62, ^uint64(0)} {
				if got, err := d.Translate(virt); !errors.As(err, &unmapped) || unmapped.Addr != virt {
					t.Errorf("%#x: got %#x, %v, want an UnmappedError", virt, got, err)
				}
			}
			got := make([]byte, 4)
			if err := d.ReadVirt(got, page+uint64(g.page)-2); err != nil || !bytes.Equal(got, []byte{4, 5, 6, 7}) {
				t.Errorf("across pages: % x, %v", got, err)
			}
			var absent *AbsentError
			var virt *VirtError
			if err := d.ReadVirt(got, large+5); !errors.As(err, &absent) || !errors.As(err, &virt) || virt.Addr != large+5 {
				t.Errorf("mapped to no memory: %v", err)
			}
		})
	}
}

// A table that points to itself or to no memory.
func TestBadTables(t *testing.T) {
	for _, g := range geometries() {
		m := newMapped(g)
		for i := uint64(0); i < uint64(g.page); i += 8 {
			m.write64(rootPFN*uint64(g.page)+i, g.table(rootPFN*uint64(g.page)))
		}
		d := open(t, m.elf())
		if got, err := d.Translate(^uint64(0) - 4095); err == nil && got>>52 != 0 {
			t.Errorf("%s: loop: %#x", g.name, got)
		}
		m = newMapped(g)
		m.write64(rootPFN*uint64(g.page)+0, g.table(1<<40))
		top := g.levels[0]
		virt := ^uint64(0) << (g.vaBits - 1)
		if g.arch == "arm64" {
			virt <<= 1 // the linear map; the image is found without tables
		}
		at := rootPFN*uint64(g.page) + virt>>top.shift&(1<<top.bits-1)*8
		m.write64(at, g.table(1<<40))
		var untranslatable *UntranslatableError
		if _, err := open(t, m.elf()).Translate(virt); !errors.As(err, &untranslatable) || untranslatable.Addr != virt {
			t.Errorf("%s: table in no memory: %v", g.name, err)
		}
	}
}

// Without page tables the kernel's image is still found.
func TestImageWithoutTables(t *testing.T) {
	m := newMachine("amd64", 4096)
	m.info = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff8000a000\nNUMBER(phys_base)=4096\nNUMBER(KERNEL_IMAGE_SIZE)=536870912\n"
	m.write(0x3000, 9)
	d := open(t, m.elf())
	got := make([]byte, 1)
	if err := d.ReadVirt(got, 0xffffffff80002000); err != nil || got[0] != 9 {
		t.Errorf("got %d, %v", got, err)
	}
	var untranslatable *UntranslatableError
	for _, virt := range []uint64{0xffffffffa0000000, 0xffff888000003000} {
		if err := d.ReadVirt(got, virt); !errors.As(err, &untranslatable) {
			t.Errorf("%#x: got %v, want an UntranslatableError", virt, err)
		}
	}
	m.info = ""
	if err := open(t, m.elf()).ReadVirt(got, 0xffffffff80002000); !errors.As(err, &untranslatable) {
		t.Errorf("no VMCOREINFO: %v", err)
	}
}

// VMCOREINFO is found in memory, but only if it describes this memory.
func TestFindInfo(t *testing.T) {
	for _, g := range geometries() {
		m := newMapped(g)
		uts := g.image + 30*uint64(g.page) + 16
		text := m.info + fmt.Sprintf("SYMBOL(init_uts_ns)=%x\nOFFSET(uts_namespace.name)=4\n", uts)
		m.mapPage(g.image+30*uint64(g.page), 30*uint64(g.page), 0)
		m.write(30*uint64(g.page)+16+4+130, []byte("6.1.0-test\x00")...)
		m.info = ""
		m.write(25*uint64(g.page), []byte(text)...)
		m.write(24*uint64(g.page), bytes.ReplaceAll([]byte(text), []byte("6.1.0"), []byte("5.9.9"))...)
		for name, b := range map[string][]byte{"elf": m.elf(), "kdump": m.kdump(format{flag: flagZlib})} {
			d := open(t, b)
			if d.Info().Release() != "6.1.0-test" || d.PageSize() != g.page {
				t.Errorf("%s, %s: release %q, page size %d", g.name, name, d.Info().Release(), d.PageSize())
			}
		}
		m.write(30*uint64(g.page)+16+4+130, 'x')
		if d := open(t, m.elf()); d.Info().Release() != "" {
			t.Errorf("%s: took VMCOREINFO of another kernel", g.name)
		}
	}
}

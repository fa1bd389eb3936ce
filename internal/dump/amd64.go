package dump

// Bits of a page table entry: arch/x86/include/asm/pgtable_types.h.
const (
	x86Present = 1 << 0
	x86Large   = 1 << 7 // _PAGE_PSE
	x86Addr    = 1<<52 - 1<<12
)

// amd64Walker returns page tables of 4 or 5 levels: Documentation/arch/x86/x86_64/mm.rst
// and 5level-paging.rst.
func (d *Dump) amd64Walker(root uint64) (*walker, error) {
	levels := []level{{39, 9, false}, {30, 9, true}, {21, 9, true}, {12, 9, false}}
	if l5, _ := d.info.Number("pgtable_l5_enabled"); l5 != 0 {
		levels = append([]level{{48, 9, false}}, levels...)
	}
	// With SME an entry has the bit that encrypts its page.
	sme, _ := d.info.Number("sme_mask")
	first := ^uint64(0) << (levels[0].shift + 8) // upper half
	return &walker{first, root, levels, x86Entry(x86Addr &^ sme)}, nil
}

// x86Entry is the mask of the address in an entry.
type x86Entry uint64

// decode implements entry.
func (m x86Entry) decode(e uint64, last bool) (addr uint64, large, present bool) {
	return e & uint64(m), !last && e&x86Large != 0, e&x86Present != 0
}

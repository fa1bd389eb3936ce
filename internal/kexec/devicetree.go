package kexec

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"github.com/u-root/u-root/pkg/dt"
)

// maxTree is the largest device tree that the kernel takes, in bytes
// (Documentation/arch/arm64/booting.rst).
const maxTree = 2 << 20

// tree is the device tree that the running kernel was booted with, so it is well formed.
// On a machine with ACPI it has only what the firmware told the kernel.
type tree struct {
	fdt         *dt.FDT
	chosen      *dt.Node
	cells       int // of an address, 32 bits each
	lengthCells int
}

func readTree(name string) (*tree, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the device tree: %w", err)
	}
	defer f.Close()
	fdt, err := dt.ReadFDT(f)
	if err != nil {
		return nil, fmt.Errorf("the device tree /sys/firmware/fdt: %w", err)
	}
	t := &tree{fdt: fdt}
	// Devicetree Specification 0.4, 2.3.5: 2 and 1 if it does not say.
	t.cells, err = cells(fdt.RootNode, "#address-cells", 2)
	if err != nil {
		return nil, err
	}
	t.lengthCells, err = cells(fdt.RootNode, "#size-cells", 1)
	if err != nil {
		return nil, err
	}
	var ok bool
	if t.chosen, ok = fdt.RootNode.LookupChildByName("chosen"); !ok {
		t.chosen = dt.NewNode("chosen")
		fdt.RootNode.Children = append(fdt.RootNode.Children, t.chosen)
	}
	return t, nil
}

func cells(root *dt.Node, name string, usual int) (int, error) {
	p, ok := root.LookProperty(name)
	if !ok {
		return usual, nil
	}
	n, err := p.AsU32()
	if err != nil || n < 1 || n > 2 {
		return 0, fmt.Errorf("the device tree /sys/firmware/fdt: %s of the root is not 1 or 2", name)
	}
	return int(n), nil
}

// forCapture returns the tree for a capture kernel with that command line, which finds
// its image in initrd, the description of the crashed kernel's memory in header, and
// may use the ranges of usable. The properties are those of
// of_kexec_alloc_and_setup_fdt in drivers/of/kexec.c.
func (t *tree) forCapture(cmdline string, initrd, header span, usable []Range) ([]byte, error) {
	t.dropInitrd()
	set := func(name string, value []byte) { t.chosen.UpdateProperty(name, value) }
	set("bootargs", append([]byte(cmdline), 0))
	set("linux,initrd-start", binary.BigEndian.AppendUint64(nil, initrd.start))
	set("linux,initrd-end", binary.BigEndian.AppendUint64(nil, initrd.start+initrd.size))
	value, err := t.ranges(header)
	if err != nil {
		return nil, err
	}
	set("linux,elfcorehdr", value)
	var spans []span
	for _, r := range usable {
		spans = append(spans, span{r.Start, uint64(r.Size())})
	}
	if value, err = t.ranges(spans...); err != nil {
		return nil, err
	}
	set("linux,usable-memory-range", value)
	// The running kernel has overwritten its own seeds.
	seed := make([]byte, 8+128)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	set("kaslr-seed", seed[:8])
	set("rng-seed", seed[8:])
	var b bytes.Buffer
	if _, err := t.fdt.Write(&b); err != nil {
		return nil, err
	}
	if b.Len() > maxTree {
		return nil, fmt.Errorf("the device tree has %d bytes, the kernel takes %d", b.Len(), maxTree)
	}
	return b.Bytes(), nil
}

// dropInitrd removes what the tree says of the running kernel's initramfs.
func (t *tree) dropInitrd() {
	if p, ok := t.chosen.LookProperty("linux,initrd-start"); ok {
		start := number(p.Value)
		t.fdt.ReserveEntries = slices.DeleteFunc(t.fdt.ReserveEntries, func(e dt.ReserveEntry) bool { return e.Address == start })
	}
}

// number reads a value of one or two cells.
func number(value []byte) (n uint64) {
	for _, b := range value {
		n = n<<8 | uint64(b)
	}
	return n
}

// ranges encodes spans as the root of the tree wants them.
func (t *tree) ranges(list ...span) (value []byte, err error) {
	add := func(n uint64, cells int) {
		if cells == 1 && n>>32 != 0 {
			err = fmt.Errorf("the device tree has addresses of 32 bits, too short for %#x", n)
		}
		if cells == 2 {
			value = binary.BigEndian.AppendUint32(value, uint32(n>>32))
		}
		value = binary.BigEndian.AppendUint32(value, uint32(n))
	}
	for _, s := range list {
		add(s.start, t.cells)
		add(s.size, t.lengthCells)
	}
	return value, err
}

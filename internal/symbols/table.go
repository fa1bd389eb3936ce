package symbols

import (
	"fmt"
	"slices"
	"strings"
)

// An entry is one symbol of a table.
type entry struct {
	addr uint64
	name uint32 // offset in table.names
	len  uint16
	kind byte // as nm(1) prints it
}

// A table holds symbols, ordered by address after sort, in little memory: one
// string has all the names.
type table struct {
	syms   []entry
	buf    []byte   // the names until sort
	names  string   // the names
	byName []uint32 // positions in syms, ordered by name and then by address
}

func (t *table) add(addr uint64, kind byte, name []byte) error {
	if len(t.syms) >= maxSymbols || len(t.buf)+len(name) > maxNames || len(name) > maxName {
		return fmt.Errorf("more than %d symbols or %d bytes of names", maxSymbols, maxNames)
	}
	t.syms = append(t.syms, entry{addr: addr, name: uint32(len(t.buf)), len: uint16(len(name)), kind: kind})
	t.buf = append(t.buf, name...)
	return nil
}

// position returns the place of a name before sort, -1 if it has none.
func (t *table) position(name string) int {
	return slices.IndexFunc(t.syms, func(e entry) bool {
		return string(t.buf[e.name:e.name+uint32(e.len)]) == name
	})
}

// sort orders the table. Symbols of one address keep the order in which they were
// added: scripts/kallsyms.c puts the best name first, and the kernel prints it.
func (t *table) sort() {
	t.names, t.buf = string(t.buf), nil
	slices.SortStableFunc(t.syms, func(a, b entry) int {
		switch {
		case a.addr < b.addr:
			return -1
		case a.addr > b.addr:
			return 1
		}
		return 0
	})
	t.byName = make([]uint32, len(t.syms))
	for i := range t.byName {
		t.byName[i] = uint32(i)
	}
	slices.SortFunc(t.byName, func(a, b uint32) int {
		if c := strings.Compare(t.name(a), t.name(b)); c != 0 {
			return c
		}
		return int(a) - int(b)
	})
}

func (t *table) name(i uint32) string {
	e := t.syms[i]
	return t.names[e.name : e.name+uint32(e.len)]
}

// addresses returns the addresses of a name, lowest first.
func (t *table) addresses(name string) []uint64 {
	i, _ := slices.BinarySearchFunc(t.byName, name, func(p uint32, name string) int {
		return strings.Compare(t.name(p), name)
	})
	var list []uint64
	for ; i < len(t.byName) && t.name(t.byName[i]) == name; i++ {
		list = append(list, t.syms[t.byName[i]].addr)
	}
	return list
}

// nearest returns the first symbol with the highest address that is not above
// addr, and the size up to the next address, which is 0 if none follows.
func (t *table) nearest(addr uint64) (Symbol, bool) {
	after, _ := slices.BinarySearchFunc(t.syms, addr, func(e entry, addr uint64) int {
		if e.addr <= addr {
			return -1
		}
		return 1
	})
	if after == 0 {
		return Symbol{}, false
	}
	start := t.syms[after-1].addr
	first, _ := slices.BinarySearchFunc(t.syms, start, func(e entry, addr uint64) int {
		if e.addr < addr {
			return -1
		}
		return 1
	})
	s := Symbol{Name: t.name(uint32(first)), Kind: t.syms[first].kind, Addr: start, Offset: addr - start}
	if after < len(t.syms) {
		s.Size = t.syms[after].addr - start
	}
	return s, true
}

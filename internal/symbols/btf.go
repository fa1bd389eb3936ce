package symbols

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// The BTF of a kernel: Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
// It is read here, and not by a library, because the dump is untrusted: the usual
// library follows references by recursion, and 500,000 types in a chain, 6 MB,
// end the program.

// maxBTF and maxTypes bound the BTF of the kernel, in bytes and in types. Debian's
// kernels have 5 to 10 MiB with 150,000 types.
const (
	maxBTF   = 32 << 20
	maxTypes = 1 << 20
)

// btfMagic begins BTF.
const btfMagic = 0xeb9f

// Kinds of BTF types.
const (
	kindInt       = 1
	kindPointer   = 2
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindForward   = 7
	kindTypedef   = 8
	kindVolatile  = 9
	kindConst     = 10
	kindRestrict  = 11
	kindFunc      = 12
	kindFuncProto = 13
	kindVar       = 14
	kindDataSec   = 15
	kindFloat     = 16
	kindDeclTag   = 17
	kindTypeTag   = 18
	kindEnum64    = 19
)

// tailUnit is the number of bytes behind the 12 bytes of a type, for each kind:
// a fixed number, or one that is multiplied by vlen.
var tailUnit = [...]struct{ fixed, each uint32 }{
	kindInt: {fixed: 4}, kindArray: {fixed: 12}, kindStruct: {each: 12}, kindUnion: {each: 12},
	kindEnum: {each: 8}, kindFuncProto: {each: 8}, kindVar: {fixed: 4}, kindDataSec: {each: 12},
	kindDeclTag: {fixed: 4}, kindEnum64: {each: 12},
}

// btf is a parsed BTF section. Of each type only its place is kept.
type btf struct {
	types   []byte // the type section
	strings string // the string section
	at      []uint32
	// Types by name: the tags of struct, union and enum have a name space of
	// their own in C. Types of one name form a list.
	tags, names map[string]uint32
	next        map[uint32]uint32
}

// parseBTF parses the bytes between __start_BTF and __stop_BTF.
func parseBTF(raw []byte) (*btf, error) {
	le := binary.LittleEndian
	if len(raw) < 24 || le.Uint16(raw) != btfMagic {
		return nil, errors.New("no BTF header")
	}
	if raw[2] != 1 {
		return nil, fmt.Errorf("BTF version %d is unknown", raw[2])
	}
	header := le.Uint32(raw[4:])
	section := func(off, size uint32) ([]byte, error) {
		start := uint64(header) + uint64(off)
		if end := start + uint64(size); end <= uint64(len(raw)) {
			return raw[start:end], nil
		}
		return nil, fmt.Errorf("section of %d bytes at %d exceeds the BTF of %d bytes", size, start, len(raw))
	}
	types, err := section(le.Uint32(raw[8:]), le.Uint32(raw[12:]))
	if err != nil {
		return nil, err
	}
	text, err := section(le.Uint32(raw[16:]), le.Uint32(raw[20:]))
	if err != nil {
		return nil, err
	}
	if len(text) == 0 || text[len(text)-1] != 0 {
		return nil, errors.New("BTF strings do not end with a NUL byte")
	}
	b := &btf{types: types, strings: string(text), at: []uint32{0},
		tags: make(map[string]uint32), names: make(map[string]uint32), next: make(map[uint32]uint32)}
	return b, b.index()
}

// index records the place of each type. Type 0 is void.
func (b *btf) index() error {
	for off := uint64(0); off < uint64(len(b.types)); {
		id := uint32(len(b.at))
		if off+12 > uint64(len(b.types)) {
			return fmt.Errorf("BTF type %d is cut off", id)
		}
		if id > maxTypes {
			return fmt.Errorf("BTF has more than %d types", maxTypes)
		}
		b.at = append(b.at, uint32(off))
		t := b.typ(id)
		if t.kind < kindInt || t.kind > kindEnum64 {
			return fmt.Errorf("BTF type %d has the unknown kind %d", id, t.kind)
		}
		off += 12
		if int(t.kind) < len(tailUnit) {
			off += uint64(tailUnit[t.kind].fixed) + uint64(tailUnit[t.kind].each)*uint64(t.vlen)
		}
		if off > uint64(len(b.types)) {
			return fmt.Errorf("BTF type %d is cut off", id)
		}
		name := b.text(t.name)
		if name == "" {
			continue
		}
		switch t.kind {
		case kindStruct, kindUnion, kindEnum, kindEnum64:
			b.link(b.tags, name, id)
		case kindTypedef, kindInt, kindFloat:
			b.link(b.names, name, id)
		}
	}
	return nil
}

// link adds a type to the list of its name.
func (b *btf) link(names map[string]uint32, name string, id uint32) {
	if head, ok := names[name]; ok {
		b.next[id] = head
	}
	names[name] = id
}

// A btfType is a decoded type.
type btfType struct {
	id, name   uint32
	kind       uint8
	flag       bool // bit fields of members, or a signed enum
	vlen       uint32
	sizeOrType uint32
	tail       []byte
}

// typ returns the type with that number; its kind is 0 for void and for a number
// without type. The masks of kind and vlen include the bits that are reserved and
// zero in kernels up to 6.x.
func (b *btf) typ(id uint32) btfType {
	if id == 0 || id >= uint32(len(b.at)) {
		return btfType{id: id}
	}
	raw := b.types[b.at[id]:]
	le := binary.LittleEndian
	info := le.Uint32(raw[4:])
	t := btfType{id: id, name: le.Uint32(raw), kind: uint8(info >> 24 & 0x7f), flag: info>>31 != 0,
		vlen: info & 0xffffff, sizeOrType: le.Uint32(raw[8:])}
	if int(t.kind) < len(tailUnit) {
		size := uint64(tailUnit[t.kind].fixed) + uint64(tailUnit[t.kind].each)*uint64(t.vlen)
		if raw = raw[12:]; size <= uint64(len(raw)) {
			t.tail = raw[:size]
		}
	}
	return t
}

// text returns the string at an offset of the string section, "" if it is outside
// or longer than any name of the kernel.
func (b *btf) text(off uint32) string {
	if uint64(off) >= uint64(len(b.strings)) {
		return ""
	}
	s := b.strings[off:]
	if i := strings.IndexByte(s[:min(len(s), maxName)], 0); i >= 0 {
		return s[:i]
	}
	return ""
}

// maxDepth bounds typedefs of typedefs, arrays of arrays and structures in
// structures. The kernel has fewer than 20.
const maxDepth = 64

// resolve follows typedefs and qualifiers to the type behind them.
func (b *btf) resolve(id uint32) btfType {
	for range maxDepth {
		t := b.typ(id)
		switch t.kind {
		case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
			id = t.sizeOrType
		case kindDeclTag, kindVar:
			return btfType{id: id}
		default:
			return t
		}
	}
	return btfType{id: id}
}

// array returns the element type and the number of elements.
func (t btfType) array() (elem, count uint32) {
	if t.kind != kindArray || len(t.tail) < 12 {
		return 0, 0
	}
	return binary.LittleEndian.Uint32(t.tail), binary.LittleEndian.Uint32(t.tail[8:])
}

// signed reports whether an integer or an enum is signed.
func (t btfType) signed() bool {
	switch t.kind {
	case kindInt:
		return len(t.tail) == 4 && binary.LittleEndian.Uint32(t.tail)>>24&1 != 0
	case kindEnum, kindEnum64:
		return t.flag
	}
	return false
}

// size returns the size of a resolved type in bytes.
func (b *btf) size(t btfType) (uint64, error) {
	count := uint64(1)
	for range maxDepth {
		switch t.kind {
		case kindPointer:
			return 8 * count, nil
		case kindInt, kindStruct, kindUnion, kindEnum, kindEnum64, kindFloat:
			return uint64(t.sizeOrType) * count, nil
		case kindArray:
			elem, n := t.array()
			// 2^30 elements of 2^32 bytes at most: no overflow.
			if count *= uint64(n); count > 1<<30 {
				return 0, errors.New("array is too large")
			}
			t = b.resolve(elem)
		default:
			return 0, fmt.Errorf("type %d has no size", t.id)
		}
	}
	return 0, errors.New("arrays are nested too deeply")
}

// A btfMember is a member of a structure or union; its offset is in bits.
type btfMember struct {
	name, typ, offset, bits uint32
}

// member returns member i, which is below the number of members.
func (t btfType) member(i uint32) btfMember {
	raw := t.tail[12*i:]
	m := btfMember{name: binary.LittleEndian.Uint32(raw), typ: binary.LittleEndian.Uint32(raw[4:]), offset: binary.LittleEndian.Uint32(raw[8:])}
	if t.flag {
		m.bits, m.offset = m.offset>>24, m.offset&0xffffff
	}
	return m
}

// members returns the number of members, 0 if t is no structure or union.
func (t btfType) members() uint32 {
	if t.kind != kindStruct && t.kind != kindUnion || uint64(len(t.tail)) < 12*uint64(t.vlen) {
		return 0
	}
	return t.vlen
}

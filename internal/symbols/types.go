package symbols

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Types are the types of the kernel's image, from its BTF. Names of structures,
// unions and enums may be given with or without "struct ", "union " or "enum ";
// other names are those of typedefs and integers. Types is not for use by several
// goroutines at once.
type Types struct {
	btf    *btf
	fields map[[2]string]fieldResult
}

// A Field is the place of a member in a structure.
type Field struct {
	Offset uint64 // in bytes
	Size   uint64 // in bytes, of all elements of an array
	// Bits is the width of a bit field, 0 for other members. Shift is the number
	// of bits below it in the little-endian integer at Offset.
	Bits, Shift uint32
	Len         uint32 // elements of an array, 0 if it is none
	Signed      bool   // a signed integer or enum, or an array of those
	Pointer     bool
	Type        string // name of the type, or of the type that a pointer or an array has; "" if it has none
}

type fieldResult struct {
	field Field
	err   error
}

// ParseTypes parses a BTF section such as /sys/kernel/btf/vmlinux. Types keeps raw.
func ParseTypes(raw []byte) (*Types, error) {
	if len(raw) > maxBTF {
		return nil, fmt.Errorf("read types: BTF of %d bytes exceeds %d", len(raw), maxBTF)
	}
	b, err := parseBTF(raw)
	if err != nil {
		return nil, fmt.Errorf("read types: %w", err)
	}
	return &Types{btf: b, fields: make(map[[2]string]fieldResult)}, nil
}

// find returns the types with a name, resolved.
func (t *Types) find(name string) []btfType {
	bare := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(name, "struct "), "union "), "enum ")
	id, ok := t.btf.tags[bare]
	if !ok && bare == name {
		id, ok = t.btf.names[name]
	}
	var list []btfType
	for ; ok && len(list) < maxDepth; id, ok = t.btf.next[id] {
		list = append(list, t.btf.resolve(id))
	}
	return list
}

// Has reports whether the kernel has a type of that name.
func (t *Types) Has(name string) bool { return len(t.find(name)) > 0 }

// Size returns the size of a type in bytes.
func (t *Types) Size(name string) (uint64, error) {
	return agree(t.find(name), "type "+name, t.btf.size)
}

// agree evaluates f on all types of one name. Drivers have different structures
// of one name; if they give different answers, none is returned.
func agree[V comparable](list []btfType, object string, f func(btfType) (V, error)) (V, error) {
	var value V
	if len(list) == 0 {
		return value, fmt.Errorf("%s: the kernel has no such type", object)
	}
	var failure error
	found := false
	for _, typ := range list {
		v, err := f(typ)
		switch {
		case err != nil:
			failure = err
		case found && v != value:
			var none V
			return none, fmt.Errorf("%s: ambiguous, several types have this name", object)
		default:
			value, found = v, true
		}
	}
	if !found {
		return value, fmt.Errorf("%s: %w", object, failure)
	}
	return value, nil
}

// Field returns the place of a member. The path names members of members too, as
// in "thread.sp" and "mem[1].base"; members of anonymous structures and unions
// need no name of these.
func (t *Types) Field(typ, path string) (Field, error) {
	key := [2]string{typ, path}
	if r, ok := t.fields[key]; ok {
		return r.field, r.err
	}
	f, err := agree(t.find(typ), typ+"."+path, func(s btfType) (Field, error) { return t.walk(s, path) })
	t.fields[key] = fieldResult{f, err}
	return f, err
}

// Offset returns the offset of a member in bytes.
func (t *Types) Offset(typ, path string) (uint64, error) {
	f, err := t.Field(typ, path)
	if err == nil && f.Bits != 0 {
		return 0, fmt.Errorf("%s.%s: a bit field has no offset", typ, path)
	}
	return f.Offset, err
}

// HasField reports whether a type has a member.
func (t *Types) HasField(typ, path string) bool {
	_, err := t.Field(typ, path)
	return err == nil
}

// walk follows a path from a structure.
func (t *Types) walk(s btfType, path string) (Field, error) {
	var bits uint64 // from the start of the structure
	var m btfMember
	for part := range strings.SplitSeq(path, ".") {
		name, indexes, _ := strings.Cut(part, "[")
		budget := maxMembers
		found, offset, ok := t.member(s, name, 0, &budget)
		if !ok {
			return Field{}, fmt.Errorf("no member %s", name)
		}
		m, bits = found, bits+offset
		s = t.btf.resolve(m.typ)
		for indexes != "" {
			number, rest, _ := strings.Cut(indexes, "]")
			indexes = strings.TrimPrefix(rest, "[")
			i, err := strconv.ParseUint(number, 10, 32)
			elem, n := s.array()
			if err != nil || i >= uint64(n) {
				return Field{}, fmt.Errorf("no element %s of %s, which has %d", number, name, n)
			}
			s = t.btf.resolve(elem)
			size, err := t.btf.size(s)
			if err != nil {
				return Field{}, err
			}
			bits += 8 * i * size
		}
	}
	return t.field(s, m, bits)
}

// maxMembers bounds the members that one lookup visits: anonymous structures can
// share members, and their number grows with the power of the depth.
const maxMembers = 1 << 16

// member finds a member by name, also in anonymous members, and returns its offset
// in bits.
func (t *Types) member(s btfType, name string, depth int, budget *int) (btfMember, uint64, bool) {
	for i := range s.members() {
		if *budget--; *budget < 0 || depth > maxDepth {
			return btfMember{}, 0, false
		}
		m := s.member(i)
		if own := t.btf.text(m.name); own == name {
			return m, uint64(m.offset), true
		} else if own != "" {
			continue
		}
		if found, off, ok := t.member(t.btf.resolve(m.typ), name, depth+1, budget); ok {
			return found, uint64(m.offset) + off, true
		}
	}
	return btfMember{}, 0, false
}

// field describes a member of type s.
func (t *Types) field(s btfType, m btfMember, bits uint64) (Field, error) {
	size, err := t.btf.size(s)
	if err != nil {
		return Field{}, err
	}
	f := Field{Offset: bits / 8, Size: size, Bits: m.bits, Shift: uint32(bits % 8), Signed: s.signed()}
	if m.bits == 0 && f.Shift != 0 || f.Shift+m.bits > 64 {
		return Field{}, fmt.Errorf("bit field of %d bits at bit %d", m.bits, bits)
	}
	if _, n := s.array(); s.kind == kindArray {
		f.Len = n
		for range maxDepth {
			elem, _ := s.array()
			if s = t.btf.resolve(elem); s.kind != kindArray {
				break
			}
		}
		f.Signed = s.signed()
	}
	if f.Pointer = s.kind == kindPointer; f.Pointer {
		s = t.btf.resolve(s.sizeOrType)
	}
	f.Type = t.btf.text(s.name)
	return f, nil
}

// Enum returns the value of an enumerator. The enum has a name, or "" to search all
// enums.
func (t *Types) Enum(enum, name string) (int64, error) {
	list := t.find(enum)
	if enum == "" {
		for id := range uint32(len(t.btf.at)) {
			if typ := t.btf.typ(id); (typ.kind == kindEnum || typ.kind == kindEnum64) && t.hasValue(typ, name) {
				list = append(list, typ)
			}
		}
	}
	return agree(list, "enum "+enum+" "+name, func(typ btfType) (int64, error) {
		for n, v := range t.values(typ) {
			if n == name {
				return v, nil
			}
		}
		return 0, fmt.Errorf("no value %s", name)
	})
}

func (t *Types) hasValue(typ btfType, name string) bool {
	for n := range t.values(typ) {
		if n == name {
			return true
		}
	}
	return false
}

// EnumName returns the first enumerator with that value, "" if the enum has none.
func (t *Types) EnumName(enum string, value int64) string {
	for _, typ := range t.find(enum) {
		for n, v := range t.values(typ) {
			if v == value {
				return n
			}
		}
	}
	return ""
}

// values yields the enumerators of an enum.
func (t *Types) values(typ btfType) func(yield func(string, int64) bool) {
	return func(yield func(string, int64) bool) {
		size := uint32(8)
		if typ.kind == kindEnum64 {
			size = 12
		} else if typ.kind != kindEnum {
			return
		}
		for raw := typ.tail; uint32(len(raw)) >= size; raw = raw[size:] {
			low := binary.LittleEndian.Uint32(raw[4:])
			v := int64(low)
			switch {
			case size == 12:
				v |= int64(binary.LittleEndian.Uint32(raw[8:])) << 32
			case typ.flag:
				v = int64(int32(low))
			}
			if !yield(t.btf.text(binary.LittleEndian.Uint32(raw)), v) {
				return
			}
		}
	}
}

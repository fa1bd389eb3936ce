package symbols

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"ukdump/internal/symbols/symbolstest"
	"ukdump/internal/vmcore"
)

// memory is invented memory: pieces by address. Other addresses are not readable.
type memory map[uint64][]byte

func (m memory) ReadVirt(p []byte, addr uint64) error { return symbolstest.ReadVirt(m, p, addr) }

func (m memory) put(addr uint64, values ...any) uint64 {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		default:
			b, _ = binary.Append(b, binary.LittleEndian, v)
		}
	}
	m[addr] = b
	return addr + uint64(len(b))
}

const (
	imageBase   = 0xffffffff81000000
	tablesStart = 0xffffffff82000000
)

// A symbol of the invented kernel.
type symbol struct {
	addr uint64
	text string // type and name
}

// layout is the form of the addresses.
type layout int

const (
	absolute   layout = iota // kallsyms_addresses
	relative                 // offsets from kallsyms_relative_base
	percpu                   // the same with CONFIG_KALLSYMS_ABSOLUTE_PERCPU
	pcRelative               // offsets from their own place
)

// assemble writes tables as scripts/kallsyms.c does and returns VMCOREINFO.
func (m memory) assemble(form layout, release string, list []symbol) string {
	// Tokens: every character is itself; the unused codes stand for common parts.
	var tokens [256]string
	for i := range tokens {
		if i >= ' ' && i < 0x7f {
			tokens[i] = string(rune(i))
		}
	}
	for i, part := range []string{"Tsys_", "init_", "do_", "T_", "__", "uts"} {
		tokens[0x80+i] = part
	}
	var names, table []byte
	var index [512]byte
	for i, text := range tokens {
		binary.LittleEndian.PutUint16(index[2*i:], uint16(len(table)))
		table = append(append(table, text...), 0)
	}
	for _, s := range list {
		var codes []byte
		for rest := s.text; rest != ""; {
			code := rest[0]
			for i := 0x80; i < 0x86; i++ {
				if strings.HasPrefix(rest, tokens[i]) {
					code = byte(i)
				}
			}
			codes = append(codes, code)
			rest = rest[len(tokens[code]):]
		}
		if len(codes) > 0x7f {
			names = append(names, byte(len(codes))|0x80, byte(len(codes)>>7))
		} else {
			names = append(names, byte(len(codes)))
		}
		names = append(names, codes...)
	}
	at := uint64(tablesStart)
	info := "OSRELEASE=" + release + "\n"
	place := func(name string, data []byte) {
		m[at] = data
		info += fmt.Sprintf("SYMBOL(%s)=%x\n", name, at)
		at = (at + uint64(len(data)) + 4095 + 8) &^ 7
	}
	var raw []byte
	base := uint64(imageBase)
	for i, s := range list {
		switch {
		case form == absolute:
			raw = binary.LittleEndian.AppendUint64(raw, s.addr)
		case form == pcRelative:
			raw = binary.LittleEndian.AppendUint32(raw, uint32(s.addr-at-uint64(4*i)))
		case form == percpu && s.addr >= base:
			raw = binary.LittleEndian.AppendUint32(raw, uint32(base-1-s.addr))
		case form == percpu:
			raw = binary.LittleEndian.AppendUint32(raw, uint32(s.addr))
		default:
			raw = binary.LittleEndian.AppendUint32(raw, uint32(s.addr-base))
		}
	}
	switch form {
	case absolute:
		place("kallsyms_addresses", raw)
	case pcRelative:
		place("kallsyms_offsets", raw)
	default:
		place("kallsyms_offsets", raw)
		place("kallsyms_relative_base", binary.LittleEndian.AppendUint64(nil, base))
	}
	place("kallsyms_num_syms", binary.LittleEndian.AppendUint32(nil, uint32(len(list))))
	place("kallsyms_names", append(names, make([]byte, 8192)...))
	place("kallsyms_token_table", append(table, make([]byte, 4096)...))
	place("kallsyms_token_index", index[:])
	for _, s := range list {
		if slices.Contains(anchors, s.text[1:]) {
			info += fmt.Sprintf("SYMBOL(%s)=%x\n", s.text[1:], s.addr)
		}
	}
	return info
}

// image is the symbols of the invented kernel.
var image = []symbol{
	{imageBase, "T_text"}, {imageBase, "T_stext"},
	{imageBase + 0x100, "Tsys_read"}, {imageBase + 0x100, "W__x64_sys_read"},
	{imageBase + 0x180, "tdo_init"}, {imageBase + 0x200, "tdo_init"},
	{imageBase + 0x400, "T" + strings.Repeat("long_", 60)},
	{imageBase + 0x1000, "T_etext"},
	{imageBase + 0x2000, "Dinit_uts_ns"}, {imageBase + 0x2100, "D__start_BTF"}, {imageBase + 0x3000, "D__stop_BTF"},
	{imageBase + 0x3000, "dmodules"}, {imageBase + 0x3010, "D__per_cpu_offset"}, {imageBase + 0x3050, "Dnr_cpu_ids"},
	{imageBase + 0x3060, "dbpf_kallsyms"},
	{imageBase + 0x3070, "dbtf_modules"}, {imageBase + 0x3200, "rkernel_config_data"}, {imageBase + 0x3210, "rkernel_config_data_end"},
	{imageBase + 0x10000, "B_end"},
}

// kernel opens the invented kernel with the given BTF.
func (m memory) kernel(btf []byte) (*Kernel, error) {
	info := m.assemble(pcRelative, "7.0.1", image)
	at := slices.IndexFunc(image, func(s symbol) bool { return s.text == "D__start_BTF" })
	m[image[at].addr] = append(slices.Clone(btf), make([]byte, max(0, 0xf00-len(btf)))...)
	return Open(m, vmcore.ParseInfo([]byte(info)), "amd64")
}

// btfAsm assembles BTF.
type btfAsm struct {
	types   []byte
	strings []byte
	names   map[string]uint32
	count   uint32
}

func (a *btfAsm) name(s string) uint32 {
	if a.names == nil {
		a.names, a.strings = map[string]uint32{"": 0}, []byte{0}
	}
	off, ok := a.names[s]
	if !ok {
		off = uint32(len(a.strings))
		a.names[s] = off
		a.strings = append(append(a.strings, s...), 0)
	}
	return off
}

// add adds a type with the words behind it and returns its number.
func (a *btfAsm) add(name string, kind, vlen, sizeOrType uint32, tail ...uint32) uint32 {
	for _, w := range append([]uint32{a.name(name), kind<<24 | vlen, sizeOrType}, tail...) {
		a.types = binary.LittleEndian.AppendUint32(a.types, w)
	}
	a.count++
	return a.count
}

// bitFields is the flag of structures with bit fields and of signed enums.
const bitFields = 1 << 7

func (a *btfAsm) bytes() []byte {
	a.name("")
	var m = memory{}
	m.put(0, uint16(0xeb9f), uint8(1), uint8(0), uint32(24), uint32(0), uint32(len(a.types)), uint32(len(a.types)), uint32(len(a.strings)), a.types, a.strings)
	return m[0]
}

// sample has the structures that the tests use.
func sample() *btfAsm {
	a := &btfAsm{}
	u64 := a.add("long unsigned int", kindInt, 0, 8, 64)
	u32 := a.add("unsigned int", kindInt, 0, 4, 32)
	s32 := a.add("int", kindInt, 0, 4, 1<<24|32)
	char := a.add("char", kindInt, 0, 1, 8)
	ulong := a.add("ulong", kindTypedef, 0, u64)
	member := func(name string, typ, bytes uint32) []uint32 { return []uint32{a.name(name), typ, bytes * 8} }
	head := a.add("list_head", kindStruct, 2, 16, slices.Concat(member("next", u64, 0), member("prev", u64, 8))...)
	name := a.add("", kindArray, 0, 0, char, u32, 16)
	ptr := a.add("", kindPointer, 0, char)
	part := a.add("module_memory", kindStruct, 2, 16, slices.Concat(member("base", ptr, 0), member("size", u32, 8))...)
	parts := a.add("", kindArray, 0, 0, part, u32, 2)
	state := a.add("module_state", kindEnum, 2, 4, a.name("MODULE_STATE_LIVE"), 0, a.name("MODULE_STATE_COMING"), 1)
	a.add("mod_mem_type", kindEnum, 2, 4, a.name("MOD_TEXT"), 0, a.name("MOD_DATA"), 1)
	a.add("mod_kallsyms", kindStruct, 3, 24, slices.Concat(member("symtab", ptr, 0), member("num_symtab", u32, 8), member("strtab", ptr, 16))...)
	a.add("module", kindStruct, 7, 120, slices.Concat(member("state", state, 0), member("list", head, 8), member("name", name, 24),
		member("version", ptr, 40), member("taints", ulong, 48), member("mem", parts, 56), member("kallsyms", ptr, 88))...)
	// struct orc_entry with bit fields, in an anonymous union of an anonymous struct.
	flags := a.add("", kindStruct|bitFields, 3, 8, a.name("low"), u32, 3<<24, a.name("high"), s32, 5<<24|3, a.name("plain"), u32, 32)
	either := a.add("", kindUnion, 2, 8, slices.Concat(member("", flags, 0), member("all", u64, 0))...)
	a.add("mixed", kindStruct, 2, 16, slices.Concat(member("first", u64, 0), member("", either, 8))...)
	a.add("twice", kindStruct, 1, 8, member("x", u32, 0)...)
	a.add("twice", kindStruct, 1, 8, member("x", u32, 4)...)
	a.add("", kindEnum|bitFields, 2, 4, a.name("MINUS"), 0xffffffff, a.name("PLUS"), 1)
	a.add("wide", kindEnum64, 1, 8, a.name("WIDE"), 1, 2)
	a.add("btf", kindStruct, 2, 16, slices.Concat(member("data", ptr, 0), member("data_size", u32, 8))...)
	a.add("btf_module", kindStruct, 3, 32, slices.Concat(member("list", head, 0), member("module", ptr, 16), member("btf", ptr, 24))...)
	return a
}

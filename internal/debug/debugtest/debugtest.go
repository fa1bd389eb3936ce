// Package debugtest makes small kernels and dumps for tests.
package debugtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
)

// Kernel describes a vmlinux.
type Kernel struct {
	Machine string // GOARCH name, "" for amd64
	BuildID string // in hexadecimal, "" for none
	Release string
	Version string
	DWARF   bool // with debug information
	Split   bool // without code
}

var le = binary.LittleEndian

// bannerAddr is the virtual address of linux_banner.
const bannerAddr = 0xffffffff82000000

// Vmlinux returns an ELF file of that kernel.
func Vmlinux(k Kernel) []byte {
	machine := elf.EM_X86_64
	if k.Machine == "arm64" {
		machine = elf.EM_AARCH64
	}
	id, err := hex.DecodeString(k.BuildID)
	if err != nil {
		panic(err) // a build ID of a test
	}
	note := le.AppendUint32(nil, 4)
	note = le.AppendUint32(note, uint32(len(id)))
	note = le.AppendUint32(note, 3) // NT_GNU_BUILD_ID
	note = append(append(note, "GNU\x00"...), id...)
	if len(id) == 0 {
		note = nil
	}
	banner := []byte("Linux version " + k.Release + " (by@host) (gcc (Debian) 12, GNU ld) " + k.Version + "\n\x00")
	debug := "comment"
	if k.DWARF {
		debug = "debug_info"
	}
	symbols := append(make([]byte, 24), le.AppendUint32(nil, 1)...)
	symbols = append(symbols, 0x11, 0, 2, 0) // a global object in section 2
	symbols = le.AppendUint64(symbols, bannerAddr)
	symbols = le.AppendUint64(symbols, uint64(len(banner)))
	text := elf.SHT_PROGBITS
	if k.Split {
		text = elf.SHT_NOBITS
	}
	sections := []section{
		{name: "", kind: elf.SHT_NULL},
		{name: ".notes", kind: elf.SHT_NOTE, data: note},
		{name: ".rodata", kind: elf.SHT_PROGBITS, addr: bannerAddr, data: banner},
		{name: "." + debug, kind: elf.SHT_PROGBITS, data: []byte("x")},
		{name: ".text", kind: text, data: []byte{0xc3}},
		{name: ".symtab", kind: elf.SHT_SYMTAB, link: 6, data: symbols, entry: 24},
		{name: ".strtab", kind: elf.SHT_STRTAB, data: []byte("\x00linux_banner\x00")},
	}
	return encode(machine, sections)
}

type section struct {
	name        string
	kind        elf.SectionType
	addr, entry uint64
	link        uint32
	data        []byte
}

// encode writes the sections and a table of their names.
func encode(machine elf.Machine, sections []section) []byte {
	names := []byte{}
	headers := new(bytes.Buffer)
	body := new(bytes.Buffer)
	const start = 64
	sections = append(sections, section{name: ".shstrtab", kind: elf.SHT_STRTAB})
	var at []uint32
	for _, s := range sections {
		at = append(at, uint32(len(names)))
		names = append(append(names, s.name...), 0)
	}
	sections[len(sections)-1].data = names
	for i, s := range sections {
		binary.Write(headers, le, elf.Section64{Name: at[i], Type: uint32(s.kind), Addr: s.addr, Off: uint64(start + body.Len()), Size: uint64(len(s.data)), Link: s.link, Entsize: s.entry})
		body.Write(s.data)
	}
	head := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Shoff: uint64(start + body.Len()),
		Ehsize: start, Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	}
	copy(head.Ident[:], "\x7fELF\x02\x01\x01")
	out := new(bytes.Buffer)
	binary.Write(out, le, head)
	out.Write(body.Bytes())
	out.Write(headers.Bytes())
	return out.Bytes()
}

// Dump returns a kdump-compressed dump with that VMCOREINFO, and no memory that anybody
// could read.
func Dump(machine, release, version, info string) []byte {
	const block = 4096
	b := make([]byte, 6*block)
	copy(b, "KDUMP   ")
	le.PutUint32(b[8:], 6)
	copy(b[77:], "recorded")
	copy(b[142:], release)
	copy(b[207:], version)
	copy(b[272:], map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[machine])
	le.PutUint32(b[424:], 2) // lzo
	le.PutUint32(b[428:], block)
	le.PutUint32(b[432:], 1)
	le.PutUint32(b[436:], 2)
	le.PutUint32(b[block+8:], 31)
	le.PutUint64(b[block+32:], block+512)
	le.PutUint64(b[block+40:], uint64(len(info)))
	copy(b[block+512:], info)
	le.PutUint64(b[block+96:], 100)
	b[3*block] = 1 // in the second bitmap
	le.PutUint64(b[4*block:], 5*block)
	le.PutUint32(b[4*block+8:], 100)
	return b
}

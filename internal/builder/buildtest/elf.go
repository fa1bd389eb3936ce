package buildtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
)

// ELF is a 64-bit little-endian file with only the parts that the builder reads.
type ELF struct {
	Type    elf.Type    // ET_DYN if 0
	Machine elf.Machine // EM_X86_64 if 0
	Interp  string      // PT_INTERP
	Needed  []string    // DT_NEEDED
	Runpath string      // DT_RUNPATH
	Modinfo []string    // section .modinfo
	CRCs    bool        // section __versions
	Text    string      // somewhere in the file
}

// Bytes returns the file, see elf(5).
func (e ELF) Bytes() []byte {
	le := binary.LittleEndian
	const headers = 64 + 56 // ELF header, one program header
	var body bytes.Buffer
	put := func(b []byte) (off, size uint64) {
		off = headers + uint64(body.Len())
		body.Write(b)
		return off, uint64(len(b))
	}
	put([]byte(e.Text + "\x00"))
	interp := elf.Prog64{Type: uint32(elf.PT_NULL)}
	if e.Interp != "" {
		interp.Type = uint32(elf.PT_INTERP)
		interp.Off, interp.Filesz = put([]byte(e.Interp + "\x00"))
	}

	names := "\x00"
	sections := []elf.Section64{{}}
	section := func(name string, typ elf.SectionType, link uint32, data []byte) {
		s := elf.Section64{Name: uint32(len(names)), Type: uint32(typ), Link: link}
		s.Off, s.Size = put(data)
		sections = append(sections, s)
		names += name + "\x00"
	}
	if len(e.Needed) > 0 || e.Runpath != "" {
		strs := "\x00"
		var dyn []byte
		add := func(tag elf.DynTag, s string) {
			dyn = le.AppendUint64(dyn, uint64(tag))
			dyn = le.AppendUint64(dyn, uint64(len(strs)))
			strs += s + "\x00"
		}
		for _, n := range e.Needed {
			add(elf.DT_NEEDED, n)
		}
		if e.Runpath != "" {
			add(elf.DT_RUNPATH, e.Runpath)
		}
		dyn = append(dyn, make([]byte, 16)...) // DT_NULL
		section(".dynstr", elf.SHT_STRTAB, 0, []byte(strs))
		section(".dynamic", elf.SHT_DYNAMIC, uint32(len(sections)-1), dyn)
	}
	if len(e.Modinfo) > 0 {
		section(".modinfo", elf.SHT_PROGBITS, 0, []byte(strings.Join(e.Modinfo, "\x00")+"\x00"))
	}
	if e.CRCs {
		section("__versions", elf.SHT_PROGBITS, 0, make([]byte, 64))
		sections[len(sections)-1].Flags = uint64(elf.SHF_ALLOC)
	}
	section(".shstrtab", elf.SHT_STRTAB, 0, []byte(names+".shstrtab\x00"))

	h := elf.Header64{
		Type: uint16(e.Type), Machine: uint16(e.Machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Shoff: headers + uint64(body.Len()),
		Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
		Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	if h.Type == 0 {
		h.Type = uint16(elf.ET_DYN)
	}
	if h.Machine == 0 {
		h.Machine = uint16(elf.EM_X86_64)
	}
	var out bytes.Buffer
	for _, part := range []any{h, interp, body.Bytes(), sections} {
		if err := binary.Write(&out, le, part); err != nil {
			panic(err) // a bytes.Buffer takes everything
		}
	}
	return out.Bytes()
}

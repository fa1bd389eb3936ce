package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// code has an architecture's instructions for the beginning of a module's init function.
type code struct {
	skip  uint64 // bytes before them: what ftrace and the processor expect there
	oops  []byte // an invalid one
	spins []byte // a jump to itself
}

var codes = map[elf.Machine]code{
	elf.EM_X86_64:  {5, []byte{0x0f, 0x0b}, []byte{0xeb, 0xfe}},     // the call of __fentry__; ud2; jmp
	elf.EM_AARCH64: {12, []byte{0, 0, 0, 0}, []byte{0, 0, 0, 0x14}}, // bti and two nops; udf; b
}

// The size of struct elf64_rela (elf(5)).
const relaSize = 24

func (im *image) oops(module string) error {
	return im.patch(module, func(c code) []byte { return c.oops })
}

func (im *image) spin(module string) error {
	return im.patch(module, func(c code) []byte { return c.spins })
}

// patch puts instructions at the beginning of a module's init function.
func (im *image) patch(module string, choose func(code) []byte) error {
	for _, f := range im.files {
		if strings.HasSuffix(f.entry.Path, "-"+module+".ko") {
			// A kernel that accepts unsigned modules refuses one with a wrong
			// signature.
			f.data = unsign(f.data)
			return patchInit(f.data, choose)
		}
	}
	return errors.New("the image has no such module")
}

// unsign cuts the signature off a module: struct module_signature, whose last
// word is the length of the signature before it, and then the magic
// (include/linux/module_signature.h).
func unsign(ko []byte) []byte {
	const magic, structSize = "~Module signature appended~\n", 12
	rest, ok := bytes.CutSuffix(ko, []byte(magic))
	if !ok || len(rest) < structSize {
		return ko
	}
	size := int(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	return rest[:max(0, len(rest)-structSize-size)]
}

func patchInit(ko []byte, choose func(code) []byte) error {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return err
	}
	c, ok := codes[f.Machine]
	if !ok {
		return fmt.Errorf("no instructions for %v", f.Machine)
	}
	words := choose(c)
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	for _, s := range symbols {
		if s.Name != "init_module" {
			continue
		}
		if int(s.Section) >= len(f.Sections) {
			return fmt.Errorf("init_module is in section %d", s.Section)
		}
		text := f.Sections[s.Section]
		at := s.Value + c.skip
		copy(ko[text.Offset+at:], words)
		return dropRelocations(f, ko, int(s.Section), at, at+uint64(len(words)))
	}
	return errors.New("the module has no init_module")
}

// dropRelocations keeps the loader from writing over bytes from at to end of a
// section: relocations there become R_X86_64_NONE or R_AARCH64_NONE.
func dropRelocations(f *elf.File, ko []byte, section int, at, end uint64) error {
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || int(s.Info) != section {
			continue
		}
		for i := s.Offset; i+relaSize <= s.Offset+s.FileSize; i += relaSize {
			off, width := binary.LittleEndian.Uint64(ko[i:]), uint64(4)
			if elf.R_X86_64(binary.LittleEndian.Uint32(ko[i+8:])) == elf.R_X86_64_64 {
				width = 8
			}
			if off < end && off+width > at {
				binary.LittleEndian.PutUint64(ko[i+8:], 0)
			}
		}
	}
	return nil
}

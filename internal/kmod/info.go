package kmod

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"strings"
)

// Info is a module's description of itself (modinfo(8)).
type Info struct {
	Name     string
	Vermagic string   // begins with the release of the kernel it was built for
	Depends  []string // names of modules
	Firmware []string // files it may ask for, below /lib/firmware
	Signed   bool     // a signature is appended
	Init     string   // function that the kernel calls first, "" if the symbol table lacks it
	// CRCs says that the module carries checksums of the kernel's symbols that it uses.
	// Newer kernels have them in __version_ext_crcs too, but same_magic is asked for
	// __versions alone (check_modinfo in kernel/module/main.c).
	CRCs bool
}

// KernelMagic returns the vermagic of the kernel of release, taken from those modules
// that were built for it, or release if none was.
func KernelMagic(release string, modules []*Info) string {
	for _, m := range modules {
		if r, _, _ := strings.Cut(m.Vermagic, " "); r == release {
			return m.Vermagic
		}
	}
	return release
}

// Fits reports whether a kernel of that KernelMagic takes the module. One with CRCs
// may be of another release, as those that weak-modules(8) links to are, but not
// of another configuration (kernel/module/version.c, same_magic).
func (m *Info) Fits(magic string) bool {
	release, rest, _ := strings.Cut(m.Vermagic, " ")
	own, ownRest, known := strings.Cut(magic, " ")
	return release == own || m.CRCs && (rest == ownRest || !known)
}

// signatureMagic ends a signed module (MODULE_SIG_STRING in
// include/linux/module_signature.h).
const signatureMagic = "~Module signature appended~\n"

// ReadInfo returns the contents of the section .modinfo of an unpacked module.
func ReadInfo(data []byte) (*Info, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read module information: %w", err)
	}
	s := f.Section(".modinfo")
	if s == nil || s.Type != elf.SHT_PROGBITS {
		return nil, errors.New("read module information: no section .modinfo")
	}
	if s.Offset > uint64(len(data)) || s.FileSize > uint64(len(data))-s.Offset {
		return nil, errors.New("read module information: section .modinfo is cut off")
	}
	crcs := f.Section("__versions")
	info := &Info{
		Signed: bytes.HasSuffix(data, []byte(signatureMagic)),
		CRCs:   crcs != nil && crcs.Flags&elf.SHF_ALLOC != 0, // or the kernel does not see it
		Init:   initFunction(f),
	}
	for kv := range strings.SplitSeq(string(data[s.Offset:s.Offset+s.FileSize]), "\x00") {
		key, value, _ := strings.Cut(kv, "=")
		switch key {
		case "name":
			info.Name = value
		case "vermagic":
			info.Vermagic = value
		case "firmware":
			info.Firmware = append(info.Firmware, value)
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					info.Depends = append(info.Depends, normalise(d))
				}
			}
		}
	}
	return info, nil
}

// initFunction returns the name of the function that module_init declares. The module
// has it under the name init_module, too (include/linux/module.h).
func initFunction(f *elf.File) string {
	symbols, err := f.Symbols()
	if err != nil {
		return ""
	}
	for _, alias := range symbols {
		if alias.Name != "init_module" {
			continue
		}
		for _, s := range symbols {
			if s.Section == alias.Section && s.Value == alias.Value && s.Name != alias.Name && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
				return s.Name
			}
		}
	}
	return ""
}

// machines gives the ELF machine of each GOARCH.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64,
	"arm64": elf.EM_AARCH64,
}

// checkELF returns the reason why data is not a module for arch; an empty arch stands
// for any. It reads only the ELF header (elf(5)).
func checkELF(data []byte, arch string) error {
	if len(data) < 64 || string(data[:4]) != elf.ELFMAG {
		return errors.New("not an ELF file")
	}
	// Both architectures are 64-bit little endian.
	if data[elf.EI_CLASS] != byte(elf.ELFCLASS64) || data[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return errors.New("not a 64-bit little-endian ELF file")
	}
	if typ := elf.Type(uint16(data[16]) | uint16(data[17])<<8); typ != elf.ET_REL {
		return fmt.Errorf("not a kernel module but of ELF type %s", typ)
	}
	machine := elf.Machine(uint16(data[18]) | uint16(data[19])<<8)
	if want, ok := machines[arch]; arch != "" && (!ok || machine != want) {
		return fmt.Errorf("built for %s, not for %s", machine, arch)
	}
	return nil
}

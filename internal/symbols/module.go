package symbols

import (
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
)

const (
	maxModules       = 4096
	maxModuleSymbols = 1 << 18
	maxAllSymbols    = 1 << 21
	maxAllNames      = 128 << 20
	maxModuleSize    = 1 << 30
)

// A Module is a loaded module: struct module of include/linux/module.h.
type Module struct {
	Name       string
	State      string // live, coming, going or unformed; "" if unknown
	Version    string // MODULE_VERSION, mostly ""
	SrcVersion string
	Taints     uint64 // bits of TAINT_*, include/linux/panic.h
	Addr       uint64 // of its struct module
	Size       uint64 // of all its memory, in bytes
	Text       []Range
	Memory     []Range // all memory, also the text
	// Err is the reason why a part of this is missing, nil if nothing is.
	Err error

	symbols    *table
	symbolsErr error
}

// Modules returns the loaded modules, the last loaded first. With an error the list
// may lack modules.
func (k *Kernel) Modules() ([]*Module, error) {
	if k.modules == nil && k.modulesErr == nil {
		k.modules, k.modulesErr = k.readModules()
		if k.modulesErr != nil {
			k.modulesErr = fmt.Errorf("read modules: %w", k.modulesErr)
		}
	}
	return k.modules, k.modulesErr
}

func (k *Kernel) readModules() ([]*Module, error) {
	head, err := k.Lookup("modules")
	if err != nil {
		return nil, err
	}
	list, damage := k.List(head, "module", "list", maxModules)
	modules := make([]*Module, 0, len(list))
	for _, addr := range list {
		m, err := k.readModule(addr)
		if err != nil {
			return modules, err
		}
		modules = append(modules, m)
	}
	return modules, damage
}

func (k *Kernel) readModule(addr uint64) (*Module, error) {
	m := &Module{Addr: addr}
	var err error
	if m.Name, err = k.TextField(addr, "module", "name"); err != nil {
		return nil, err
	}
	keep := func(err error) {
		if err != nil && m.Err == nil {
			m.Err = fmt.Errorf("module %s: %w", m.Name, err)
		}
	}
	state, err := k.Value(addr, "module", "state")
	keep(err)
	if err == nil {
		m.State = strings.ToLower(strings.TrimPrefix(k.types.EnumName("enum module_state", int64(state)), "MODULE_STATE_"))
	}
	m.Taints, err = k.Value(addr, "module", "taints")
	keep(err)
	m.Version, err = k.optionalText(addr, "version")
	keep(err)
	m.SrcVersion, err = k.optionalText(addr, "srcversion")
	keep(err)
	keep(k.moduleMemory(m))
	return m, nil
}

// optionalText reads the string of a pointer that can be absent or zero.
func (k *Kernel) optionalText(addr uint64, member string) (string, error) {
	if !k.types.HasField("module", member) {
		return "", nil
	}
	p, err := k.Value(addr, "module", member)
	if err != nil || p == 0 {
		return "", err
	}
	return k.String(p, 256)
}

// moduleMemory reads the places of a module. Since 6.4 they are in mem[], the
// first of which is the text; before, in core_layout and init_layout.
func (k *Kernel) moduleMemory(m *Module) error {
	add := func(base, size, text uint64) error {
		if base == 0 || size == 0 {
			return nil
		}
		if size > maxModuleSize || text > size || base+size < base {
			return fmt.Errorf("%d bytes at %#x", size, base)
		}
		m.Memory = append(m.Memory, Range{base, base + size})
		m.Size += size
		if text > 0 {
			m.Text = append(m.Text, Range{base, base + text})
		}
		return nil
	}
	if f, err := k.types.Field("module", "mem"); err == nil {
		for i := range min(f.Len, 16) {
			base, err := k.Value(m.Addr, "module", fmt.Sprintf("mem[%d].base", i))
			if err != nil {
				return err
			}
			size, err := k.Value(m.Addr, "module", fmt.Sprintf("mem[%d].size", i))
			if err != nil {
				return err
			}
			text := uint64(0)
			if name := k.types.EnumName("enum mod_mem_type", int64(i)); name == "MOD_TEXT" || name == "MOD_INIT_TEXT" {
				text = size
			}
			if err := add(base, size, text); err != nil {
				return err
			}
		}
		return nil
	}
	for _, layout := range []string{"core_layout", "init_layout"} {
		var values [3]uint64
		for i, member := range []string{"base", "size", "text_size"} {
			var err error
			if values[i], err = k.Value(m.Addr, "module", layout+"."+member); err != nil {
				return err
			}
		}
		if err := add(values[0], values[1], values[2]); err != nil {
			return err
		}
	}
	return nil
}

// A moduleRange is a part of a module's memory.
type moduleRange struct {
	Range
	module *Module
}

// ModuleAt returns the module that has addr in its memory, nil if none has.
func (k *Kernel) ModuleAt(addr uint64) *Module {
	if k.ranges == nil {
		k.ranges = []moduleRange{}
		modules, _ := k.Modules()
		for _, m := range modules {
			for _, r := range m.Memory {
				k.ranges = append(k.ranges, moduleRange{r, m})
			}
		}
		sort.Slice(k.ranges, func(i, j int) bool { return k.ranges[i].Start < k.ranges[j].Start })
	}
	i := sort.Search(len(k.ranges), func(i int) bool { return k.ranges[i].Start > addr }) - 1
	if i < 0 || !k.ranges[i].Contains(addr) {
		return nil
	}
	return k.ranges[i].module
}

// moduleSymbol returns the symbol of an address in a module. As in the kernel's
// find_kallsyms_symbol, the last symbol of a section ends with the section.
func (k *Kernel) moduleSymbol(m *Module, addr uint64) (Symbol, bool) {
	t, _ := k.moduleTable(m)
	if t == nil {
		return Symbol{}, false
	}
	s, ok := t.nearest(addr)
	if !ok {
		return Symbol{}, false
	}
	for _, r := range m.Memory {
		if !r.Contains(addr) {
			continue
		}
		if s.Addr < r.Start {
			return Symbol{}, false
		}
		if s.Size == 0 || s.Addr+s.Size > r.End {
			s.Size = r.End - s.Addr
		}
	}
	s.Module = m.Name
	return s, true
}

// ModuleSymbols returns the number of symbols of a module. It fails if they are not
// in the dump.
func (k *Kernel) ModuleSymbols(m *Module) (int, error) {
	t, err := k.moduleTable(m)
	if err != nil {
		return 0, err
	}
	return len(t.syms), nil
}

// LookupModule returns the address of a symbol of a module.
func (k *Kernel) LookupModule(m *Module, name string) (uint64, error) {
	t, err := k.moduleTable(m)
	if err != nil {
		return 0, err
	}
	list := t.addresses(name)
	if len(list) == 0 {
		return 0, fmt.Errorf("symbol %s: module %s has no such symbol", name, m.Name)
	}
	return list[0], nil
}

func (k *Kernel) moduleTable(m *Module) (*table, error) {
	if m.symbols == nil && m.symbolsErr == nil {
		if m.symbols, m.symbolsErr = k.readModuleTable(m); m.symbolsErr != nil {
			m.symbolsErr = fmt.Errorf("read symbols of module %s: %w", m.Name, m.symbolsErr)
		}
	}
	return m.symbols, m.symbolsErr
}

// readModuleTable reads struct mod_kallsyms: an ELF symbol table, whose addresses
// the loader has relocated, and its strings.
func (k *Kernel) readModuleTable(m *Module) (*table, error) {
	where, err := k.Value(m.Addr, "module", "kallsyms")
	if err != nil {
		return nil, err
	}
	var symtab, strtab, count uint64
	for member, p := range map[string]*uint64{"symtab": &symtab, "strtab": &strtab, "num_symtab": &count} {
		if *p, err = k.Value(where, "mod_kallsyms", member); err != nil {
			return nil, err
		}
	}
	if count > maxModuleSymbols || k.moduleSymbols+count > maxAllSymbols {
		return nil, fmt.Errorf("%d symbols, expected at most %d, and %d of all modules", count, maxModuleSymbols, maxAllSymbols)
	}
	k.moduleSymbols += count
	raw := make([]byte, elfSymbol*count)
	if err := k.ReadVirt(raw, symtab); err != nil {
		return nil, err
	}
	names := Reader{mem: &cached{Memory: k.mem}}
	t := &table{syms: make([]entry, 0, count)}
	for i := 1; i < int(count); i++ {
		s := raw[elfSymbol*i:]
		if binary.LittleEndian.Uint16(s[6:]) == 0 { // SHN_UNDEF
			continue
		}
		name, err := names.String(strtab+uint64(binary.LittleEndian.Uint32(s)), maxName)
		if err != nil {
			return nil, err
		}
		if name == "" || isMapping(name) {
			continue
		}
		if k.moduleNames += len(name); k.moduleNames > maxAllNames {
			return nil, fmt.Errorf("the names of all modules exceed %d bytes", maxAllNames)
		}
		if err := t.add(binary.LittleEndian.Uint64(s[8:]), 0, []byte(name)); err != nil {
			return nil, err
		}
	}
	t.sort()
	return t, nil
}

// elfSymbol is the size of Elf64_Sym in bytes.
const elfSymbol = 24

// isMapping reports whether a symbol marks code or data for the linker: kernel
// include/linux/module_symbol.h, is_mapping_symbol.
func isMapping(name string) bool {
	return strings.HasPrefix(name, ".L") || strings.HasPrefix(name, "L0\x01") || name[0] == '$'
}

// cached keeps the last chunk that was read, for many short reads in a row.
type cached struct {
	Memory
	at   uint64
	data []byte
}

func (c *cached) ReadVirt(p []byte, addr uint64) error {
	at := addr &^ (chunk - 1)
	if addr+uint64(len(p)) > at+chunk {
		return c.Memory.ReadVirt(p, addr)
	}
	if c.data == nil || c.at != at {
		data := make([]byte, chunk)
		if err := c.Memory.ReadVirt(data, at); err != nil {
			return err
		}
		c.at, c.data = at, data
	}
	copy(p, c.data[addr-at:])
	return nil
}

// A jitSymbol is a program or a trampoline of BPF.
type jitSymbol struct {
	Range
	name string
}

// maxPrograms bounds the programs of BPF. systemd loads some dozens.
const maxPrograms = 1 << 16

// jitSymbol returns the program of BPF at addr: the list bpf_kallsyms of
// kernel/bpf/core.c.
func (k *Kernel) jitSymbol(addr uint64) (Symbol, bool) {
	if k.jit == nil {
		k.jit = k.readPrograms()
	}
	i := sort.Search(len(k.jit), func(i int) bool { return k.jit[i].Start > addr }) - 1
	if i < 0 || !k.jit[i].Contains(addr) {
		return Symbol{}, false
	}
	p := k.jit[i]
	return Symbol{Name: p.name, Addr: p.Start, Offset: addr - p.Start, Size: p.End - p.Start}, true
}

// readPrograms returns the programs that can be read; a kernel without BPF has none.
func (k *Kernel) readPrograms() []jitSymbol {
	out := []jitSymbol{}
	head, err := k.Lookup("bpf_kallsyms")
	if err != nil {
		return out
	}
	list, _ := k.List(head, "bpf_ksym", "lnode", maxPrograms)
	for _, addr := range list {
		start, err1 := k.Value(addr, "bpf_ksym", "start")
		end, err2 := k.Value(addr, "bpf_ksym", "end")
		name, err3 := k.TextField(addr, "bpf_ksym", "name")
		if err1 == nil && err2 == nil && err3 == nil && end > start && end-start <= maxModuleSize {
			out = append(out, jitSymbol{Range{start, end}, name})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Start < out[j].Start })
	return out
}

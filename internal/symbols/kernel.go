// Package symbols reads the symbols and types of a crashed kernel from its own
// memory: kallsyms, which VMCOREINFO locates since 6.0, BTF, and the list of
// modules. No file with debug symbols is needed.
//
// The dump is untrusted: counts, sizes and lists are bounded, and errors name the
// symbol, type or member that is missing. Values of this package are not for use by
// several goroutines at once.
package symbols

import (
	"fmt"
	"math"

	"ukdump/internal/vmcore"
)

// A Symbol is the nearest symbol at or below an address.
type Symbol struct {
	Name   string
	Kind   byte   // type as nm(1) prints it, 0 if unknown
	Addr   uint64 // where it begins
	Offset uint64 // of the address that was looked up, in bytes
	Size   uint64 // up to the next symbol or the end of the module's section, in bytes; 0 if unknown
	Module string // "" for the kernel's image and for programs of BPF
}

// String returns the symbol as the kernel prints it in a call trace:
// name+0x10/0x80 [module].
func (s Symbol) String() string {
	text := fmt.Sprintf("%s+%#x/%#x", s.Name, s.Offset, s.Size)
	if s.Module != "" {
		text += " [" + s.Module + "]"
	}
	return text
}

// A Kernel is the crashed kernel, described by its own memory.
type Kernel struct {
	Reader
	Info    vmcore.Info
	Machine string // GOARCH name: amd64 or arm64

	image      *table
	start, end uint64 // of the image, with its data
	text, init Range

	types    *Types
	typesErr error

	modules    []*Module
	modulesErr error
	ranges     []moduleRange // of all modules, by address
	// The memory that tables of modules took: a damaged list must not use it up.
	moduleSymbols uint64
	moduleNames   int

	jit []jitSymbol
}

// A Range is the addresses from Start up to but not including End.
type Range struct{ Start, End uint64 }

// Contains reports whether addr is in the range.
func (r Range) Contains(addr uint64) bool { return addr >= r.Start && addr < r.End }

// Open reads the symbols of a crashed kernel. It fails if VMCOREINFO does not
// locate them or if they contradict it. Types and modules are read when they are
// first asked for.
func Open(mem Memory, info vmcore.Info, machine string) (*Kernel, error) {
	image, err := readKallsyms(mem, info)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Reader: Reader{mem: mem}, Info: info, Machine: machine, image: image}
	first := func(names ...string) uint64 {
		for _, n := range names {
			if a := image.addresses(n); len(a) > 0 {
				return a[0]
			}
		}
		return 0
	}
	k.text = Range{first("_stext", "_text"), first("_etext")}
	if k.text.Start == 0 || k.text.End <= k.text.Start {
		return nil, fmt.Errorf("read symbols: the text from _stext %#x to _etext %#x is empty", k.text.Start, k.text.End)
	}
	k.init = Range{first("_sinittext"), first("_einittext")}
	k.start = min(k.text.Start, first("_text", "_stext"))
	// Without CONFIG_KALLSYMS_ALL only functions have symbols.
	if k.end = first("_end", "_einittext"); k.end < k.text.End {
		k.end = k.text.End
	}
	return k, nil
}

// Count returns the number of symbols of the kernel's image.
func (k *Kernel) Count() int { return len(k.image.syms) }

// Text returns the addresses of the functions of the kernel's image, without those
// that the kernel frees after boot.
func (k *Kernel) Text() Range { return k.text }

// InitText returns the addresses of the functions that the kernel freed after boot.
// They are still the outermost callers of CPU 0.
func (k *Kernel) InitText() Range { return k.init }

// Lookup returns the address of a symbol of the kernel's image. Static symbols can
// share a name; it returns the lowest address then.
func (k *Kernel) Lookup(name string) (uint64, error) {
	list := k.image.addresses(name)
	if len(list) == 0 {
		return 0, fmt.Errorf("symbol %s: the kernel has no such symbol", name)
	}
	return list[0], nil
}

// LookupAll returns all addresses of a symbol of the kernel's image.
func (k *Kernel) LookupAll(name string) []uint64 { return k.image.addresses(name) }

// Symbolize returns the symbol of an address in the kernel's image, in a module or
// in a program of BPF.
func (k *Kernel) Symbolize(addr uint64) (Symbol, bool) {
	if addr >= k.start && addr < k.end {
		s, ok := k.image.nearest(addr)
		if !ok || s.Addr < k.start {
			return Symbol{}, false
		}
		if s.Size == 0 || s.Addr+s.Size > k.end {
			s.Size = k.end - s.Addr
		}
		return s, true
	}
	if m := k.ModuleAt(addr); m != nil {
		return k.moduleSymbol(m, addr)
	}
	return k.jitSymbol(addr)
}

// IsText reports whether a CPU can execute at addr: in a function of the kernel's
// image, in the text of a module or in a program of BPF.
func (k *Kernel) IsText(addr uint64) bool {
	if k.text.Contains(addr) {
		return true
	}
	m := k.ModuleAt(addr)
	if m == nil {
		_, ok := k.jitSymbol(addr)
		return ok
	}
	for _, r := range m.Text {
		if r.Contains(addr) {
			return true
		}
	}
	return false
}

// Types returns the types of the kernel's image. It fails if the kernel has no BTF.
func (k *Kernel) Types() (*Types, error) {
	if k.types == nil && k.typesErr == nil {
		k.types, k.typesErr = k.readTypes()
	}
	return k.types, k.typesErr
}

func (k *Kernel) readTypes() (*Types, error) {
	raw, err := k.BTF()
	if err != nil {
		return nil, fmt.Errorf("read types: %w", err)
	}
	return ParseTypes(raw)
}

// maxCPUs bounds the number of a CPU: CONFIG_NR_CPUS is at most 8192.
const maxCPUs = 8192

// CPUs returns the number of CPUs that the kernel can have: nr_cpu_ids.
func (k *Kernel) CPUs() (int, error) {
	addr, err := k.Lookup("nr_cpu_ids")
	if err != nil {
		return 0, err
	}
	n, err := k.U32(addr)
	if err != nil {
		return 0, fmt.Errorf("read nr_cpu_ids: %w", err)
	}
	if n == 0 || n > maxCPUs {
		return 0, fmt.Errorf("read nr_cpu_ids: %d CPUs, expected 1 to %d", n, maxCPUs)
	}
	return int(n), nil
}

// PerCPU returns the address of a variable of one CPU, by the array
// __per_cpu_offset: include/asm-generic/percpu.h.
func (k *Kernel) PerCPU(name string, cpu int) (uint64, error) {
	symbol, err := k.Lookup(name)
	if err != nil {
		return 0, err
	}
	return k.PerCPUAddr(symbol, cpu)
}

// PerCPUAddr returns the address of a CPU's copy of the per-CPU variable at addr.
func (k *Kernel) PerCPUAddr(addr uint64, cpu int) (uint64, error) {
	n, err := k.CPUs()
	if err != nil {
		return 0, err
	}
	if cpu < 0 || cpu >= n {
		return 0, fmt.Errorf("CPU %d: the kernel has %d", cpu, n)
	}
	array, err := k.Lookup("__per_cpu_offset")
	if err != nil {
		return 0, err
	}
	off, err := k.U64(array + 8*uint64(cpu))
	if err != nil {
		return 0, fmt.Errorf("read __per_cpu_offset[%d]: %w", cpu, err)
	}
	return addr + off, nil
}

// Value returns the value of an integer, a pointer or a bit field, by its type's
// size. Of a signed type it is the two's complement.
func (k *Kernel) Value(addr uint64, typ, path string) (uint64, error) {
	f, err := k.field(typ, path)
	if err != nil {
		return 0, err
	}
	size := f.Size
	if f.Bits != 0 {
		size = uint64(f.Shift+f.Bits+7) / 8
	}
	if f.Len != 0 || size > 8 {
		return 0, fmt.Errorf("%s.%s: no integer", typ, path)
	}
	v, err := k.Uint(addr+f.Offset, int(size))
	if err != nil {
		return 0, fmt.Errorf("read %s.%s: %w", typ, path, err)
	}
	width := uint32(8 * size)
	if f.Bits != 0 {
		v, width = v>>f.Shift&(math.MaxUint64>>(64-f.Bits)), f.Bits
	}
	if f.Signed && width > 0 {
		v = uint64(int64(v<<(64-width)) >> (64 - width))
	}
	return v, nil
}

// TextField returns the string in a member that is an array of characters. Bytes behind
// the array are not read; an array without NUL byte is a string of its length.
func (k *Kernel) TextField(addr uint64, typ, path string) (string, error) {
	f, err := k.field(typ, path)
	if err != nil {
		return "", err
	}
	if f.Len == 0 || f.Size != uint64(f.Len) || f.Size > maxString {
		return "", fmt.Errorf("%s.%s: no array of characters", typ, path)
	}
	s, _, err := k.Reader.text(addr+f.Offset, int(f.Size))
	if err != nil {
		return "", fmt.Errorf("read %s.%s: %w", typ, path, err)
	}
	return s, nil
}

func (k *Kernel) field(typ, path string) (Field, error) {
	t, err := k.Types()
	if err != nil {
		return Field{}, err
	}
	return t.Field(typ, path)
}

// maxList bounds the entries of a list; pid_max is at most 4 million.
const maxList = 4 << 20

// List returns the structures in a list whose struct list_head is at head and that
// are linked by the given member, at most max of them. If the list is damaged or
// longer it returns an error and the structures before.
func (k *Kernel) List(head uint64, typ, member string, max int) ([]uint64, error) {
	off, err := k.offset(typ, member)
	if err != nil {
		return nil, err
	}
	return k.list(head, off, max)
}

func (k *Kernel) offset(typ, path string) (uint64, error) {
	t, err := k.Types()
	if err != nil {
		return 0, err
	}
	return t.Offset(typ, path)
}

// list walks a list by the first member of struct list_head, next.
func (k *Kernel) list(head, offset uint64, max int) ([]uint64, error) {
	var out []uint64
	seen := make(map[uint64]bool)
	for at := head; ; {
		next, err := k.U64(at)
		switch {
		case err != nil:
			return out, fmt.Errorf("read list at %#x, after %d entries: %w", head, len(out), err)
		case next == head:
			return out, nil
		case seen[next]:
			return out, fmt.Errorf("read list at %#x: a loop after %d entries", head, len(out))
		case len(out) >= min(max, maxList):
			return out, fmt.Errorf("read list at %#x: more than %d entries", head, len(out))
		}
		seen[next] = true
		out = append(out, next-offset)
		at = next
	}
}

package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ukdump/internal/symbols"
)

// ORC: for ranges of addresses, where the stack pointer and rbp of the caller are.
// arch/x86/include/asm/orc_types.h, Documentation/arch/x86/orc-unwinder.rst.

// maxORC bounds the entries of a table. Debian's kernels have 800,000.
const maxORC = 8 << 20

// orcReg is a register of ORC, independent of the release.
type orcReg uint8

const (
	orcUndefined orcReg = iota
	orcPrevSP
	orcDX
	orcDI
	orcBP
	orcSP
	orcR10
	orcR13
	orcBPIndirect
	orcSPIndirect
	orcUnknown
)

// orcRegisters are the registers by their numbers. The first key is the number of rsp.
// Up to 6.x it is 5; kernels of 7.x count differently.
var orcRegisters = map[uint8]map[uint8]orcReg{
	5: {0: orcUndefined, 1: orcPrevSP, 2: orcDX, 3: orcDI, 4: orcBP, 5: orcSP, 6: orcR10, 7: orcR13, 8: orcBPIndirect, 9: orcSPIndirect},
	3: {0: orcUndefined, 2: orcDX, 3: orcSP, 4: orcBP, 6: orcR10, 7: orcR13, 8: orcPrevSP, 9: orcSPIndirect, 10: orcBPIndirect},
}

// orcKind is the type of an entry as numbered since 6.4.
type orcKind uint8

const (
	orcNone    orcKind = iota // the code cannot be unwound
	orcEnd                    // the outermost code
	orcCall                   // the caller pushed a return address
	orcRegs                   // struct pt_regs is on the stack
	orcPartial                // the CPU's frame of iret is on the stack
)

type orcEntry struct {
	spOffset, bpOffset int16
	spReg, bpReg       orcReg
	kind               orcKind
	signal             bool // the caller's address is no return address
}

// orcFormat is the place of the bits behind the registers in the last 16 bits of
// an entry. A width of 0 means that the format lacks the bit.
type orcFormat struct {
	typeShift, typeBits uint32
	signalShift         uint32
	hasSignal           bool
	endShift            uint32
	hasEnd              bool
	registers           map[uint8]orcReg
}

// formatOf returns the format of a kernel's ORC: by BTF, which has all layouts, or
// by the release. 6.3 added the bit signal, and 6.4 replaced the bit end by types.
func formatOf(k *symbols.Kernel) (*orcFormat, error) {
	types, err := k.Types()
	if err != nil {
		return nil, err
	}
	if !types.Has("struct orc_entry") {
		return nil, errors.New("BTF has no struct orc_entry, so the format of ORC is unknown")
	}
	if size, err := types.Size("struct orc_entry"); err != nil || size != orcSize {
		return nil, fmt.Errorf("an ORC entry has %d bytes, expected %d", size, orcSize)
	}
	place := func(name string) (uint32, uint32, bool) {
		f, err := types.Field("struct orc_entry", name)
		if err != nil || f.Offset < 4 {
			return 0, 0, false
		}
		return uint32(f.Offset-4)*8 + f.Shift, f.Bits, true
	}
	f := &orcFormat{}
	var ok bool
	if f.typeShift, f.typeBits, ok = place("type"); !ok || f.typeBits != 2 && f.typeBits != 3 {
		return nil, fmt.Errorf("the type of an ORC entry has %d bits, expected 2 or 3", f.typeBits)
	}
	f.signalShift, _, f.hasSignal = place("signal")
	f.endShift, _, f.hasEnd = place("end")
	return f, nil
}

// orcSize is the size of struct orc_entry in bytes.
const orcSize = 6

func (f *orcFormat) parse(raw []byte) orcEntry {
	flags := uint32(binary.LittleEndian.Uint16(raw[4:]))
	e := orcEntry{
		spOffset: int16(binary.LittleEndian.Uint16(raw)), bpOffset: int16(binary.LittleEndian.Uint16(raw[2:])),
		spReg: f.register(uint8(flags & 0xf)), bpReg: f.register(uint8(flags >> 4 & 0xf)),
		kind: orcKind(flags >> f.typeShift & (1<<f.typeBits - 1)),
	}
	if f.typeBits == 2 {
		// Until 6.3: call, regs and partial regs are 0, 1 and 2.
		e.kind += orcCall
		if e.spReg == orcUndefined {
			e.kind = orcNone
			if f.hasEnd && flags>>f.endShift&1 != 0 {
				e.kind = orcEnd
			}
		}
	}
	e.signal = e.kind == orcRegs || e.kind == orcPartial
	if f.hasSignal {
		e.signal = flags>>f.signalShift&1 != 0
	}
	return e
}

func (f *orcFormat) register(number uint8) orcReg {
	if r, ok := f.registers[number]; ok {
		return r
	}
	return orcUnknown
}

// findRegisters determines the numbers of registers by the entry for the start of
// functions: there the caller's stack pointer is rsp plus 8.
func (u *Unwinder) findRegisters() error {
	seen := make(map[uint8]int)
	for _, name := range []string{"panic", "vfs_read", "vfs_write", "do_exit", "schedule", "ksys_read"} {
		addr, err := u.k.Lookup(name)
		if err != nil {
			continue
		}
		raw, err := u.search(u.image, addr)
		if err != nil {
			return err
		}
		if flags := binary.LittleEndian.Uint16(raw[4:]); binary.LittleEndian.Uint16(raw[:]) == 8 && flags>>4&0xf == 0 {
			seen[uint8(flags&0xf)]++
		}
	}
	for number, count := range seen {
		if registers, ok := orcRegisters[number]; ok && count >= 3 && len(seen) == 1 {
			u.orc.registers = registers
			return nil
		}
	}
	return fmt.Errorf("the numbers of registers in ORC are unknown (%v)", seen)
}

// An orcTable is the two arrays of ORC: addresses, relative to their own place and
// ordered, and entries.
type orcTable struct {
	ips, entries uint64
	count        uint64
}

// openORC locates the table of the kernel's image.
func (u *Unwinder) openORC() error {
	var at [4]uint64
	for i, name := range []string{"__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind"} {
		var err error
		if at[i], err = u.k.Lookup(name); err != nil {
			return err
		}
	}
	t := orcTable{ips: at[0], entries: at[2], count: (at[1] - at[0]) / 4}
	if at[1] <= at[0] || at[3] <= at[2] || t.count > maxORC || (at[3]-at[2])/orcSize != t.count {
		return fmt.Errorf("ORC has addresses from %#x to %#x and entries from %#x to %#x, which do not agree", at[0], at[1], at[2], at[3])
	}
	var err error
	u.image = t
	if u.orc, err = formatOf(u.k); err != nil {
		return err
	}
	return u.findRegisters()
}

// moduleORC returns the table of a module: mod->arch of arch/x86/include/asm/module.h.
func (u *Unwinder) moduleORC(m *symbols.Module) (orcTable, error) {
	if t, ok := u.modules[m.Addr]; ok {
		return t, nil
	}
	var t orcTable
	for member, p := range map[string]*uint64{"num_orcs": &t.count, "orc_unwind_ip": &t.ips, "orc_unwind": &t.entries} {
		var err error
		if *p, err = u.k.Value(m.Addr, "module", "arch."+member); err != nil {
			return t, err
		}
	}
	if t.count > maxORC {
		return t, fmt.Errorf("module %s has %d ORC entries", m.Name, t.count)
	}
	u.modules[m.Addr] = t
	return t, nil
}

// errNoORC means that the code at an address has no ORC, as programs of BPF.
var errNoORC = errors.New("no ORC")

// lookup returns the entry for the instruction at pc.
func (u *Unwinder) lookup(pc uint64) (orcEntry, error) {
	t := u.image
	if !u.k.Text().Contains(pc) && !u.k.InitText().Contains(pc) {
		m := u.k.ModuleAt(pc)
		if m == nil {
			return orcEntry{}, errNoORC
		}
		var err error
		if t, err = u.moduleORC(m); err != nil {
			return orcEntry{}, err
		}
	}
	raw, err := u.search(t, pc)
	if err != nil {
		return orcEntry{}, err
	}
	return u.orc.parse(raw[:]), nil
}

// search reads the last entry whose address is not above pc.
func (u *Unwinder) search(t orcTable, pc uint64) (raw [orcSize]byte, err error) {
	i, err := u.position(t, pc)
	if err != nil {
		return raw, err
	}
	if err := u.k.ReadVirt(raw[:], t.entries+orcSize*i); err != nil {
		return raw, fmt.Errorf("read ORC: %w", err)
	}
	return raw, nil
}

// position returns the number of that entry.
func (u *Unwinder) position(t orcTable, pc uint64) (uint64, error) {
	low, high := uint64(0), t.count
	for low < high {
		mid := low + (high-low)/2
		at := t.ips + 4*mid
		off, err := u.k.U32(at)
		if err != nil {
			return 0, fmt.Errorf("read ORC: %w", err)
		}
		if at+uint64(int64(int32(off))) <= pc {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return 0, errNoORC
	}
	return low - 1, nil
}

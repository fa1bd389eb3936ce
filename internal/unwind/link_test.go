package unwind

import (
	"strings"
	"testing"
)

// TestLink interrupts functions of arm64 at each instruction.
func TestLink(t *testing.T) {
	const next = 1 << 5 // branches: one instruction
	for name, test := range map[string]struct {
		code []uint32
		want string // of each instruction: x for x30, r for the record, ? for neither or both
	}{
		"with a record":         {[]uint32{a64Push, a64MovX29SP, a64BL, a64Pop, a64Ret}, "xxrrx"},
		"without a record":      {[]uint32{a64Nop, a64CBZ | 2*next, a64Nop, a64Ret}, "xxxx"},
		"record in one branch":  {[]uint32{a64CBZ | 5*next, a64Push, a64MovX29SP, a64BL, a64Pop, a64Ret}, "xxxrrx"},
		"loop":                  {[]uint32{a64Push, a64MovX29SP, a64Nop, a64CBZ | (1<<19-1)*next, a64Pop, a64Ret}, "xxrrrx"},
		"tail call":             {[]uint32{a64Push, a64MovX29SP, a64Pop, 0x14000000 | 0x1000, a64Nop}, "xxrx?"},
		"two ways that differ":  {[]uint32{a64CBZ | 3*next, a64Push, a64MovX29SP, a64Nop}, "xxx?"},
		"call without a record": {[]uint32{a64Nop, a64BL, a64Nop}, "xx?"},
		"call of ftrace":        {[]uint32{a64MovX9X30, a64BL, a64Push, a64MovX29SP, a64Nop}, "xxxxr"},
		"behind a jump table":   {[]uint32{a64Push, a64MovX29SP, a64BR, a64Nop}, "xxr?"},
		"x30 from elsewhere":    {[]uint32{0xaa0903fe, a64Nop}, "x?"}, // mov x30, x9
		"a record with room":    {[]uint32{0xd10103ff, 0xa9037bfd, 0x9100c3fd, a64Nop, 0xa9437bfd, 0x910103ff, a64Ret}, "xxxrrxx"},
	} {
		m, u := format{release: "6.12.0", typeBits: 3, machine: "arm64"}.build(t)
		m.code(leaf, test.code...)
		var got strings.Builder
		for i := range test.code {
			switch u.linkAt(leaf + 4*uint64(i)) {
			case inRegister:
				got.WriteByte('x')
			case inRecord:
				got.WriteByte('r')
			default:
				got.WriteByte('?')
			}
		}
		if got.String() != test.want {
			t.Errorf("%s: got %s, want %s", name, got.String(), test.want)
		}
	}
	_, u := format{release: "6.12.0", typeBits: 3, machine: "arm64"}.build(t)
	for _, pc := range []uint64{0x1000, leaf + 2} {
		if got := u.linkAt(pc); got != lost {
			t.Errorf("%#x: got %v", pc, got)
		}
	}
}

// TestLeaf unwinds from functions that have no record where they were interrupted.
func TestLeaf(t *testing.T) {
	const pac = 0x002b000000000000
	for name, test := range map[string]struct {
		meta  bool
		regs  Regs
		build func(m memory)
		want  string
		end   string
	}{
		"CPU": {false, Regs{PC: leaf, SP: sp, FP: sp + 0x40, lr: middle + 0x10}, func(m memory) {
			m.set(sp+0x40, taskTop-336+304)
			m.set(sp+0x48, start+0x10)
		}, "leaf! middle start_thread", "end of the stack"},
		"authenticated": {true, Regs{PC: leaf + 4, SP: sp, FP: sp + 0x40, lr: (middle + 0x10) ^ pac}, func(m memory) {
			m.set(sp+0x40, taskTop-336+304)
			m.set(sp+0x48, start+0x10)
			m.set(taskTop-336+304+16, metaFinal)
		}, "leaf! middle start_thread", "end of the stack"},
		"interrupt before 6.13": {false, Regs{PC: middle + 8, SP: sp, FP: sp + 0x40}, func(m memory) {
			m.set(sp+0x40, sp+0x100+304)
			m.set(sp+0x48, text+0x1510)
			m.set(sp+0x100+304, sp+0x400)
			m.set(sp+0x100+304+8, leaf)
			m.set(sp+0x100+8*30, onIRQ+0x10)
			m.set(sp+0x100+8*32, leaf)
			m.set(sp+0x400, taskTop-336+304)
			m.set(sp+0x408, start+0x10)
		}, "middle! el1h_64_irq leaf! on_irq start_thread", "end of the stack"},
		"interrupt since 6.13": {true, Regs{PC: middle + 8, SP: sp, FP: sp + 0x40}, func(m memory) {
			m.set(sp+0x40, sp+0x100+304)
			m.set(sp+0x48, text+0x1510)
			m.set(sp+0x100+304+16, metaRegs)
			for i, v := range []uint64{sp + 0x400, onIRQ + 0x10, sp + 0x300, leaf, 5} {
				m.set(sp+0x100+8*uint64(29+i), v)
			}
			m.set(sp+0x400, taskTop-336+304)
			m.set(sp+0x408, start+0x10)
			m.set(taskTop-336+304+16, metaFinal)
		}, "middle! el1h_64_irq leaf! on_irq start_thread", "end of the stack"},
		"x30 without code": {false, Regs{PC: leaf, SP: sp, FP: sp + 0x40, lr: 0x4141414141414141}, func(m memory) {
			m.set(sp+0x48, start+0x10)
		}, "leaf! ?start_thread", "in x30 is no code"},
		"code that does not tell": {false, Regs{PC: leaf + 0x10, SP: sp, FP: sp + 0x40, lr: middle + 0x10}, func(m memory) {
			m.code(leaf, a64Push, a64MovX29SP, a64BR)
			m.set(sp+0x40, taskTop-336+304)
			m.set(sp+0x48, start+0x10)
		}, "leaf! ?start_thread", "does not tell"},
		"code that does not tell, record behind a call": {false, Regs{PC: leaf + 0x10, SP: sp, FP: sp + 0x40, lr: onIRQ + 0x10}, func(m memory) {
			m.code(leaf, a64Push, a64MovX29SP, a64BR)
			m.code(middle+0xc, a64BL|(leaf-middle-0xc)/4&(1<<26-1))
			m.set(sp+0x40, taskTop-336+304)
			m.set(sp+0x48, middle+0x10)
		}, "leaf! middle", "end of the stack"},
		"code that does not tell, x30 behind a call": {false, Regs{PC: leaf + 0x10, SP: sp, FP: sp + 0x40, lr: middle + 0x10}, func(m memory) {
			m.code(leaf, a64Push, a64MovX29SP, a64BR)
			m.code(middle+0xc, a64BL|(leaf-middle-0xc)/4&(1<<26-1))
			m.set(sp+0x40, taskTop-336+304)
			m.set(sp+0x48, start+0x10)
		}, "leaf! middle start_thread", "end of the stack"},
		"call of a null pointer": {false, Regs{SP: sp, FP: sp + 0x40, lr: middle + 0x10}, func(m memory) {
			m.set(sp+0x40, taskTop-336+304)
			m.set(sp+0x48, start+0x10)
		}, "unknown! middle start_thread", "end of the stack"},
		"call of a bad pointer": {false, Regs{PC: 0x1234, SP: sp, FP: sp + 0x40, lr: middle + 0x10}, func(m memory) {
			m.set(sp+0x40, taskTop-336+304)
			m.set(sp+0x48, start+0x10)
		}, "unknown! ?middle ?start_thread", "jumped to 0x1234"},
	} {
		m, u := format{release: "6.12.0", typeBits: 3, machine: "arm64", metaRecords: test.meta}.build(t)
		test.build(m)
		got := u.Running(task, 0, test.regs)
		if trace(got) != test.want || !strings.Contains(got.End, test.end) || got.Complete != (test.end == "end of the stack") {
			t.Errorf("%s: got %q, complete %v, end %q\nwant %q, end %q", name, trace(got), got.Complete, got.End, test.want, test.end)
		}
	}
}

func FuzzLinks(f *testing.F) {
	f.Add([]byte("\xfd\x7b\xbe\xa9\xfd\x03\x00\x91\xfd\x7b\xc2\xa8\xc0\x03\x5f\xd6"))
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) < 4 {
			return
		}
		at := followLinks(code)
		if len(at) != len(code)/4 || at[0]&inRegister == 0 {
			t.Errorf("got %v", at)
		}
	})
}

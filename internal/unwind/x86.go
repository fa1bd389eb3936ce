package unwind

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// struct pt_regs of arch/x86/include/asm/ptrace.h, as numbers of words;
// user_regs_struct begins the same.
const (
	x86R13  = 2
	x86BP   = 4
	x86R10  = 7
	x86DX   = 12
	x86DI   = 14
	x86IP   = 16
	x86CS   = 17
	x86SP   = 19
	x86Regs = 21
)

// x86Registers returns the registers of struct pt_regs.
func x86Registers(v []uint64) Regs {
	return Regs{PC: v[x86IP], SP: v[x86SP], FP: v[x86BP], User: v[x86CS]&3 != 0,
		r10: v[x86R10], r13: v[x86R13], dx: v[x86DX], di: v[x86DI]}
}

// x86Inactive returns the state of a task that sleeps, by thread.sp.
func (u *Unwinder) x86Inactive(task uint64) (state, error) {
	sp, err := u.k.Value(task, "task_struct", "thread.sp")
	if err != nil {
		return state{}, err
	}
	return u.inactiveAt(sp)
}

// inactiveFrame returns the offsets of rbp and of the return address, in bytes, in
// struct inactive_task_frame of arch/x86/include/asm/switch_to.h. The return address is
// its last member.
func (u *Unwinder) inactiveFrame() (bp, ret uint64, err error) {
	types, _ := u.k.Types()
	if !types.Has("struct inactive_task_frame") {
		return 40, 48, nil // r15, r14, r13, r12, bx, bp and the return address
	}
	if bp, err = types.Offset("struct inactive_task_frame", "bp"); err != nil {
		return 0, 0, err
	}
	ret, err = types.Offset("struct inactive_task_frame", "ret_addr")
	return bp, ret, err
}

// inactiveAt returns the state that struct inactive_task_frame at sp describes.
func (u *Unwinder) inactiveAt(sp uint64) (state, error) {
	bp, ret, err := u.inactiveFrame()
	if err != nil {
		return state{}, err
	}
	var s state
	if s.FP, err = u.k.U64(sp + bp); err != nil {
		return s, fmt.Errorf("read the stack: %w", err)
	}
	if s.PC, err = u.k.U64(sp + ret); err != nil {
		return s, fmt.Errorf("read the stack: %w", err)
	}
	s.SP = sp + ret + 8
	s.exact = u.isStart(s.PC)
	return s, nil
}

// nextORC unwinds one frame as unwind_next_frame of arch/x86/kernel/unwind_orc.c
// describes it.
func (w *walk) nextORC() error {
	if w.User {
		return errUser
	}
	pc := w.PC
	if !w.exact {
		pc--
	}
	entry, err := w.u.lookup(pc)
	switch {
	case w.isLabel():
		return w.nextByCall()
	case err == errNoORC && w.exact && !w.u.k.IsText(w.PC):
		// A call of a bad pointer: its return address is on the stack.
		entry = orcEntry{spReg: orcSP, spOffset: 8, kind: orcCall}
		if w.PC != 0 {
			w.doubt(fmt.Sprintf("the CPU jumped to %#x, which is no code", w.PC))
		}
	case err == errNoORC:
		// Generated code such as BPF has a frame pointer; this is not certain.
		entry = orcEntry{spReg: orcBP, spOffset: 16, bpReg: orcPrevSP, bpOffset: -16, kind: orcCall}
		w.doubt(fmt.Sprintf("the code at %#x has no ORC", w.PC))
	case err != nil:
		return err
	case entry.kind == orcEnd:
		return errEnd
	case entry.kind == orcNone:
		return fmt.Errorf("ORC says that %s cannot be unwound", w.symbol(w.PC, w.exact).Name)
	}
	return w.apply(entry)
}

// isLabel reports whether the address is that of crash_setup_regs on the CPU that
// panicked: arch/x86/include/asm/kexec.h takes the address of a label, which the
// compiler may move anywhere in the function, while the stack pointer is right.
func (w *walk) isLabel() bool {
	if len(w.frames) != 1 || !w.exact || w.unsure {
		return false
	}
	name := w.frames[0].Symbol.Name
	return name == "__crash_kexec" || strings.HasPrefix(name, "__crash_kexec.")
}

// maxFrame bounds the frame of __crash_kexec, in bytes: it has struct pt_regs.
const maxFrame = 1024

// nextByCall finds the caller of a function without ORC, as __crash_kexec is marked
// STACK_FRAME_NON_STANDARD: the nearest return address behind a direct call of it.
func (w *walk) nextByCall() error {
	function := w.frames[0].Symbol
	for at := (w.SP + 7) &^ 7; at < w.SP+maxFrame; at += 8 {
		ret, err := w.read(at)
		if err != nil {
			return err
		}
		if !w.u.k.IsText(ret) || !w.calls(ret, function.Addr) {
			continue
		}
		if w.changesBP(function.Addr) {
			w.FP = 0
		}
		w.PC, w.SP, w.exact, w.full = ret, at+8, false, false
		return nil
	}
	return fmt.Errorf("the stack has no return address behind a call of %s", function.Name)
}

// changesBP reports whether a function may push rbp (55) before it makes room on the
// stack by sub ...,%rsp (48 81 ec or 48 83 ec).
func (w *walk) changesBP(function uint64) bool {
	var code [64]byte
	if w.u.k.ReadVirt(code[:], function) != nil {
		return true
	}
	end := max(bytes.Index(code[:], []byte{0x48, 0x81, 0xec}), bytes.Index(code[:], []byte{0x48, 0x83, 0xec}))
	return end < 0 || bytes.IndexByte(code[:end], 0x55) >= 0
}

// calls reports whether the instruction before a return address is a direct call
// of a function: e8 and the distance.
func (w *walk) calls(ret, function uint64) bool {
	var code [5]byte
	if err := w.u.k.ReadVirt(code[:], ret-5); err != nil || code[0] != 0xe8 {
		return false
	}
	return ret+uint64(int64(int32(binary.LittleEndian.Uint32(code[1:])))) == function
}

// apply finds the caller by an entry of ORC.
func (w *walk) apply(e orcEntry) error {
	sp, err := w.callerSP(e)
	if err != nil {
		return err
	}
	before, stack, bp := w.SP, w.on, w.FP
	switch e.kind {
	case orcCall:
		if w.PC, err = w.read(sp - 8); err != nil {
			return err
		}
		w.SP, w.full = sp, false
	case orcRegs:
		regs, err := w.readRegs(sp)
		if err != nil {
			return err
		}
		w.Regs, w.full = regs, true
	case orcPartial:
		// ip, cs, flags, sp and ss; other registers keep their values.
		if err := w.enter(sp, 40); err != nil {
			return err
		}
		var v [4]uint64
		for i := range v {
			if v[i], err = w.u.k.U64(sp + 8*uint64(i)); err != nil {
				return fmt.Errorf("the stack at %#x is not in the dump", sp)
			}
		}
		w.PC, w.User, w.SP = v[0], v[1]&3 != 0, v[3]
	default:
		return fmt.Errorf("the ORC type %d is unknown", e.kind)
	}
	w.exact = e.signal
	if w.User {
		return errUser
	}
	switch e.bpReg {
	case orcUndefined: // rbp is unchanged, or from struct pt_regs
	case orcPrevSP:
		w.FP, err = w.read(sp + uint64(int64(e.bpOffset)))
	case orcBP:
		w.FP, err = w.read(bp + uint64(int64(e.bpOffset)))
	default:
		err = errors.New("ORC names an unknown register for rbp")
	}
	if err != nil {
		return err
	}
	return w.advanced(before, stack)
}

// advanced verifies that the state is plausible after a step: the code exists, and
// the stack pointer grew unless the stack changed.
func (w *walk) advanced(before uint64, stack int) error {
	if !w.exact && !w.isCode(w.PC) {
		return fmt.Errorf("the return address %#x is no code", w.PC)
	}
	if i := w.find(w.SP); i == stack && w.SP <= before {
		return fmt.Errorf("the stack pointer %#x does not grow from %#x", w.SP, before)
	} else if i >= 0 && i != w.on {
		return w.enter(w.SP&^7, 8)
	}
	return nil
}

// callerSP returns the stack pointer of the caller, or the place of its registers.
func (w *walk) callerSP(e orcEntry) (uint64, error) {
	off := uint64(int64(e.spOffset))
	switch e.spReg {
	case orcSP:
		return w.SP + off, nil
	case orcBP:
		return w.FP + off, nil
	case orcSPIndirect:
		sp, err := w.read(w.SP)
		return sp + off, err
	case orcBPIndirect:
		return w.read(w.FP + off)
	}
	register, ok := map[orcReg]uint64{orcR10: w.r10, orcR13: w.r13, orcDI: w.di, orcDX: w.dx}[e.spReg]
	switch {
	case !ok:
		return 0, errors.New("ORC names an unknown register for rsp")
	case !w.full:
		return 0, fmt.Errorf("the stack depends on a register of %s that is not known", w.symbol(w.PC, w.exact).Name)
	}
	return register, nil
}

// readRegs reads struct pt_regs from a stack.
func (w *walk) readRegs(at uint64) (Regs, error) {
	if err := w.enter(at, 8*x86Regs); err != nil {
		return Regs{}, err
	}
	var raw [8 * x86Regs]byte
	if err := w.u.k.ReadVirt(raw[:], at); err != nil {
		return Regs{}, fmt.Errorf("the stack at %#x is not in the dump", at)
	}
	var v [x86Regs]uint64
	for i := range v {
		v[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return x86Registers(v[:]), nil
}

// hasFramePointers reports whether the kernel was built with CONFIG_FRAME_POINTER:
// functions then begin with push %rbp; mov %rsp,%rbp, behind endbr64 and the call
// of ftrace.
func (u *Unwinder) hasFramePointers() bool {
	with, all := 0, 0
	for _, name := range []string{"panic", "vfs_read", "vfs_write", "do_exit", "schedule_timeout", "ksys_write", "path_openat"} {
		addr, err := u.k.Lookup(name)
		if err != nil {
			continue
		}
		var code [24]byte
		if u.k.ReadVirt(code[:], addr) != nil {
			continue
		}
		all++
		if bytes.Contains(code[:], []byte{0x55, 0x48, 0x89, 0xe5}) {
			with++
		}
	}
	return all >= 2 && with == all
}

// nextFramePointer unwinds one frame by rbp. Entry code sets rbp to the address of
// struct pt_regs plus 1: arch/x86/include/asm/frame.h, ENCODE_FRAME_POINTER.
func (w *walk) nextFramePointer() error {
	if w.User {
		return errUser
	}
	before, stack := w.SP, w.on
	if w.FP&1 != 0 {
		regs, err := w.readRegs(w.FP &^ 1)
		if err != nil {
			return err
		}
		if regs.User {
			return errUser
		}
		w.Regs, w.full, w.exact = regs, true, true
		return w.advanced(before, stack)
	}
	if w.FP == 0 && w.SP+8*x86Regs+64 >= w.stacks[w.on].end {
		return errEnd
	}
	if i := w.find(w.FP); i == stack && w.FP+16 <= before {
		return fmt.Errorf("the frame pointer %#x is below the stack pointer %#x", w.FP, before)
	}
	fp := w.FP
	pc, err := w.read(fp + 8)
	if err != nil {
		return err
	}
	if w.FP, err = w.read(fp); err != nil {
		return err
	}
	w.PC, w.SP, w.exact, w.full = pc, fp+16, false, false
	return w.advanced(before, stack)
}

package unwind

import (
	"fmt"
	"math"

	"ukdump/internal/vmcore"
)

// pacMask returns the bits above a kernel address of arm64, which hold a pointer
// authentication code: ptrauth_kernel_pac_mask of arch/arm64/include/asm/pointer_auth.h.
func pacMask(info vmcore.Info) uint64 {
	if mask, ok := info.Number("KERNELPACMASK"); ok && mask != 0 {
		return mask
	}
	bits := uint64(48)
	if size, ok := info.Number("TCR_EL1_T1SZ"); ok && size >= 12 && size <= 25 {
		bits = 64 - size
	} else if v, ok := info.Number("VA_BITS"); ok && v >= 36 && v <= 52 {
		bits = v
	}
	return math.MaxUint64 << bits
}

// strip removes a pointer authentication code. Bit 55 tells kernel addresses.
func (u *Unwinder) strip(addr uint64) uint64 {
	if u.k.Machine == "arm64" && addr>>55&1 != 0 {
		return addr | u.pac
	}
	return addr
}

// Types of struct frame_record_meta, arch/arm64/include/asm/stacktrace/frame.h.
const (
	metaFinal = 1
	metaRegs  = 2
)

// nextArm64 unwinds one frame by x29, which points to a record: the x29 of the
// caller and a return address. arch/arm64/kernel/stacktrace.c.
func (w *walk) nextArm64() error {
	if w.User {
		return errUser
	}
	if w.exact && w.full {
		if done, err := w.nextByLink(); done || err != nil {
			return err
		}
	}
	before, stack := w.SP, w.on
	if i := w.find(w.FP); i == stack && w.FP < before {
		return fmt.Errorf("the frame pointer %#x is below the stack pointer %#x", w.FP, before)
	}
	record := w.FP
	fp, err := w.read(record)
	if err != nil {
		return err
	}
	pc, err := w.read(record + 8)
	if err != nil {
		return err
	}
	types, _ := w.u.k.Types()
	off, err := types.Offset("struct pt_regs", "stackframe")
	known := err == nil
	if fp == 0 && pc == 0 {
		return w.metaRecord(record, off, known)
	}
	regs := record - off
	if known && w.isFinal(record, off) {
		return errEnd
	}
	w.FP, w.PC, w.SP, w.exact, w.full = fp, w.u.strip(pc), record+16, false, false
	// Before 6.13 the record in struct pt_regs has the interrupted address.
	if at, err := w.u.k.U64(regs + 8*32); known && err == nil && at == pc && w.entryCode() {
		w.exact = true
		w.lr, err = w.u.k.U64(regs + 8*30)
		w.full = err == nil
	}
	return w.advanced(before, stack)
}

// entryCode reports whether the last frame is in the entry code of an exception
// that was taken in the kernel.
func (w *walk) entryCode() bool {
	name := w.frames[len(w.frames)-1].Symbol.Name
	return len(name) > 3 && name[:3] == "el1"
}

// isFinal reports whether the record is the one in struct pt_regs at the top of the
// task's stack, which ends the stack before 6.13.
func (w *walk) isFinal(record, off uint64) bool {
	types, _ := w.u.k.Types()
	size, err := types.Size("struct pt_regs")
	return err == nil && w.stacks[w.on].kind == taskStack && record == w.stacks[w.on].end-size+off
}

// metaRecord handles a record of zeros. Since 6.13 a type follows it; before, it
// is the last one.
func (w *walk) metaRecord(record, off uint64, known bool) error {
	types, _ := w.u.k.Types()
	if !types.Has("struct frame_record_meta") {
		if known && w.isFinal(record, off) {
			return errEnd
		}
		return fmt.Errorf("the frame record at %#x is empty", record)
	}
	kind, err := w.read(record + 16)
	switch {
	case err != nil:
		return err
	case kind == metaFinal:
		return errEnd
	case kind != metaRegs || !known:
		return fmt.Errorf("the frame record at %#x has the unknown type %d", record, kind)
	}
	regs := record - off
	if err := w.enter(regs, off+24); err != nil {
		return err
	}
	before, stack := w.SP, w.on
	var v [5]uint64 // x29, sp, pc, pstate, x30 of struct user_pt_regs
	for i, word := range []uint64{29, 31, 32, 33, 30} {
		if v[i], err = w.u.k.U64(regs + 8*word); err != nil {
			return fmt.Errorf("the stack at %#x is not in the dump", regs)
		}
	}
	if v[3]&0xf == 0 {
		return errUser
	}
	w.FP, w.SP, w.PC, w.lr, w.exact, w.full = v[0], v[1], v[2], v[4], true, true
	return w.advanced(before, stack)
}

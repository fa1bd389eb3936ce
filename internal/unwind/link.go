package unwind

import (
	"encoding/binary"
	"fmt"
)

// A function of arm64 that an exception stopped may not have a frame record of its own
// yet, or no more, or never: gcc omits the records of functions that call no other. x29
// is that of the caller then, and the return address is only in x30, the link register.
// The code of the function tells which of the two is true.

// maxFunction bounds the code that is read, in bytes.
const maxFunction = 256 << 10

// links are the places where a return address can be, a set.
type links uint8

const (
	inRegister links = 1 << iota // x30, and x29 is that of the caller
	inRecord                     // the record at x29
	lost                         // neither
)

// a64MovX9X30 is mov x9, x30. Encodings are those of the Arm Architecture Reference
// Manual, section C4.1.
const a64MovX9X30 = 0xaa1e03e9

// nextByLink finds the caller of a function that was interrupted. It reports false if
// the frame record has it.
func (w *walk) nextByLink() (bool, error) {
	where := w.link()
	if where == inRecord {
		return false, nil
	}
	if where != inRegister {
		w.doubt(fmt.Sprintf("the code of %s does not tell where its return address is", w.symbol(w.PC, true).Name))
		return false, nil
	}
	pc := w.u.strip(w.lr)
	if !w.isCode(pc) {
		return false, fmt.Errorf("the return address %#x in x30 is no code", pc)
	}
	w.PC, w.exact, w.full = pc, false, false
	return true, nil
}

func (w *walk) isCode(pc uint64) bool { return w.u.k.IsText(pc) || w.u.k.InitText().Contains(pc) }

// link returns where the return address of the current function is.
func (w *walk) link() links {
	if !w.isCode(w.PC) {
		// A call of a bad pointer.
		if w.PC != 0 {
			w.doubt(fmt.Sprintf("the CPU jumped to %#x, which is no code", w.PC))
		}
		return inRegister
	}
	if where := w.u.linkAt(w.PC); where == inRegister || where == inRecord {
		return where
	}
	return w.linkByCall()
}

// linkByCall returns where the return address is if only one of the two places has an
// address behind a direct call of the function.
func (w *walk) linkByCall() links {
	f, ok := w.u.k.Symbolize(w.PC)
	if !ok || w.find(w.FP) < 0 {
		return lost
	}
	saved, err := w.u.k.U64(w.FP + 8)
	if err != nil {
		return lost
	}
	record, register := w.u.strip(saved), w.u.strip(w.lr)
	switch byRecord, byRegister := w.u.callsBL(record, f.Addr), w.u.callsBL(register, f.Addr); {
	case byRecord && (!byRegister || record == register):
		return inRecord
	case byRegister && !byRecord:
		return inRegister
	}
	return lost
}

// callsBL reports whether the instruction before a return address is a direct call of a
// function.
func (u *Unwinder) callsBL(ret, function uint64) bool {
	var code [4]byte
	if ret%4 != 0 || u.k.ReadVirt(code[:], ret-4) != nil {
		return false
	}
	word := binary.LittleEndian.Uint32(code[:])
	distance, _ := branch(word &^ (1 << 31)) // as b
	return word>>26 == 0x25 && ret-4+uint64(4*distance) == function
}

// linkAt returns where the return address of a function can be before the instruction
// at pc.
func (u *Unwinder) linkAt(pc uint64) links {
	f, ok := u.k.Symbolize(pc)
	if !ok || f.Size < 4 || f.Size > maxFunction || f.Addr%4 != 0 || pc%4 != 0 {
		return lost
	}
	code := make([]byte, f.Size&^3)
	if f.Offset >= uint64(len(code)) || u.k.ReadVirt(code, f.Addr) != nil {
		return lost
	}
	return followLinks(code)[f.Offset/4]
}

// followLinks returns where the return address can be before each instruction of a
// function, 0 for an instruction without a way to it. It follows the branches from the
// first one.
func followLinks(code []byte) []links {
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(code[4*i:]) }
	at := make([]links, len(code)/4)
	at[0] = inRegister
	pending := []int{0}
	reach := func(i int, l links) {
		if i >= 0 && i < len(at) && at[i]|l != at[i] {
			at[i] |= l
			pending = append(pending, i)
		}
	}
	for len(pending) > 0 {
		i := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		after := at[i]
		// ftrace_caller gives x30 back: arch/arm64/kernel/entry-ftrace.S.
		if traced := i > 0 && word(i-1) == a64MovX9X30 && isCall(word(i)); !traced {
			after = after.through(word(i))
		}
		distance, next := branch(word(i))
		if distance != 0 {
			reach(i+distance, after)
		}
		if next {
			reach(i+1, after)
		}
	}
	return at
}

// isCall reports whether an instruction is bl or blr.
func isCall(word uint32) bool { return word>>26 == 0x25 || word&^0x3e0 == 0xd63f0000 }

// through returns where the return address is behind an instruction.
func (l links) through(word uint32) links {
	first, second := word&31, word>>10&31                                  // the registers that it writes
	pair := word&0xfe400000 == 0xa8400000                                  // ldp
	load := word&0xffc00000 == 0xf9400000 || word&0xffe00000 == 0xf8400000 // ldr, ldur
	single := load || word&0xffe0ffe0 == 0xaa0003e0                        // mov
	switch {
	case word&0xff8003ff == 0x910003fd: // add x29, sp, #n: the record is there
		return inRecord
	case pair && first == 29 && second == 30: // it is no longer in use
		return inRegister
	case (pair || single) && first == 29, pair && second == 29:
		return lost
	case l&inRegister != 0 && (isCall(word) || (pair || single) && first == 30 || pair && second == 30):
		return l&^inRegister | lost
	}
	return l
}

// branch returns how far an instruction can jump, in instructions, 0 for not at all,
// and whether the next one can follow it.
func branch(word uint32) (distance int, next bool) {
	signed := func(shift, bits int) int { return int(int32(word<<(32-shift-bits)) >> (32 - bits)) }
	switch {
	case word>>26 == 0x05: // b
		return signed(0, 26), false
	case word>>24 == 0x54, word>>25&0x3f == 0x1a: // b.cond, cbz and cbnz
		return signed(5, 19), true
	case word>>25&0x3f == 0x1b: // tbz and tbnz
		return signed(5, 14), true
	case word&^0x3e0 == 0xd61f0000, word>>16 == 0xd65f, word>>16 == 0xd69f: // br, ret, eret
		return 0, false
	}
	return 0, true
}

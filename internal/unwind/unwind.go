// Package unwind reconstructs the call stacks of a crashed kernel from its memory:
// with ORC on x86-64, with frame pointers on arm64 and on x86-64 kernels built with
// them, and otherwise by guessing, as the kernel does in its own call traces.
//
// No frame is wrong without a mark: as soon as a stack contradicts itself, the
// frames that follow are guesses with Reliable false, and Stack.End gives the
// reason. The dump is untrusted; reads stay within the stacks, and a call stack has
// at most 256 frames.
package unwind

import (
	"errors"
	"fmt"

	"ukdump/internal/symbols"
)

// maxFrames bounds the frames of a call stack.
const maxFrames = 256

// A Frame is one function of a call stack.
type Frame struct {
	Addr uint64 // where the CPU is or will return to
	// Symbol is the function, with Name "" if Addr has no symbol. Its Offset is that
	// of Addr, but of a return address the function is that of the call before it.
	Symbol symbols.Symbol
	// Reliable is false for a guess: a return address that lies on the stack and
	// can be left over from an earlier call.
	Reliable bool
	// Interrupted is true if an exception or interrupt stopped the function here,
	// or if the CPU was stopped here.
	Interrupted bool
	Stack       string // "task", or the name of another stack of the CPU such as "IRQ" or "NMI"
}

// String returns the frame as in a call trace of the kernel, with "? " in front of
// a guess.
func (f Frame) String() string {
	text := fmt.Sprintf("%#x", f.Addr)
	if f.Symbol.Name != "" {
		text = f.Symbol.String()
	}
	if !f.Reliable {
		return "? " + text
	}
	return text
}

// A Stack is the call stack of a task or a CPU, innermost function first.
type Stack struct {
	Frames []Frame
	// Complete reports whether all frames are reliable up to the entry from user
	// mode or the start of a kernel thread.
	Complete bool
	// End is the reason why the unwinding ended or turned to guesses.
	End string
}

// Regs are the registers from which a call stack starts.
type Regs struct {
	PC, SP, FP uint64 // FP is rbp or x29
	User       bool   // the CPU ran a process in user mode

	r10, r13, dx, di uint64 // x86-64: ORC refers to them in a few functions
	lr               uint64 // arm64: x30, the link register
}

// NewRegs returns the registers that a CPU saved in its NT_PRSTATUS note. The
// function get returns a register by its name in the headers of the kernel: rip, rsp,
// rbp, cs and so on of x86-64; pc, sp, x29 and pstate of arm64.
func NewRegs(machine string, get func(name string) (value uint64, ok bool)) (Regs, error) {
	var r Regs
	var mode uint64
	need := map[string]*uint64{"pc": &r.PC, "sp": &r.SP, "x29": &r.FP, "x30": &r.lr, "pstate": &mode}
	if machine == "amd64" {
		need = map[string]*uint64{"rip": &r.PC, "rsp": &r.SP, "rbp": &r.FP, "cs": &mode, "r10": &r.r10, "r13": &r.r13, "rdx": &r.dx, "rdi": &r.di}
	}
	for name, p := range need {
		var ok bool
		if *p, ok = get(name); !ok {
			return Regs{}, fmt.Errorf("the register %s is unknown", name)
		}
	}
	if r.User = mode&0xf == 0; machine == "amd64" {
		r.User = mode&3 != 0
	}
	return r, nil
}

// Method is the way in which call stacks are unwound.
type Method string

// The methods.
const (
	ORC           Method = "ORC"
	FramePointers Method = "frame pointers"
	Guesses       Method = "guesses"
)

// An Unwinder unwinds the call stacks of one kernel. It is not for use by several
// goroutines at once.
type Unwinder struct {
	k          *symbols.Kernel
	method     Method
	why        string // why the method is not better
	orc        *orcFormat
	image      orcTable
	modules    map[uint64]orcTable // by address of struct module
	threadSize uint64
	current    map[uint64]bool // tasks that a CPU ran, nil if not yet read
	replaced   map[uint64]bool // places that tracers put into return addresses
	pac        uint64          // arm64: the bits above an address
}

// New returns an Unwinder for k. It fails if the kernel has no BTF, since no stack
// can be located then.
func New(k *symbols.Kernel) (*Unwinder, error) {
	if _, err := k.Types(); err != nil {
		return nil, fmt.Errorf("unwind: %w", err)
	}
	u := &Unwinder{k: k, method: FramePointers, modules: make(map[uint64]orcTable), replaced: make(map[uint64]bool)}
	u.threadSize = u.sizeOfStacks()
	// Names by release: kernel/trace/fgraph.c, kernel/trace/rethook.c and
	// arch/*/kernel/kprobes.
	for _, name := range []string{"return_to_handler", "arch_rethook_trampoline", "__kretprobe_trampoline"} {
		if addr, err := k.Lookup(name); err == nil {
			u.replaced[addr] = true
		}
	}
	switch k.Machine {
	case "amd64":
		if err := u.openORC(); err == nil {
			u.method = ORC
		} else if !u.hasFramePointers() {
			u.method, u.why = Guesses, err.Error()
		}
	case "arm64":
		u.pac = pacMask(k.Info)
	default:
		return nil, fmt.Errorf("unwind: stacks of %s are unknown", k.Machine)
	}
	return u, nil
}

// Method returns the method for stacks of this kernel.
func (u *Unwinder) Method() Method { return u.method }

// Running returns the call stack of a task that ran on a CPU when it was stopped.
func (u *Unwinder) Running(task uint64, cpu int, regs Regs) Stack {
	if regs.User {
		return Stack{Complete: true, End: errUser.Error()}
	}
	w := &walk{u: u, task: task}
	w.taskStack()
	w.stacks = append(w.stacks, u.cpuStacks(cpu)...)
	w.state = state{Regs: regs, full: true, exact: true}
	return w.run()
}

// Sleeping returns the call stack of a task that no CPU ran.
func (u *Unwinder) Sleeping(task uint64) Stack {
	w := &walk{u: u, task: task}
	w.taskStack()
	var err error
	if w.state, err = u.inactive(task); err != nil {
		if len(w.stacks) == 0 || u.k.Machine != "amd64" {
			return Stack{End: err.Error()}
		}
		found, certain, none := w.searchInactive()
		if none != nil {
			return Stack{End: err.Error()}
		}
		if w.state = found; !certain {
			w.doubt(fmt.Sprintf("%v, and the stack may have registers of several sleeps", err))
		}
	} else if len(w.stacks) == 0 && w.unread {
		w.alignedStack()
	}
	// The address was read at the stack pointer.
	w.unsure = w.unsure || w.find(w.SP-8) < 0 || !u.k.IsText(w.PC)
	if u.ran(task) {
		return w.guess("the task ran, and its registers are those of its last sleep")
	}
	return w.run()
}

// inactive returns the registers of a task that sleeps.
func (u *Unwinder) inactive(task uint64) (state, error) {
	if u.k.Machine == "arm64" {
		var s state
		for path, p := range map[string]*uint64{"fp": &s.FP, "sp": &s.SP, "pc": &s.PC} {
			var err error
			if *p, err = u.k.Value(task, "task_struct", "thread.cpu_context."+path); err != nil {
				return s, err
			}
		}
		s.exact = u.isStart(s.PC)
		return s, nil
	}
	return u.x86Inactive(task)
}

// isStart reports whether addr is the start of a function. Tasks that never ran return
// to that of ret_from_fork.
func (u *Unwinder) isStart(addr uint64) bool {
	f, ok := u.k.Symbolize(addr)
	return ok && f.Offset == 0
}

// Current returns the task that a CPU ran: its struct task_struct.
func (u *Unwinder) Current(cpu int) (uint64, error) {
	// On x86-64 from 6.2 to 6.14 current_task is in pcpu_hot; on every
	// architecture the run queue has it too.
	if addr, err := u.k.PerCPU("current_task", cpu); err == nil {
		return u.k.Pointer(addr)
	}
	if addr, err := u.k.PerCPU("pcpu_hot", cpu); err == nil {
		return u.k.Value(addr, "pcpu_hot", "current_task")
	}
	addr, err := u.k.PerCPU("runqueues", cpu)
	if err != nil {
		return 0, err
	}
	return u.k.Value(addr, "rq", "curr")
}

// state is the place of a walk.
type state struct {
	Regs
	full  bool // r10, r13, dx and di, or lr, are known
	exact bool // PC is no return address
}

// walk is the unwinding of one call stack.
type walk struct {
	u      *Unwinder
	task   uint64
	stacks []stackRange
	on     int  // the current one
	unsure bool // a guess was necessary
	reason string
	frames []Frame
	// noStack is the reason why the stack of the task is unknown.
	noStack string
	unread  bool // the reason is the dump
	state
}

var (
	errEnd  = errors.New("end of the stack")
	errUser = errors.New("user mode")
)

// run unwinds from the state.
func (w *walk) run() Stack {
	w.on = w.find(w.SP)
	if w.on < 0 && w.find(nextPage(w.SP)) >= 0 {
		// A stack that overflowed into its guard page.
		w.SP = nextPage(w.SP)
		w.on = w.find(w.SP)
		w.doubt("the stack overflowed")
	}
	w.emit()
	if w.on < 0 {
		w.doubt(fmt.Sprintf("the stack pointer %#x is on no known stack", w.SP))
		if w.noStack != "" {
			w.reason += ": " + w.noStack
		}
		return Stack{Frames: w.frames, End: w.reason}
	}
	w.stacks[w.on].visited = true
	if w.u.method == Guesses {
		return w.guess("no unwind tables and no frame pointers: " + w.u.why)
	}
	for len(w.frames) < maxFrames {
		err := w.step()
		switch {
		case err == errEnd || err == errUser:
			if w.reason == "" {
				w.reason = err.Error()
			}
			return Stack{Frames: w.frames, Complete: !w.unsure, End: w.reason}
		case err != nil:
			return w.guess(err.Error())
		}
		w.emit()
	}
	return Stack{Frames: w.frames, End: fmt.Sprintf("more than %d frames", maxFrames)}
}

// step unwinds one frame. After an error the state is the one before.
func (w *walk) step() error {
	before := w.state
	err := w.next()
	if err != nil {
		w.state = before
	}
	return err
}

func (w *walk) next() error {
	if w.u.replaced[w.PC] {
		return fmt.Errorf("a tracer replaced the return address by %s", w.symbol(w.PC, true).Name)
	}
	switch {
	case w.u.k.Machine == "arm64":
		return w.nextArm64()
	case w.u.method == ORC:
		return w.nextORC()
	}
	return w.nextFramePointer()
}

// doubt marks all frames from here on.
func (w *walk) doubt(reason string) {
	w.unsure = true
	if w.reason == "" {
		w.reason = reason
	}
}

// emit adds the frame of the state.
func (w *walk) emit() {
	// The code of a tracer was never called.
	exact := w.exact || w.u.replaced[w.PC]
	f := Frame{Addr: w.PC, Symbol: w.symbol(w.PC, exact), Reliable: !w.unsure, Interrupted: w.exact}
	if w.on >= 0 {
		f.Stack = w.stacks[w.on].name
	}
	w.frames = append(w.frames, f)
}

// symbol returns the symbol of an address. A call that does not return can be the
// last instruction of a function, so a return address belongs to the call before
// it: kernel/kallsyms.c, sprint_backtrace.
func (w *walk) symbol(addr uint64, exact bool) symbols.Symbol {
	if exact {
		s, _ := w.u.k.Symbolize(addr)
		return s
	}
	s, ok := w.u.k.Symbolize(addr - 1)
	if ok {
		s.Offset++
	}
	return s
}

// guess adds every word above the stack pointer that can be a return address, up to
// the end of this stack and of those that it was entered from.
func (w *walk) guess(reason string) Stack {
	w.doubt(reason)
	w.on = w.find(w.SP)
	if len(w.frames) == 0 {
		w.emit()
	}
	if w.on < 0 {
		return Stack{Frames: w.frames, End: w.reason}
	}
	for range w.stacks {
		s := &w.stacks[w.on]
		s.visited = true
		w.scan(s)
		next, ok := w.entered(s)
		if !ok || len(w.frames) >= maxFrames {
			break
		}
		w.SP, w.on = next, w.find(next)
		if w.on < 0 || w.stacks[w.on].visited {
			break
		}
	}
	return Stack{Frames: w.frames, End: w.reason}
}

// scan adds the guesses of one stack.
func (w *walk) scan(s *stackRange) {
	for at := (w.SP + 7) &^ 7; at+8 <= s.end && len(w.frames) < maxFrames; at += 8 {
		addr, err := w.u.k.U64(at)
		if err != nil {
			at |= chunk - 8 // this page is not in the dump
			continue
		}
		if addr = w.u.strip(addr); !w.u.k.IsText(addr - 1) {
			continue
		}
		// A return address is behind a call, never at the start of a function.
		if f := (Frame{Addr: addr, Symbol: w.symbol(addr, false), Stack: s.name}); f.Symbol.Name != "" {
			w.frames = append(w.frames, f)
		}
	}
}

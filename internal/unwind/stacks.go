package unwind

import "fmt"

// chunk divides every page size, in bytes.
const chunk = 4096

func nextPage(addr uint64) uint64 { return (addr + chunk - 1) &^ (chunk - 1) }

// A stackRange is one stack of a task or a CPU.
type stackRange struct {
	name       string
	start, end uint64
	visited    bool
	kind       stackKind
}

type stackKind int

const (
	taskStack      stackKind = iota
	irqStack                 // the top word is the stack pointer before
	exceptionStack           // struct pt_regs is at the top
	otherStack
)

// sizeOfStacks returns THREAD_SIZE in bytes: the size of init_stack, by the symbol
// behind it (include/asm-generic/vmlinux.lds.h), or the one of most kernels.
func (u *Unwinder) sizeOfStacks() uint64 {
	if addr, err := u.k.Lookup("init_stack"); err == nil {
		if s, ok := u.k.Symbolize(addr); ok && s.Size >= 4<<10 && s.Size <= 1<<20 && s.Size&(s.Size-1) == 0 {
			return s.Size
		}
	}
	return max(16<<10, uint64(u.k.Info.PageSize()))
}

// taskStack adds the stack of the task.
func (w *walk) taskStack() {
	base, err := w.u.k.Value(w.task, "task_struct", "stack")
	switch {
	case err != nil:
		w.noStack, w.unread = err.Error(), true
	case base == 0 || base+w.u.threadSize < base:
		w.noStack = fmt.Sprintf("task_struct.stack is %#x", base)
	default:
		w.stacks = append(w.stacks, stackRange{name: "task", start: base, end: base + w.u.threadSize})
	}
}

// cpuStacks returns the stacks of a CPU that can be located.
func (u *Unwinder) cpuStacks(cpu int) []stackRange {
	if u.k.Machine == "arm64" {
		return u.arm64Stacks(cpu)
	}
	return u.x86Stacks(cpu)
}

// x86Stacks: arch/x86/kernel/dumpstack_64.c.
func (u *Unwinder) x86Stacks(cpu int) []stackRange {
	var list []stackRange
	top := uint64(0)
	if addr, err := u.k.PerCPU("hardirq_stack_ptr", cpu); err == nil {
		top, _ = u.k.Pointer(addr)
	} else if addr, err := u.k.PerCPU("pcpu_hot", cpu); err == nil {
		top, _ = u.k.Value(addr, "pcpu_hot", "hardirq_stack_ptr")
	}
	if top > 16<<10 {
		// The pointer is that of the top word. IRQ_STACK_SIZE is 16 KiB.
		list = append(list, stackRange{name: "IRQ", start: top + 8 - 16<<10, end: top + 8, kind: irqStack})
	}
	addr, err := u.k.PerCPU("cea_exception_stacks", cpu)
	if err != nil {
		return list
	}
	types, _ := u.k.Types()
	base, err := u.k.Pointer(addr)
	if err != nil || base == 0 {
		return list
	}
	for _, name := range []string{"NMI", "DF", "DB", "MCE", "VC", "VC2"} {
		if f, err := types.Field("struct cea_exception_stacks", name+"_stack"); err == nil && f.Size <= 64<<10 {
			list = append(list, stackRange{name: name, start: base + f.Offset, end: base + f.Offset + f.Size, kind: exceptionStack})
		}
	}
	area, err1 := types.Offset("struct cpu_entry_area", "estacks")
	entry, err2 := types.Field("struct cpu_entry_area", "entry_stack_page")
	if err1 == nil && err2 == nil && entry.Size <= 64<<10 {
		start := base - area + entry.Offset
		list = append(list, stackRange{name: "entry", start: start, end: start + entry.Size, kind: otherStack})
	}
	return list
}

// arm64Stacks: arch/arm64/kernel/irq.c and traps.c.
func (u *Unwinder) arm64Stacks(cpu int) []stackRange {
	var list []stackRange
	if addr, err := u.k.PerCPU("irq_stack_ptr", cpu); err == nil {
		if base, err := u.k.Pointer(addr); err == nil && base != 0 {
			list = append(list, stackRange{name: "IRQ", start: base, end: base + u.threadSize, kind: otherStack})
		}
	}
	if addr, err := u.k.PerCPU("overflow_stack", cpu); err == nil {
		list = append(list, stackRange{name: "overflow", start: addr, end: addr + 4<<10, kind: otherStack})
	}
	return list
}

// find returns the stack that has addr, -1 if none has.
func (w *walk) find(addr uint64) int {
	for i, s := range w.stacks {
		if addr >= s.start && addr < s.end {
			return i
		}
	}
	return -1
}

// read reads a word of a stack. It can be on another stack than the current one,
// but on none that was left before.
func (w *walk) read(addr uint64) (uint64, error) {
	if err := w.enter(addr, 8); err != nil {
		return 0, err
	}
	v, err := w.u.k.U64(addr)
	if err != nil {
		return 0, fmt.Errorf("the stack at %#x is not in the dump", addr)
	}
	return v, nil
}

// enter verifies that size bytes at addr are on the current stack, or changes to a
// stack that was not used before.
func (w *walk) enter(addr, size uint64) error {
	i := w.find(addr)
	switch {
	case i < 0 || addr+size > w.stacks[i].end:
		return fmt.Errorf("%#x is on no known stack", addr)
	case addr%8 != 0:
		return fmt.Errorf("%#x is no stack address", addr)
	case i != w.on && w.stacks[i].visited:
		return fmt.Errorf("%#x is on the %s stack, which was left", addr, w.stacks[i].name)
	}
	if i != w.on {
		w.on = i
		w.stacks[i].visited = true
	}
	return nil
}

// entered returns the stack pointer of the stack from which s was entered.
func (w *walk) entered(s *stackRange) (uint64, bool) {
	var at uint64
	switch s.kind {
	case irqStack:
		at = s.end - 8
	case exceptionStack:
		at = s.end - 8*x86Regs + 8*x86SP
	default:
		return 0, false
	}
	sp, err := w.u.k.U64(at)
	return sp, err == nil
}

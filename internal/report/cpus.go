package report

import (
	"errors"
	"fmt"
	"slices"

	"ukdump/internal/dump"
	"ukdump/internal/unwind"
)

const (
	maxFrames = 100 // frames of a stack in a report
	maxStacks = 512 // CPUs that were not idle
)

// cpus reads the task and the stack of each CPU, the one that panicked first.
func (m *maker) cpus() error {
	if m.u == nil {
		return errors.New("the stacks cannot be located")
	}
	list, err := m.present()
	if len(list) == 0 {
		return err
	}
	if err != nil {
		m.problem("CPUs", err)
	}
	panicked := m.panicCPU()
	if i := slices.Index(list, panicked); i > 0 {
		list = slices.Insert(slices.Delete(list, i, i+1), 0, panicked)
	}
	m.r.CPUs = []CPU{}
	saved := m.savedRegisters(list)
	busy := 0
	for _, n := range list {
		if m.ctx.Err() != nil {
			return fmt.Errorf("%d of %d: %w", len(m.r.CPUs), len(list), errTime)
		}
		c := m.cpu(n, saved[n], n == panicked, busy >= maxStacks)
		if !c.Idle {
			busy++
		}
		m.r.CPUs = append(m.r.CPUs, c)
	}
	return nil
}

// panicCPU returns the number of the CPU that panicked, -1 if it is not known: panic_cpu of
// kernel/panic.c, crashing_cpu of arch/x86/kernel/reboot.c. Both are -1 without a panic.
func (m *maker) panicCPU() int {
	for _, symbol := range []string{"panic_cpu", "crashing_cpu"} {
		if n, err := m.number(symbol, 4); err == nil && int32(n) >= 0 && n < maxCPUs {
			cpu := int(n)
			m.r.Crash.CPU = &cpu
			return cpu
		}
	}
	m.problem("CPU that panicked", errors.New("neither panic_cpu nor crashing_cpu has its number"))
	return -1
}

// savedRegisters returns the registers of the CPUs. A dump has a note for each CPU in their order,
// but not for each CPU: the task in the note must be that of the CPU.
func (m *maker) savedRegisters(cpus []int) map[int]*dump.Registers {
	notes := m.d.CPUs()
	cpus = slices.Sorted(slices.Values(cpus))
	saved := make(map[int]*dump.Registers)
	numbered := len(notes) > 0 // notes of QEMU have the number of the CPU plus one
	pids := make(map[int][]int)
	for i, n := range notes {
		numbered = numbered && n.PID == i+1
		if n.Known {
			pids[n.PID] = append(pids[n.PID], i)
		}
	}
	for at, cpu := range cpus {
		task, err := m.u.Current(cpu)
		if err != nil {
			continue
		}
		pid := int(int32(m.field(task, "task_struct", "pid")))
		switch here := pids[pid]; {
		case at < len(notes) && notes[at].Known && (numbered || notes[at].PID == pid):
			saved[cpu] = &notes[at]
		case !numbered && pid != 0 && len(here) == 1:
			saved[cpu] = &notes[here[0]]
		}
	}
	return saved
}

// cpu reads a CPU.
func (m *maker) cpu(n int, regs *dump.Registers, panicked, brief bool) CPU {
	c := CPU{Number: n, Panicked: panicked}
	task, err := m.u.Current(n)
	if err != nil {
		c.Note = "current task: " + err.Error()
		return c
	}
	id, err := m.taskID(task)
	if err != nil {
		c.Note = "current task: " + err.Error()
		return c
	}
	c.Task, c.Idle = &id, id.PID == 0
	switch {
	case regs == nil:
		c.Note = "its registers are not in the dump"
		return c
	case brief:
		c.Note = "the stack is left out"
		return c
	}
	start, err := unwind.NewRegs(m.d.Machine(), regs.Get)
	if err != nil {
		c.Note = err.Error()
		return c
	}
	if start.User {
		c.User = true
		return c
	}
	c.Stack = m.stack(m.u.Running(task, n, start))
	return c
}

// stack returns a call stack as the report has it.
func (m *maker) stack(s unwind.Stack) *Stack {
	out := &Stack{Method: string(m.u.Method()), Frames: []Frame{}, Complete: s.Complete, End: s.End}
	for _, f := range s.Frames[:min(len(s.Frames), maxFrames)] {
		on := f.Stack
		if on == "task" {
			on = ""
		}
		out.Frames = append(out.Frames, Frame{
			Address: Addr(f.Addr), Function: f.Symbol.Name, Offset: f.Symbol.Offset, Size: f.Symbol.Size,
			Module: f.Symbol.Module, Reliable: f.Reliable, Interrupted: f.Interrupted, Stack: on,
		})
	}
	out.Omitted = len(s.Frames) - len(out.Frames)
	return out
}

// taskID reads the names of a task.
func (m *maker) taskID(addr uint64) (id TaskID, err error) {
	if m.types == nil {
		return id, errors.New("the kernel has no BTF")
	}
	pid, err := m.k.Value(addr, "task_struct", "pid")
	if err != nil {
		return id, err
	}
	tgid, err := m.k.Value(addr, "task_struct", "tgid")
	if err != nil {
		return id, err
	}
	id.PID, id.TGID = int(int32(pid)), int(int32(tgid))
	id.Comm, err = m.k.TextField(addr, "task_struct", "comm")
	return id, err
}

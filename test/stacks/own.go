package main

import (
	"fmt"
	"slices"

	"ukdump/internal/dump"
	"ukdump/internal/symbols"
	"ukdump/internal/unwind"
)

// A frame is one function of a call stack.
type frame struct {
	pc    uint64
	name  string // "" if unknown
	guess bool   // ours, with a mark
	start uint64 // ours: the address of the symbol
}

// A task is one task of a dump and its call stack, innermost function first.
type task struct {
	addr   uint64 // of struct task_struct
	pid    uint64
	comm   string
	frames []frame
	end    string // why the stack ends or could not be unwound
	broken bool   // the stack is not unwound up to its outermost function
	// unlisted tasks were not found by drgn itself; with registers, it could not unwind
	// the task, but only the registers that lie on its stack.
	unlisted, registers bool
}

// ownStacks unwinds all tasks, with those that idle on each CPU.
func ownStacks(d *dump.Dump, k *symbols.Kernel, u *unwind.Unwinder) (map[uint64]task, error) {
	addrs, err := allTasks(k)
	if err != nil {
		return nil, err
	}
	out := make(map[uint64]task)
	for cpu, saved := range d.CPUs() {
		regs, err := unwind.NewRegs(d.Machine(), saved.Get)
		if err != nil {
			return nil, err
		}
		current, err := u.Current(cpu)
		if err != nil {
			return nil, err
		}
		out[current] = own(k, current, u.Running(current, cpu, regs))
	}
	for _, addr := range addrs {
		if _, ok := out[addr]; !ok {
			out[addr] = own(k, addr, u.Sleeping(addr))
		}
	}
	return out, nil
}

func own(k *symbols.Kernel, addr uint64, s unwind.Stack) task {
	t := task{addr: addr, end: s.End, broken: !s.Complete}
	t.pid, _ = k.Value(addr, "task_struct", "pid")
	t.comm, _ = k.TextField(addr, "task_struct", "comm")
	for _, f := range s.Frames {
		t.frames = append(t.frames, frame{pc: f.Addr, name: f.Symbol.Name, guess: !f.Reliable, start: f.Symbol.Addr})
	}
	return t
}

// allTasks returns the addresses of all tasks that the dump has.
func allTasks(k *symbols.Kernel) ([]uint64, error) {
	types, err := k.Types()
	if err != nil {
		return nil, err
	}
	first, err := k.Lookup("init_task")
	if err != nil {
		return nil, err
	}
	off, err := types.Offset("task_struct", "tasks")
	if err != nil {
		return nil, err
	}
	threads, err := types.Offset("signal_struct", "thread_head")
	if err != nil {
		return nil, err
	}
	processes, err := k.List(first+off, "task_struct", "tasks", 1<<20)
	if err != nil {
		fmt.Println("the list of tasks ends early:", err)
	}
	out := []uint64{first}
	cpus, err := k.CPUs()
	if err != nil {
		return nil, err
	}
	for cpu := range cpus {
		if addr, err := k.PerCPU("runqueues", cpu); err == nil {
			if idle, err := k.Value(addr, "rq", "idle"); err == nil && idle != 0 {
				out = append(out, idle)
			}
		}
	}
	for _, p := range processes {
		list := []uint64{p}
		if signal, err := k.Value(p, "task_struct", "signal"); err == nil {
			if all, err := k.List(signal+threads, "task_struct", "thread_node", 1<<20); err == nil {
				list = all
			}
		}
		out = append(out, list...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

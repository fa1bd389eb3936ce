package unwind

import (
	"encoding/binary"
	"fmt"
)

// A dump can lack pages of struct task_struct, while the stack of the task is there:
// makedumpfile 1.7.2 leaves out the second page of slabs of Linux 7.

// alignedStack adds the stack by the saved stack pointer. Stacks of tasks are aligned to
// their size: kernel/fork.c, THREAD_ALIGN. Only that of an exited task can belong to
// another one: kernel/sched/core.c, finish_task_switch.
func (w *walk) alignedStack() {
	base := (w.SP - 1) &^ (w.u.threadSize - 1)
	if base == 0 || base+w.u.threadSize < base {
		return
	}
	w.noStack = ""
	w.stacks = append(w.stacks, stackRange{name: "task", start: base, end: base + w.u.threadSize})
	if v, err := w.u.k.Value(w.task, "task_struct", "exit_state"); err != nil || v != 0 {
		w.doubt("the task may have exited, and its stack may be another's")
	}
}

// ran reports whether a CPU ran the task.
func (u *Unwinder) ran(task uint64) bool {
	if v, err := u.k.Value(task, "task_struct", "on_cpu"); err == nil {
		return v != 0
	}
	if u.current == nil {
		u.current = make(map[uint64]bool)
		cpus, _ := u.k.CPUs()
		for cpu := range cpus {
			if task, err := u.Current(cpu); err == nil {
				u.current[task] = true
			}
		}
	}
	return u.current[task]
}

// searchInactive finds the saved registers of a task that sleeps on its stack: a word
// that is a return address behind a call of __switch_to_asm, or the start of a new
// task. A task that sleeps has one, and left-overs of earlier sleeps look the same. If
// the stack has only one it is certain.
func (w *walk) searchInactive() (found state, certain bool, err error) {
	s := w.stacks[0]
	switchTo, err := w.u.k.Lookup("__switch_to_asm")
	if err != nil {
		return state{}, false, err
	}
	fork, err := w.u.k.Lookup("ret_from_fork_asm")
	if err != nil {
		// Its name until 6.5.
		fork, _ = w.u.k.Lookup("ret_from_fork")
	}
	_, ret, err := w.u.inactiveFrame()
	if err != nil {
		return state{}, false, err
	}
	places, whole := 0, true
	var page [chunk]byte
	for at := s.start; at < s.end; at += chunk {
		if w.u.k.ReadVirt(page[:], at) != nil {
			whole = false
			continue
		}
		for i := uint64(0); i < chunk; i += 8 {
			addr := binary.LittleEndian.Uint64(page[i:])
			if at+i < s.start+ret || addr == 0 || addr != fork && (!w.u.k.IsText(addr) || !w.calls(addr, switchTo)) {
				continue
			}
			if state, err := w.u.inactiveAt(at + i - ret); err == nil {
				// Left-overs are mostly below the current frame.
				found = state
				places++
			}
		}
	}
	if places == 0 {
		return state{}, false, fmt.Errorf("the stack has no saved registers")
	}
	return found, places == 1 && whole, nil
}

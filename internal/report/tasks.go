package report

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

const (
	maxTasks   = 1 << 20 // PID_MAX_LIMIT is 4 times that, but so many do not fit into MemoryMax=
	maxBlocked = 200     // blocked tasks in a report
)

// task is a task of the crashed kernel.
type task struct {
	addr    uint64
	id      TaskID
	state   string
	blocked bool // in uninterruptible sleep, not idle
	arrived uint64
}

// readTasks reads the list of all processes and their threads.
func (m *maker) readTasks() error {
	if m.types == nil {
		return errors.New("the kernel has no BTF")
	}
	first, err := m.k.Lookup("init_task")
	if err != nil {
		return err
	}
	off, err := m.types.Offset("task_struct", "tasks")
	if err != nil {
		return err
	}
	threads, err := m.types.Offset("signal_struct", "thread_head")
	if err != nil {
		return err
	}
	m.byAddr = make(map[uint64]int)
	processes, failed := m.k.List(first+off, "task_struct", "tasks", maxTasks)
	if failed != nil { // a page is missing: those behind it are found from the other end
		processes = append(processes, m.backward(first+off, off)...)
	}
	for _, p := range processes {
		if err := m.ctx.Err(); err != nil {
			failed = err
			break
		}
		if err := m.addTask(p); err != nil {
			failed = err
		}
		signal, err := m.k.Value(p, "task_struct", "signal")
		if err != nil {
			failed = err
			continue
		}
		list, err := m.k.List(signal+threads, "task_struct", "thread_node", maxTasks)
		if err != nil {
			failed = err
		}
		for _, addr := range list {
			if err := m.addTask(addr); err != nil {
				failed = err
			}
		}
	}
	if len(m.all) > 0 {
		m.countTasks()
	}
	if failed != nil {
		return fmt.Errorf("some are missing or incomplete: %w", failed)
	}
	return nil
}

// backward returns the structures in a list from its end on, as far as it can be read. The
// struct list_head is at the offset off in them.
func (m *maker) backward(head, off uint64) (list []uint64) {
	const prev = 8 // behind next
	for at := head; len(list) < maxTasks; {
		before, err := m.k.Pointer(at + prev)
		if err != nil || before == head {
			break
		}
		at = before
		list = append(list, at-off)
	}
	return list
}

// addTask reads a task.
func (m *maker) addTask(addr uint64) error {
	if _, seen := m.byAddr[addr]; seen {
		return nil
	}
	if len(m.all) >= maxTasks {
		return fmt.Errorf("there are more than %d", maxTasks)
	}
	id, err := m.taskID(addr)
	if err != nil {
		return err
	}
	t := task{addr: addr, id: id, arrived: m.field(addr, "task_struct", "sched_info.last_arrival")}
	member := "__state" // since 5.14
	if !m.types.HasField("task_struct", member) {
		member = "state"
	}
	state, missing := m.k.Value(addr, "task_struct", member)
	exit, err := m.k.Value(addr, "task_struct", "exit_state")
	if missing == nil {
		missing = err
	}
	if t.state = "of unknown state"; missing == nil {
		t.state = stateName(uint32(state), uint32(exit))
	}
	t.blocked = t.state == stateBlocked
	m.byAddr[addr] = len(m.all)
	m.all = append(m.all, t)
	return missing
}

// stateBlocked is uninterruptible sleep.
const stateBlocked = "D (disk sleep)"

// stateName returns the state of a task as /proc/PID/status names it: include/linux/sched.h,
// task_state_array of fs/proc/array.c. The bits are those of 4.14 and later.
func stateName(state, exit uint32) string {
	const (
		uninterruptible, report, noload, rtlock, frozen = 2, 0x7f, 0x400, 0x1000, 0x8000
	)
	names := []string{"R (running)", "S (sleeping)", stateBlocked, "T (stopped)", "t (tracing stop)",
		"X (dead)", "Z (zombie)", "P (parked)"}
	if idle := uint32(uninterruptible | noload); state&idle == idle {
		return "I (idle)"
	}
	seen := (state | exit) & report
	if state&(rtlock|frozen) != 0 {
		seen = uninterruptible
	}
	return names[bits.Len32(seen)]
}

// countTasks counts the tasks by state.
func (m *maker) countTasks() {
	counts := make(map[string]int)
	for _, t := range m.all {
		counts[t.state]++
	}
	out := &Tasks{Total: len(m.all), States: []StateCount{}, Blocked: []Task{}}
	for state, n := range counts {
		out.States = append(out.States, StateCount{state, n})
	}
	slices.SortFunc(out.States, func(a, b StateCount) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.State, b.State))
	})
	m.r.Tasks = out
}

// blocked describes the tasks in uninterruptible sleep.
func (m *maker) blocked() error {
	if m.r.Tasks == nil {
		return errors.New("the tasks are not known")
	}
	var list []task
	for _, t := range m.all {
		if t.blocked {
			list = append(list, t)
		}
	}
	slices.SortStableFunc(list, func(a, b task) int { return cmp.Compare(a.arrived, b.arrived) })
	for _, t := range list[:min(len(list), maxBlocked)] {
		if err := m.ctx.Err(); err != nil {
			m.r.Tasks.Omitted = len(list) - len(m.r.Tasks.Blocked)
			return err
		}
		b := Task{TaskID: t.id, State: t.state, BlockedSeconds: m.since(t.arrived)}
		if m.u != nil {
			b.Stack = m.stack(m.u.Sleeping(t.addr))
		} else {
			b.Note = "the stack cannot be located"
		}
		b.Waits = m.wait(t.addr, b.Stack)
		m.r.Tasks.Blocked = append(m.r.Tasks.Blocked, b)
	}
	m.r.Tasks.Omitted = len(list) - len(m.r.Tasks.Blocked)
	return nil
}

// since returns the seconds from a time of the scheduler's clock to the end of the log, which has
// the same clock. It is nil if the times contradict that.
func (m *maker) since(ns uint64) *float64 {
	if ns == 0 || ns > m.uptime {
		return nil
	}
	s := float64(m.uptime-ns) / 1e9
	return &s
}

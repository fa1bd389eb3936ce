package report

import "strings"

// The type of the lock is in the lowest bits of task_struct.blocker: include/linux/hung_task.h,
// since 6.16.
var blockerKinds = [4]string{"mutex", "semaphore", "rw_semaphore", "rw_semaphore"}

// wait returns the lock for which a blocked task waits, nil if it waits for something else as far
// as is known.
func (m *maker) wait(task uint64, stack *Stack) *Wait {
	if v := m.field(task, "task_struct", "blocker"); v != 0 {
		w := &Wait{Kind: blockerKinds[v&3], Lock: Addr(v &^ 3)}
		m.owner(w)
		return w
	}
	f, err := m.types.Field("task_struct", "blocked_on")
	if err == nil && f.Pointer && f.Type == "mutex" {
		if v := m.field(task, "task_struct", "blocked_on"); v != 0 {
			w := &Wait{Kind: "mutex", Lock: Addr(v)}
			m.owner(w)
			return w
		}
	}
	if what := lockOf(stack); what != "" {
		return &Wait{Note: "a " + what + " by its stack; this kernel does not record which one"}
	}
	return nil
}

// lockOf returns the kind of the lock in whose slow path a stack is, "" if in none.
func lockOf(s *Stack) string {
	if s == nil {
		return ""
	}
	for _, f := range s.Frames {
		switch name := function(f.Function); {
		case !f.Reliable:
		case strings.HasPrefix(name, "__mutex_lock"):
			return "mutex"
		case strings.HasPrefix(name, "rwsem_down_"), strings.HasPrefix(name, "__down_read"), strings.HasPrefix(name, "__down_write"):
			return "rw_semaphore"
		case strings.HasPrefix(name, "__down"), strings.HasPrefix(name, "___down_common"):
			return "semaphore"
		}
	}
	return ""
}

// owner finds the owner of a lock. The lowest three bits of the owner are flags:
// kernel/locking/mutex.c, kernel/locking/rwsem.c.
func (m *maker) owner(w *Wait) {
	if s, ok := m.k.Symbolize(uint64(w.Lock)); ok {
		w.Symbol = s.String()
	}
	typ, member := w.Kind, "owner"
	if w.Kind == "semaphore" {
		member = "last_holder"
	}
	v, err := m.k.Value(uint64(w.Lock), typ, member)
	if err != nil {
		w.Note = err.Error()
		return
	}
	const flags, readers = 7, 1
	addr := v &^ flags
	switch {
	case w.Kind == "rw_semaphore" && v&readers != 0:
		w.Note = "held by readers; the kernel records only the last of them, which may have left"
	case w.Kind == "semaphore":
		w.Note = "the last task that took it"
	}
	if addr == 0 {
		w.Note = "it has no owner"
		return
	}
	i, ok := m.byAddr[addr]
	if !ok {
		w.Note = "its owner is no task of the list"
		return
	}
	w.Owner, w.OwnerBlocked = &m.all[i].id, m.all[i].blocked
}

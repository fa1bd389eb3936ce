package unwind

import (
	"strings"
	"testing"
)

// call writes a call of the function, whose return address is ret.
func (m memory) call(ret, function uint64) {
	at := ret - 5
	code := m[text][at-text:]
	code[0] = 0xe8
	for i := range 4 {
		code[1+i] = byte((function - ret) >> (8 * i))
	}
}

// TestLostTask unwinds a task that sleeps although a page of its struct task_struct is
// not in the dump.
func TestLostTask(t *testing.T) {
	const ret = middle + 0x30
	lostSP := func(m memory) { m[task] = m[task][:16] }
	lostStack := func(m memory) {
		m[task+16] = m[task][16:]
		delete(m, task)
	}
	for _, c := range []struct {
		name  string
		build func(m memory)
		want  string
		end   string
	}{
		{"thread.sp", lostSP, "middle start_thread", "end of the stack"},
		{"thread.sp, a left-over", func(m memory) { lostSP(m); m.set(sp-0x200, ret) }, "?middle ?start_thread", "several"},
		{"thread.sp, a part of the stack", func(m memory) {
			lostSP(m)
			m[taskBase+0x1000] = m[taskBase][0x1000:]
			delete(m, taskBase)
		}, "?middle ?start_thread", "several"},
		{"thread.sp, no place", func(m memory) { lostSP(m); m.set(sp+48, middle+0x40) }, "", "thread.sp"},
		{"thread.sp, all of the stack", func(m memory) { lostSP(m); delete(m, taskBase) }, "", "thread.sp"},
		{"thread.sp, too low", func(m memory) { lostSP(m); m.set(sp+48, 0); m.set(taskBase+8, ret) }, "", "thread.sp"},
		{"thread.sp, a new task", func(m memory) { lostSP(m); m.set(sp+48, fork) }, "ret_from_fork_asm! ?start_thread", "no code"},
		{"thread.sp, it runs", func(m memory) { lostSP(m); m.set(task+8, 1) }, "?middle ?start_thread", "the task ran"},
		{"task_struct.stack", lostStack, "middle start_thread", "end of the stack"},
		{"task_struct.stack, it runs", func(m memory) { lostStack(m); m.set(perCPU+0x38, task) }, "?middle ?start_thread", "the task ran"},
		{"task_struct.stack, it exited", func(m memory) { lostStack(m); m.set(task+48, 16) }, "?middle ?start_thread", "may have exited"},
		{"task_struct.stack, no stack there", func(m memory) { lostStack(m); m.set(task+16, perCPU+0x100) }, "?unknown", "no ORC"},
		{"both", func(m memory) { delete(m, task) }, "", "thread.sp"},
	} {
		m, u := formats[3].build(t)
		m.call(ret, switchTo)
		m.set(perCPU+0x38, 0) // current_task
		m.set(task+16, sp)
		m.set(sp+40, sp+0x100)
		m.set(sp+48, ret)
		m.set(sp+0x108, start+0x10)
		c.build(m)
		got := u.Sleeping(task)
		if trace(got) != c.want || !strings.Contains(got.End, c.end) || got.Complete != (got.End == "end of the stack") {
			t.Errorf("%s: got %q, complete %v, end %q\nwant %q, end %q", c.name, trace(got), got.Complete, got.End, c.want, c.end)
		}
	}
}

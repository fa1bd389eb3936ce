package unwind

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/dump"
	"ukdump/internal/dump/dumptest"
	"ukdump/internal/symbols"
)

// TestReal unwinds all stacks of vmcores of crashed machines, and compares that of the
// CPU that panicked with the call trace that the kernel printed.
func TestReal(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) {
			d, err := dump.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			k, err := symbols.Open(d, d.Info(), d.Machine())
			if err != nil {
				t.Fatal(err)
			}
			u, err := New(k)
			if err != nil {
				t.Fatal(err)
			}
			if n := k.Count(); n < 50000 {
				t.Errorf("got %d symbols", n)
			}
			modules, err := k.Modules()
			if err != nil || len(modules) == 0 {
				t.Errorf("got %d modules, %v", len(modules), err)
			}
			for _, m := range modules {
				if n, err := k.ModuleSymbols(m); m.Err != nil || err != nil || n == 0 {
					t.Errorf("%s: got %d symbols, %v %v", m.Name, n, m.Err, err)
				}
			}
			t.Logf("%s: %d symbols, %d modules, unwound by %s", d.Info().Release(), k.Count(), len(modules), u.Method())
			current := cpus(t, d, u, filepath.Dir(name))
			tasks(t, k, u, current)
		})
	}
}

// cpus verifies the stacks of the CPUs and returns their tasks.
func cpus(t *testing.T, d *dump.Dump, u *Unwinder, dir string) []uint64 {
	var current []uint64
	panicked := 0
	for cpu, saved := range d.CPUs() {
		regs, err := NewRegs(d.Machine(), saved.Get)
		if err != nil {
			t.Fatal(err)
		}
		task, err := u.Current(cpu)
		if err != nil {
			t.Fatal(err)
		}
		current = append(current, task)
		stack := u.Running(task, cpu, regs)
		if !stack.Complete {
			t.Errorf("CPU %d: %s: %v", cpu, stack.End, stack.Frames)
		}
		if len(stack.Frames) == 0 || !strings.HasPrefix(stack.Frames[0].Symbol.Name, "__crash_kexec") {
			continue
		}
		panicked++
		var got []string
		for _, f := range stack.Frames {
			got = append(got, f.String())
		}
		// The kernel printed the trace earlier in panic.
		want := printed(t, filepath.Join(dir, "vmcore-dmesg.txt"))
		i := slices.IndexFunc(want, func(s string) bool {
			return strings.HasPrefix(s, "panic+") || strings.HasPrefix(s, "sysrq_handle_crash+")
		})
		if i >= 0 && strings.HasPrefix(want[i], "panic+") && !slices.Contains(got, want[i]) {
			i++
		}
		if i < 0 || len(got) < len(want)-i || !slices.Equal(got[len(got)-len(want)+i:], want[i:]) {
			t.Errorf("got %v, the kernel printed %v", got, want)
		}
	}
	if panicked != 1 {
		t.Errorf("%d CPUs panicked", panicked)
	}
	return current
}

// frame is a reliable line of a call trace. Letters at the end are those of arm64 since
// 6.13: arch/arm64/kernel/stacktrace.c.
var frame = regexp.MustCompile(`^\[[ 0-9.]+\]  ([A-Za-z_][^ ?]*\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\S+\])?)(?: \([A-Z]+\))?$`)

// header is the line before a call trace, "Call trace" on arm64, where no line ends it.
var header = regexp.MustCompile(`Call [Tt]race:.*\n`)

// printed returns the reliable functions of the last call trace in a log.
func printed(t *testing.T, name string) []string {
	log, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	headers := header.FindAllIndex(log, -1)
	if headers == nil {
		t.Fatalf("%s has no call trace", name)
	}
	arm := strings.Contains(string(log[headers[len(headers)-1][0]:]), "Call trace:")
	var out []string
	for line := range strings.Lines(string(log[headers[len(headers)-1][1]:])) {
		m := frame.FindStringSubmatch(strings.TrimSpace(line))
		if m != nil {
			out = append(out, m[1])
		}
		if strings.Contains(line, "</TASK>") || arm && m == nil {
			break
		}
	}
	return out
}

// tasks unwinds the tasks that slept and prints how many are complete.
func tasks(t *testing.T, k *symbols.Kernel, u *Unwinder, current []uint64) {
	types, _ := k.Types()
	first, err := k.Lookup("init_task")
	if err != nil {
		t.Fatal(err)
	}
	off, err := types.Offset("task_struct", "tasks")
	if err != nil {
		t.Fatal(err)
	}
	threads, err := types.Offset("signal_struct", "thread_head")
	if err != nil {
		t.Fatal(err)
	}
	processes, err := k.List(first+off, "task_struct", "tasks", 1<<20)
	if err != nil {
		t.Log(err)
	}
	places := make(map[string]int)
	defer func() { t.Logf("saved registers searched on the stack: %v", places) }()
	complete, all, missing, ends := 0, 0, 0, make(map[string]int)
	for _, p := range processes {
		signal, err := k.Value(p, "task_struct", "signal")
		if err != nil {
			missing++
			continue
		}
		list, err := k.List(signal+threads, "task_struct", "thread_node", 1<<20)
		if err != nil {
			list = []uint64{p}
		}
		for _, task := range list {
			if slices.Contains(current, task) {
				continue
			}
			all++
			if stack := u.Sleeping(task); stack.Complete {
				complete++
				if k.Machine == "amd64" {
					search(t, u, task, places)
				}
			} else {
				ends[stack.End]++
			}
		}
	}
	t.Logf("%d of %d sleeping tasks end reliably; %d tasks are not in the dump; others: %v", complete, all, missing, ends)
}

// search verifies that the saved registers of a task are found on its stack, as for a
// task whose thread.sp is not in the dump, and counts whether this is certain.
func search(t *testing.T, u *Unwinder, task uint64, places map[string]int) {
	w := &walk{u: u, task: task}
	w.taskStack()
	want, err := u.inactive(task)
	if err != nil || len(w.stacks) == 0 {
		places["unknown"]++
		return
	}
	got, certain, err := w.searchInactive()
	switch {
	case err != nil || certain && got != want:
		t.Errorf("task %#x: got %+v, certain %v, %v, want %+v", task, got, certain, err, want)
	case certain:
		places["certain"]++
	case got == want:
		places["right"]++
	default:
		places["wrong"]++
	}
}

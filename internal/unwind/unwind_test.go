package unwind

import (
	"strings"
	"testing"
)

// trace returns a call stack in one line: the functions, "?" in front of guesses and
// "!" behind interrupted ones.
func trace(s Stack) string {
	var out []string
	for _, f := range s.Frames {
		text := f.Symbol.Name
		if text == "" {
			text = "unknown"
		}
		if !f.Reliable {
			text = "?" + text
		}
		if f.Interrupted {
			text += "!"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// sp is where the stack pointer of most cases begins.
const sp = taskBase + 0x1000

// pushRegs writes struct pt_regs of x86-64.
func (m memory) pushRegs(at, pc, sp, bp, cs uint64) {
	m.set(at+8*x86IP, pc)
	m.set(at+8*x86SP, sp)
	m.set(at+8*x86BP, bp)
	m.set(at+8*x86CS, cs)
}

// stackCases are call stacks that start in leaf, whose return address is at sp+8.
var stackCases = map[string]struct {
	build func(m memory)
	regs  Regs
	want  string
	end   string
}{
	"kernel thread": {func(m memory) {
		m.set(sp+8, middle+0x20)
		m.set(sp+0x40, 0) // rbp of middle's caller
		m.set(sp+0x48, start+0x10)
	}, Regs{PC: leaf + 4, SP: sp, FP: sp + 0x40}, "leaf! middle start_thread", "end of the stack"},
	"system call": {func(m memory) {
		m.set(sp+8, middle+0x20)
		m.set(sp+0x48, syscall+0x10)
		m.pushRegs(sp+0x50, 0x7f0000001000, 0x7ffe00001000, 0, 0x33)
	}, Regs{PC: leaf + 4, SP: sp, FP: sp + 0x40}, "leaf! middle entry_SYSCALL_64", "user mode"},
	"interrupt of the kernel": {func(m memory) {
		m.set(sp+8, interrupt+0x10)
		m.pushRegs(sp+0x10, middle+0x30, sp+0x100, sp+0x140, 0x10)
		m.set(sp+0x148, start+0x10)
	}, Regs{PC: leaf + 4, SP: sp}, "leaf! asm_interrupt middle! start_thread", "end of the stack"},
	"interrupt at the first instruction": {func(m memory) {
		m.set(sp+8, interrupt+0x10)
		m.pushRegs(sp+0x10, leaf, sp+0x100, 0, 0x10)
		m.set(sp+0x108, start+0x10)
	}, Regs{PC: leaf + 4, SP: sp}, "leaf! asm_interrupt leaf! start_thread", "end of the stack"},
	"IRQ stack": {func(m memory) {
		m.set(irqTop-0x100+8, onIRQ+0x10)
		m.set(irqTop-0x100+0x10, sp) // as at the top of the IRQ stack
		m.set(sp, start+0x10)
	}, Regs{PC: leaf + 4, SP: irqTop - 0x100}, "leaf! on_irq start_thread", "end of the stack"},
	"NMI stack": {func(m memory) {
		m.set(exception+0xf00+8, interrupt+0x10)
		m.pushRegs(exception+0xf10, leaf+8, sp, 0, 0x10)
		m.set(sp+8, start+0x10)
	}, Regs{PC: leaf + 4, SP: exception + 0xf00}, "leaf! asm_interrupt leaf! start_thread", "end of the stack"},
	"frame of iret": {func(m memory) {
		m.set(sp+8, iret+0x10)
		m.set(sp+0x10, leaf+8)
		m.set(sp+0x18, 0x10)
		m.set(sp+0x28, sp+0x200)
		m.set(sp+0x208, start+0x10)
	}, Regs{PC: leaf + 4, SP: sp}, "leaf! asm_iret leaf! start_thread", "end of the stack"},
	"call of a null pointer": {func(m memory) { m.set(sp, start+0x10) },
		Regs{PC: 0, SP: sp}, "unknown! start_thread", "end of the stack"},
	"call of a bad pointer": {func(m memory) { m.set(sp, start+0x10) },
		Regs{PC: 0x1234, SP: sp}, "unknown! ?start_thread", "jumped to 0x1234"},
	"caller of __crash_kexec": {func(m memory) {
		m.set(sp+0x60, middle+0x20) // a leftover
		m.set(sp+0x80, leaf+0x20)
		copy(m[text][leaf+0x20-5-text:], []byte{0xe8, 0xe0, 0x07, 0, 0}) // call __crash_kexec
		m.set(sp+0x90, start+0x10)
	}, Regs{PC: crash + 0x10, SP: sp}, "__crash_kexec! leaf start_thread", "end of the stack"},
	"__crash_kexec without call": {func(m memory) { m.set(sp+0x60, middle+0x20) },
		Regs{PC: crash + 0x10, SP: sp}, "__crash_kexec! ?middle", "no return address behind a call"},
	"return address without code": {func(m memory) {
		m.set(sp+8, 0x4141414141414141)
		m.set(sp+0x30, middle+0x20)
	}, Regs{PC: leaf + 4, SP: sp}, "leaf! ?middle", "0x4141414141414141 is no code"},
	"frame pointer that goes back": {func(m memory) {
		m.set(sp+8, middle+0x20)
		m.set(sp-0x40+8, middle+0x20)
	}, Regs{PC: leaf + 4, SP: sp, FP: sp - 0x40}, "leaf! middle", "does not grow"},
	"frame pointer outside": {func(m memory) { m.set(sp+8, middle+0x20) },
		Regs{PC: leaf + 4, SP: sp, FP: 0x1000}, "leaf! middle", "on no known stack"},
	"code without entry": {func(m memory) { m.set(sp+8, bad+0x10) },
		Regs{PC: leaf + 4, SP: sp}, "leaf! bad", "bad cannot be unwound"},
	"tracer": {func(m memory) { m.set(sp+8, text+0x1400); m.set(sp+0x100, middle+0x20) },
		Regs{PC: leaf + 4, SP: sp}, "leaf! return_to_handler ?middle", "tracer replaced"},
	"stack pointer outside":    {func(memory) {}, Regs{PC: leaf + 4, SP: 0x1000}, "leaf!", "on no known stack"},
	"stack pointer at the end": {func(memory) {}, Regs{PC: leaf + 4, SP: taskTop - 8}, "leaf!", "on no known stack"},
	"two stacks in a circle": {func(m memory) {
		m.set(irqTop-0x100+8, onIRQ+0x10)
		m.set(irqTop-0x100+0x10, sp)
		m.set(sp, onIRQ+0x10)
		m.set(sp+8, irqTop-0x100)
	}, Regs{PC: leaf + 4, SP: irqTop - 0x100}, "leaf! on_irq on_irq", "IRQ stack, which was left"},
}

func TestORC(t *testing.T) {
	for _, f := range formats {
		for name, test := range stackCases {
			t.Run(f.release+"/"+name, func(t *testing.T) {
				m, u := f.build(t)
				if u.Method() != ORC {
					t.Fatal(u.Method(), u.why)
				}
				test.build(m)
				got := u.Running(task, 0, test.regs)
				reliable := !strings.Contains(test.want, "?") && (test.end == "user mode" || test.end == "end of the stack")
				if line := trace(got); line != test.want || !strings.Contains(got.End, test.end) || got.Complete != reliable {
					t.Errorf("got %q, complete %v, end %q\nwant %q, end %q", line, got.Complete, got.End, test.want, test.end)
				}
			})
		}
	}
}

func TestSleeping(t *testing.T) {
	for _, f := range formats {
		m, u := f.build(t)
		m.set(task+16, sp) // thread.sp
		m.set(sp+40, sp+0x100)
		m.set(sp+48, middle+0x30)
		m.set(sp+0x108, start+0x10)
		if got := u.Sleeping(task); trace(got) != "middle start_thread" || !got.Complete {
			t.Errorf("%s: got %q, end %q", f.release, trace(got), got.End)
		}
		m.set(sp+48, start) // a new task
		if got := u.Sleeping(task); trace(got) != "start_thread!" || !got.Complete {
			t.Errorf("%s: got %q, end %q", f.release, trace(got), got.End)
		}
		m.set(task+8, 1) // on_cpu
		if got := u.Sleeping(task); got.Complete || got.Frames[0].Reliable {
			t.Errorf("%s: a running task has a reliable stack: %q", f.release, trace(got))
		}
		if got := u.Sleeping(0x1000); len(got.Frames) != 0 || got.Complete || got.End == "" {
			t.Errorf("%s: got %+v", f.release, got)
		}
		if current, err := u.Current(0); err != nil || current != task {
			t.Errorf("%s: got %#x %v", f.release, current, err)
		}
	}
}

// The address of a caller is the one behind the call, which can be in the next
// function if the callee does not return.
func TestSymbolOfCaller(t *testing.T) {
	m, u := formats[0].build(t)
	m.set(sp+8, middle)
	got := u.Running(task, 0, Regs{PC: leaf, SP: sp})
	if len(got.Frames) < 2 || got.Frames[0].String() != "leaf+0x0/0x100" || got.Frames[1].String() != "leaf+0x100/0x100" {
		t.Errorf("got %v", got.Frames)
	}
}

func TestFramePointers(t *testing.T) {
	m, u := format{release: "6.12.0", typeBits: 3, signal: true, framePointers: true}.build(t)
	if u.Method() != FramePointers {
		t.Fatal(u.Method())
	}
	m.set(sp+0x40, sp+0x80)
	m.set(sp+0x48, middle+0x10)
	m.set(sp+0x80, sp+0x101) // struct pt_regs plus 1
	m.set(sp+0x88, interrupt+0x10)
	m.pushRegs(sp+0x100, leaf+8, sp+0x200, sp+0x240, 0x10)
	m.set(sp+0x240, taskTop-168+1)
	m.set(sp+0x248, syscall+0x10)
	m.pushRegs(taskTop-168, 0x7f0000001000, 0x7ffe00001000, 0, 0x33)
	regs := Regs{PC: leaf + 4, SP: sp, FP: sp + 0x40}
	if got := u.Running(task, 0, regs); trace(got) != "leaf! middle asm_interrupt leaf! entry_SYSCALL_64" || !got.Complete {
		t.Errorf("got %q, end %q", trace(got), got.End)
	}
	m.set(sp+0x80, sp+0x40) // a loop
	if got := u.Running(task, 0, regs); got.Complete || !strings.Contains(got.End, "below the stack pointer") {
		t.Errorf("got %q, end %q", trace(got), got.End)
	}
}

func TestGuesses(t *testing.T) {
	f := format{release: "6.12.0", typeBits: 3, signal: true, framePointers: true}
	m, u := f.build(t)
	u.method, u.why = Guesses, "none"
	m.set(sp+0x20, middle+0x10)
	m.set(sp+0x30, data)
	m.set(sp+0x40, start+0x10)
	if got := u.Running(task, 0, Regs{PC: leaf + 4, SP: sp}); trace(got) != "leaf! ?middle ?start_thread" || got.Complete {
		t.Errorf("got %q, end %q", trace(got), got.End)
	}
}

func TestArm64(t *testing.T) {
	const pac = 0x002b000000000000
	record := func(m memory, at, fp, pc uint64) { m.set(at, fp); m.set(at+8, pc) }
	for name, test := range map[string]struct {
		meta  bool
		build func(m memory)
		want  string
		end   string
	}{
		"system call before 6.13": {false, func(m memory) {
			record(m, sp+0x40, taskTop-336+304, middle+0x10)
		}, "leaf! middle", "end of the stack"},
		"system call since 6.13": {true, func(m memory) {
			record(m, sp+0x40, taskTop-336+304, middle+0x10)
			m.set(taskTop-336+304+16, metaFinal)
		}, "leaf! middle", "end of the stack"},
		"authenticated return address": {true, func(m memory) {
			record(m, sp+0x40, taskTop-336+304, (middle+0x10)^pac)
			m.set(taskTop-336+304+16, metaFinal)
		}, "leaf! middle", "end of the stack"},
		"interrupt since 6.13": {true, func(m memory) {
			record(m, sp+0x40, sp+0x100+304, text+0x1510)
			m.set(sp+0x100+304+16, metaRegs)
			m.set(sp+0x100+8*29, sp+0x400)
			m.set(sp+0x100+8*31, sp+0x300)
			m.set(sp+0x100+8*32, leaf+8)
			m.set(sp+0x100+8*33, 5)
			record(m, sp+0x400, taskTop-336+304, middle+0x10)
			m.set(taskTop-336+304+16, metaFinal)
		}, "leaf! el1h_64_irq leaf! middle", "end of the stack"},
		"interrupt before 6.13": {false, func(m memory) {
			record(m, sp+0x40, sp+0x100+304, text+0x1510)
			record(m, sp+0x100+304, sp+0x400, leaf+8)
			m.set(sp+0x100+8*32, leaf+8)
			record(m, sp+0x400, taskTop-336+304, middle+0x10)
		}, "leaf! el1h_64_irq leaf! middle", "end of the stack"},
		"IRQ stack": {false, func(m memory) {
			record(m, sp+0x40, irqBase+0x100, middle+0x10)
			record(m, irqBase+0x100, taskTop-336+304, leaf+0x10)
		}, "leaf! middle leaf", "task stack, which was left"},
		"loop": {false, func(m memory) { record(m, sp+0x40, sp+0x40, middle+0x10) }, "leaf! middle", "below the stack pointer"},
		"record without end": {true, func(m memory) { record(m, sp+0x40, sp+0x80, middle+0x10) },
			"leaf! middle", "unknown type 0"},
		"frame pointer outside": {false, func(m memory) { record(m, sp+0x40, 0x1000, middle+0x10) },
			"leaf! middle", "on no known stack"},
	} {
		t.Run(name, func(t *testing.T) {
			m, u := format{release: "6.12.0", typeBits: 3, machine: "arm64", metaRecords: test.meta}.build(t)
			test.build(m)
			got := u.Running(task, 0, Regs{PC: leaf + 8, SP: sp, FP: sp + 0x40})
			line, _, _ := strings.Cut(trace(got), " ?")
			if line != test.want || !strings.Contains(got.End, test.end) || got.Complete != (test.end == "end of the stack") {
				t.Errorf("got %q, complete %v, end %q\nwant %q, end %q", trace(got), got.Complete, got.End, test.want, test.end)
			}
		})
	}
	m, u := format{release: "6.12.0", typeBits: 3, machine: "arm64"}.build(t)
	m.set(task+24, sp+0x40) // thread.cpu_context
	m.set(task+32, sp)
	m.set(task+40, leaf+8)
	m.set(sp+0x40, taskTop-336+304)
	m.set(sp+0x48, middle+0x10)
	if got := u.Sleeping(task); trace(got) != "leaf middle" || !got.Complete {
		t.Errorf("sleeping: got %q, end %q", trace(got), got.End)
	}
	m.set(task+24, taskTop-336+304) // a new task
	m.set(task+40, fork)
	if got := u.Sleeping(task); trace(got) != "ret_from_fork_asm!" || !got.Complete {
		t.Errorf("a new task: got %q, end %q", trace(got), got.End)
	}
}

func TestNewRegs(t *testing.T) {
	values := map[string]uint64{"rip": leaf, "rsp": sp, "rbp": 1, "cs": 0x33, "r10": 2, "r13": 3, "rdx": 4, "rdi": 5, "pc": leaf, "sp": sp, "x29": 1, "x30": 6, "pstate": 5}
	get := func(name string) (uint64, bool) { v, ok := values[name]; return v, ok }
	if got, err := NewRegs("amd64", get); err != nil || got != (Regs{PC: leaf, SP: sp, FP: 1, User: true, r10: 2, r13: 3, dx: 4, di: 5}) {
		t.Errorf("got %+v %v", got, err)
	}
	if got, err := NewRegs("arm64", get); err != nil || got != (Regs{PC: leaf, SP: sp, FP: 1, lr: 6}) {
		t.Errorf("got %+v %v", got, err)
	}
	delete(values, "rsp")
	if _, err := NewRegs("amd64", get); err == nil {
		t.Error("registers without rsp are accepted")
	}
	if got := (&Unwinder{}).Running(0, 0, Regs{User: true}); !got.Complete || got.End != "user mode" {
		t.Errorf("got %+v", got)
	}
}

func FuzzUnwind(f *testing.F) {
	for i := range formats {
		for _, test := range stackCases {
			m, _ := formats[i].build(f)
			test.build(m)
			f.Add(uint8(i), m[taskBase][0x1000:0x1300], m[irqBase][0x3f00:], m[data][ipsAt-data:ipsAt-data+64], m[data][orcAt-data:orcAt-data+96],
				test.regs.PC, test.regs.SP, test.regs.FP)
		}
	}
	f.Fuzz(func(t *testing.T, release uint8, stack, irq, ips, orc []byte, pc, at, fp uint64) {
		list := append(formats, format{release: "6.12.0", typeBits: 3, machine: "arm64"},
			format{release: "7.1.0", typeBits: 3, machine: "arm64", metaRecords: true}, format{release: "6.12.0", typeBits: 3, framePointers: true})
		m, u := list[int(release)%len(list)].build(t)
		copy(m[taskBase][0x1000:], stack)
		copy(m[irqBase][0x3f00:], irq)
		copy(m[data][ipsAt-data:], ips)
		copy(m[data][orcAt-data:], orc)
		copy(m[task], stack)
		m.call(middle+0x30, switchTo)
		stacks := []Stack{u.Running(task, 0, Regs{PC: pc, SP: at, FP: fp, lr: pc + 8}), u.Sleeping(task)}
		whole := m[task]
		m[task] = whole[:16] // without thread.sp
		stacks = append(stacks, u.Sleeping(task))
		delete(m, task)
		m[task+16] = whole[16:] // without task_struct.stack
		stacks = append(stacks, u.Sleeping(task))
		for _, s := range stacks {
			guessed := false
			for _, frame := range s.Frames {
				guessed = guessed || !frame.Reliable
				if guessed && (frame.Reliable || s.Complete) {
					t.Errorf("got %+v", s)
				}
			}
			if len(s.Frames) > maxFrames || s.End == "" {
				t.Errorf("got %d frames, end %q", len(s.Frames), s.End)
			}
		}
	})
}

func FuzzORC(f *testing.F) {
	for _, format := range formats {
		for _, e := range orcSamples {
			f.Add(format.encode(e), uint8(format.typeBits))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, bits uint8) {
		if len(raw) < orcSize {
			return
		}
		o := &orcFormat{typeShift: 8, typeBits: 2 + uint32(bits&1), signalShift: 11, hasSignal: bits&2 != 0, endShift: 10, hasEnd: bits&4 != 0, registers: orcRegisters[5]}
		if e := o.parse(raw[:orcSize]); e.spReg > orcUnknown || e.bpReg > orcUnknown {
			t.Errorf("got %+v", e)
		}
	})
}

package unwind

import (
	"encoding/binary"
	"fmt"
	"testing"

	"ukdump/internal/symbols"
	"ukdump/internal/symbols/symbolstest"
	"ukdump/internal/vmcore"
)

// memory is invented memory: pieces by address. Other addresses are not readable.
type memory map[uint64][]byte

func (m memory) ReadVirt(p []byte, addr uint64) error { return symbolstest.ReadVirt(m, p, addr) }

// set writes a word into a piece that exists.
func (m memory) set(addr, value uint64) {
	for at, data := range m {
		if addr >= at && addr-at < uint64(len(data)) {
			binary.LittleEndian.PutUint64(data[addr-at:], value)
			return
		}
	}
	panic(fmt.Sprintf("%#x is not in memory", addr))
}

// The invented kernel.
const (
	text      = 0xffffffff81000000
	leaf      = text + 0x100 // 8 bytes on the stack
	middle    = text + 0x200 // has rbp as frame pointer
	syscall   = text + 0x300 // struct pt_regs on the stack
	start     = text + 0x400 // outermost function of a kernel thread
	interrupt = text + 0x500 // struct pt_regs, of an interrupt
	onIRQ     = text + 0x600 // stack pointer of the task at the top of the IRQ stack
	bad       = text + 0x700 // cannot be unwound
	iret      = text + 0x800 // only the frame of iret
	crash     = text + 0x900 // __crash_kexec
	switchTo  = text + 0x1600
	fork      = text + 0x1700
	textEnd   = text + 0x2000

	data    = 0xffffffff82000000
	btfAt   = data + 0x1000
	ipsAt   = data + 0x8000
	orcAt   = data + 0xa000
	dataEnd = data + 0x20000
	tables  = 0xffffffff83000000

	task      = 0xffff888000010000
	taskBase  = 0xffffc90000010000 // the stack of the task
	taskTop   = taskBase + 16<<10
	irqBase   = 0xffffc90000020000
	irqTop    = irqBase + 16<<10
	exception = 0xfffffe0000001000
	perCPU    = 0xffff88803fc00000
)

var names = map[uint64][]string{
	text: {"_stext", "_text"}, leaf: {"leaf"}, middle: {"middle"}, syscall: {"entry_SYSCALL_64"}, start: {"start_thread"},
	interrupt: {"asm_interrupt"}, onIRQ: {"on_irq"}, bad: {"bad"}, iret: {"asm_iret"}, crash: {"__crash_kexec"},
	text + 0x1000: {"panic"}, text + 0x1100: {"vfs_read"}, text + 0x1200: {"vfs_write"}, text + 0x1300: {"do_exit"},
	text + 0x1400: {"return_to_handler"}, switchTo: {"__switch_to_asm"}, fork: {"ret_from_fork_asm"}, text + 0x1500: {"el1h_64_irq"}, textEnd: {"_etext"},
	data: {"init_uts_ns"}, data + 0x10: {"nr_cpu_ids"}, data + 0x18: {"__per_cpu_offset"}, data + 0x20: {"hardirq_stack_ptr"},
	data + 0x28: {"cea_exception_stacks"}, data + 0x30: {"irq_stack_ptr"}, data + 0x38: {"current_task"}, data + 0x40: {"other"},
	btfAt: {"__start_BTF"}, ipsAt - 0x1000: {"__stop_BTF"}, ipsAt: {"__start_orc_unwind_ip"}, orcAt: {"__start_orc_unwind"},
	dataEnd - 0x8000: {"init_stack"}, dataEnd - 0x4000: {"__end_init_stack"}, dataEnd: {"_end"},
}

// orcSample is an entry of the invented table with the numbers since 6.4.
type orcSample struct {
	addr   uint64
	sp     int16
	spReg  orcReg
	bp     int16
	bpReg  orcReg
	kind   orcKind
	signal bool
}

var orcSamples = []orcSample{
	{text, 8, orcSP, 0, orcUndefined, orcCall, false},
	{leaf, 16, orcSP, 0, orcUndefined, orcCall, false},
	{middle, 16, orcBP, -16, orcPrevSP, orcCall, false},
	{syscall, 0, orcSP, 0, orcUndefined, orcRegs, true},
	{start, 0, orcUndefined, 0, orcUndefined, orcEnd, false},
	{interrupt, 0, orcSP, 0, orcUndefined, orcRegs, true},
	{onIRQ, 8, orcSPIndirect, 0, orcUndefined, orcCall, false},
	{bad, 0, orcUndefined, 0, orcUndefined, orcNone, false},
	{iret, 0, orcSP, 0, orcUndefined, orcPartial, true},
	{crash, 0, orcUndefined, 0, orcUndefined, orcNone, false},
	{text + 0x1000, 8, orcSP, 0, orcUndefined, orcCall, false},
	{text + 0x1100, 8, orcSP, 0, orcUndefined, orcCall, false},
	{text + 0x1200, 8, orcSP, 0, orcUndefined, orcCall, false},
	{text + 0x1300, 8, orcSP, 0, orcUndefined, orcCall, false},
}

// A format is the layout of ORC of a release.
type format struct {
	release       string
	typeBits      uint32
	signal, end   bool
	renumbered    bool
	machine       string
	metaRecords   bool // struct frame_record_meta of arm64
	framePointers bool // no ORC
}

var formats = []format{
	{release: "6.1.0", typeBits: 2, end: true},
	{release: "6.3.0", typeBits: 2, signal: true, end: true},
	{release: "6.12.0", typeBits: 3, signal: true},
	{release: "7.1.0", typeBits: 3, signal: true, renumbered: true},
}

func (f format) encode(e orcSample) []byte {
	number := func(r orcReg) uint16 {
		numbering := orcRegisters[5]
		if f.renumbered {
			numbering = orcRegisters[3]
		}
		for n, reg := range numbering {
			if reg == r {
				return uint16(n)
			}
		}
		panic("register")
	}
	flags := number(e.spReg) | number(e.bpReg)<<4
	bit := 8 + f.typeBits
	if f.typeBits == 3 {
		flags |= uint16(e.kind) << 8
	} else if e.kind >= orcCall {
		flags |= uint16(e.kind-orcCall) << 8
	}
	if f.signal {
		if e.signal {
			flags |= 1 << bit
		}
		bit++
	}
	if f.end && e.kind == orcEnd {
		flags |= 1 << bit
	}
	b := binary.LittleEndian.AppendUint16(nil, uint16(e.sp))
	b = binary.LittleEndian.AppendUint16(b, uint16(e.bp))
	return binary.LittleEndian.AppendUint16(b, flags)
}

// types writes the BTF of the structures that unwinding needs.
func (f format) types() []byte {
	var types []byte
	text, count := []byte{0}, uint32(0)
	name := func(s string) uint32 {
		text = append(append(text, s...), 0)
		return uint32(len(text) - len(s) - 1)
	}
	add := func(words ...uint32) uint32 {
		for _, w := range words {
			types = binary.LittleEndian.AppendUint32(types, w)
		}
		count++
		return count
	}
	type member struct {
		name              string
		typ, offset, bits uint32
	}
	structure := func(s string, size uint32, members ...member) uint32 {
		words := []uint32{name(s), 1<<31 | 4<<24 | uint32(len(members)), size}
		for _, m := range members {
			words = append(words, name(m.name), m.typ, m.bits<<24|m.offset)
		}
		return add(words...)
	}
	u64 := add(name("u64"), 1<<24, 8, 64)
	s16 := add(name("s16"), 1<<24, 2, 1<<24|16)
	u32 := add(name("u32"), 1<<24, 4, 32)
	page := add(0, 3<<24, 0, u64, u32, 512)
	context := structure("cpu_context", 24, member{"fp", u64, 0, 0}, member{"sp", u64, 64, 0}, member{"pc", u64, 128, 0})
	thread := structure("thread_struct", 32, member{"sp", u64, 0, 0}, member{"cpu_context", context, 64, 0})
	structure("task_struct", 64, member{"stack", u64, 0, 0}, member{"on_cpu", u32, 64, 0}, member{"thread", thread, 128, 0}, member{"exit_state", u32, 384, 0})
	structure("cea_exception_stacks", 8192, member{"NMI_stack", page, 0, 0}, member{"DF_stack", page, 8 * 4096, 0})
	entry := []member{{"sp_offset", s16, 0, 0}, {"bp_offset", s16, 16, 0}, {"sp_reg", u32, 32, 4}, {"bp_reg", u32, 36, 4}, {"type", u32, 40, f.typeBits}}
	bit := 40 + f.typeBits
	if f.signal {
		entry = append(entry, member{"signal", u32, bit, 1})
		bit++
	}
	if f.end {
		entry = append(entry, member{"end", u32, bit, 1})
	}
	structure("orc_entry", 6, entry...)
	if f.machine == "arm64" {
		structure("pt_regs", 336, member{"stackframe", u64, 8 * 304, 0})
	}
	if f.metaRecords {
		structure("frame_record_meta", 24)
	}
	out := []byte{0x9f, 0xeb, 1, 0}
	for _, w := range []uint32{24, 0, uint32(len(types)), uint32(len(types)), uint32(len(text))} {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return append(append(out, types...), text...)
}

// build makes the memory of the invented kernel. The table of ORC may be damaged by
// the caller, at ipsAt and orcAt.
func (f format) build(t testing.TB) (memory, *Unwinder) {
	t.Helper()
	m := memory{text: make([]byte, textEnd-text), data: make([]byte, dataEnd-data), task: make([]byte, 4096), taskBase: make([]byte, taskTop-taskBase),
		irqBase: make([]byte, irqTop-irqBase), exception: make([]byte, 8192), perCPU: make([]byte, 4096)}
	if f.machine == "" {
		f.machine = "amd64"
	}
	put := func(addr uint64, b []byte) { copy(m[data][addr-data:], b) }
	put(btfAt, f.types())
	m.set(data+0x10, 1) // nr_cpu_ids
	base := uint64(data)
	m.set(base+0x18, perCPU-base) // __per_cpu_offset[0]
	m.set(perCPU+0x20, irqTop-8)  // hardirq_stack_ptr
	m.set(perCPU+0x28, exception) // cea_exception_stacks
	m.set(perCPU+0x30, irqBase)   // irq_stack_ptr
	m.set(perCPU+0x38, task)      // current_task
	m.set(task, taskBase)         // task_struct.stack
	list := make(map[uint64][]string)
	for addr, n := range names {
		list[addr] = n
	}
	if f.machine == "amd64" && !f.framePointers {
		for i, e := range orcSamples {
			at := ipsAt + 4*uint64(i)
			put(at, binary.LittleEndian.AppendUint32(nil, uint32(e.addr-at)))
			put(orcAt+6*uint64(i), f.encode(e))
		}
		list[ipsAt+uint64(4*len(orcSamples))] = []string{"__stop_orc_unwind_ip"}
		list[orcAt+uint64(6*len(orcSamples))] = []string{"__stop_orc_unwind"}
	}
	if f.machine == "arm64" {
		for at := range names {
			if at < textEnd {
				m.code(at, a64Push, a64MovX29SP)
			}
		}
	}
	if f.framePointers {
		for _, at := range []uint64{text + 0x1000, text + 0x1100, text + 0x1200, text + 0x1300} {
			copy(m[text][at-text:], []byte{0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x48, 0x89, 0xe5})
		}
	}
	k, err := symbols.Open(m, m.kallsyms(f.release, list), f.machine)
	if err != nil {
		t.Fatal(err)
	}
	u, err := New(k)
	if err != nil {
		t.Fatal(err)
	}
	return m, u
}

// Instructions of arm64.
const (
	a64Push     = 0xa9be7bfd // stp x29, x30, [sp, #-32]!
	a64MovX29SP = 0x910003fd
	a64Pop      = 0xa8c27bfd // ldp x29, x30, [sp], #32
	a64Ret      = 0xd65f03c0
	a64Nop      = 0xd503201f
	a64CBZ      = 0xb4000000 // cbz x0, of the same instruction
	a64BL       = 0x94000000
	a64BR       = 0xd61f0000 // br x0
)

// code writes instructions of arm64.
func (m memory) code(at uint64, words ...uint32) {
	for i, word := range words {
		binary.LittleEndian.PutUint32(m[text][at-text+4*uint64(i):], word)
	}
}

// kallsyms writes tables with a token for every character, and offsets from their
// own place.
func (m memory) kallsyms(release string, list map[uint64][]string) vmcore.Info {
	var tokens, names, offsets []byte
	var index [512]byte
	for i := range 256 {
		binary.LittleEndian.PutUint16(index[2*i:], uint16(len(tokens)))
		if i > ' ' && i < 0x7f {
			tokens = append(tokens, byte(i))
		}
		tokens = append(tokens, 0)
	}
	count := uint32(0)
	for addr, aliases := range list {
		for _, n := range aliases {
			offsets = binary.LittleEndian.AppendUint32(offsets, uint32(addr-tables-uint64(4*count)))
			names = append(append(names, byte(len(n)+1), 'T'), n...)
			count++
		}
	}
	info := fmt.Sprintf("OSRELEASE=%s\nSYMBOL(_stext)=%x\nNUMBER(KERNELPACMASK)=0xff7f000000000000\n", release, uint64(text))
	at := uint64(tables)
	for _, t := range []struct {
		name string
		data []byte
	}{{"kallsyms_offsets", offsets}, {"kallsyms_names", append(names, make([]byte, 4096)...)}, {"kallsyms_token_table", append(tokens, make([]byte, 4096)...)},
		{"kallsyms_token_index", index[:]}, {"kallsyms_num_syms", binary.LittleEndian.AppendUint32(nil, count)}} {
		m[at] = t.data
		info += fmt.Sprintf("SYMBOL(%s)=%x\n", t.name, at)
		at += 0x10000
	}
	return vmcore.ParseInfo([]byte(info))
}

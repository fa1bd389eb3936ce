package dump

import (
	"io"

	"ukdump/internal/dumpfile"
)

// struct elf_prstatus of 64-bit machines: include/linux/elfcore.h. The registers are
// struct user_regs_struct of x86-64, arch/x86/include/asm/user_64.h, and struct
// user_pt_regs of arm64, arch/arm64/include/uapi/asm/ptrace.h.
const (
	statusPID  = 32
	statusRegs = 112
)

// registerNames are the registers in the order of their structure.
var registerNames = map[string][]string{
	"amd64": {
		"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
		"orig_rax", "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
	},
	"arm64": {
		"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
		"x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30",
		"sp", "pc", "pstate",
	},
}

// Registers are the registers of a CPU when it was stopped by the crash.
type Registers struct {
	// Machine is the GOARCH name: amd64 or arm64.
	Machine string
	// PID is the thread that ran on the CPU, 0 if idle. A dump of QEMU has the number of
	// the CPU plus one.
	PID int
	// Known is false if the note is all zeros: the CPU has not saved its registers.
	Known bool

	values []uint64 // in the order of registerNames
}

// Names returns the names of all registers, those of the kernel's headers: r15 to gs of
// x86-64, x0 to pstate of arm64.
func (r *Registers) Names() []string { return registerNames[r.Machine] }

// Get returns a register by its name, and whether it is known.
func (r *Registers) Get(name string) (uint64, bool) {
	if !r.Known {
		return 0, false
	}
	for i, n := range registerNames[r.Machine] {
		if n == name && i < len(r.values) {
			return r.values[i], true
		}
	}
	return 0, false
}

// PC returns the address of the next instruction, 0 if unknown.
func (r *Registers) PC() uint64 { return r.either("rip", "pc") }

// SP returns the stack pointer, 0 if unknown.
func (r *Registers) SP() uint64 { return r.either("rsp", "sp") }

// FP returns the frame pointer, 0 if unknown.
func (r *Registers) FP() uint64 { return r.either("rbp", "x29") }

func (r *Registers) either(amd64, arm64 string) uint64 {
	name := amd64
	if r.Machine == "arm64" {
		name = arm64
	}
	v, _ := r.Get(name)
	return v
}

// maxCPUs bounds the CPUs of a dump: CONFIG_NR_CPUS goes up to 8192.
const maxCPUs = 1 << 14

// statusReader reads the registers of a dump from its notes.
type statusReader struct {
	d *Dump
	r io.ReaderAt
}

// VisitStatus implements vmcore.StatusVisitor. A note that cannot be read has unknown
// registers.
func (s *statusReader) VisitStatus(off, size int64) {
	if len(s.d.cpus) >= maxCPUs {
		return
	}
	regs := Registers{Machine: s.d.header.Machine}
	n := len(registerNames[regs.Machine])
	b := make([]byte, statusRegs+8*n)
	if size >= int64(len(b)) && dumpfile.ReadFull(s.r, b, off) == nil {
		regs.PID = int(int32(le.Uint32(b[statusPID:])))
		for i := range n {
			v := le.Uint64(b[statusRegs+8*i:])
			regs.values = append(regs.values, v)
			regs.Known = regs.Known || v != 0
		}
	}
	s.d.cpus = append(s.d.cpus, regs)
}

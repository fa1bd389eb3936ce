package builder

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"ukdump/internal/kexec"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

// compressPath is where ukdump-compress lies in the image.
const compressPath = "bin/ukdump-compress"

// Rules for CPUS=auto. One processor saves a small memory in seconds, and a kernel that
// starts others after a crash has more that can fail.
const (
	autoCPUs     = 4         // more only if asked for
	memoryPerCPU = 16 << 30  // bytes of the machine's memory that justify another one
	autoReserved = 256 << 20 // bytes of the reservation below which there is one
)

// cpus decides how many processors the capture kernel starts.
func (b *Build) cpus(o Options) error {
	online, err := b.host.OnlineCPUs()
	if err != nil {
		return err
	}
	if err := b.chooseCPUs(o, online); err != nil {
		return err
	}
	if b.CPUs > 1 && b.CPUs == online && b.Kernel.Arch == "amd64" {
		b.CPUsWhy += "; one less after a crash on another than the first, which then cannot start" // see cpuWords
	}
	return nil
}

// chooseCPUs sets CPUs and CPUsWhy on a machine with so many processors online.
func (b *Build) chooseCPUs(o Options, online int) error {
	c := o.Config
	b.CPUs, b.CPUsWhy = 1, "CPUS=1"
	if n := c.CPUs; n > 0 {
		if b.CPUs = min(n, online); b.CPUs < n {
			b.CPUsWhy = fmt.Sprintf("CPUS=%d, but the machine has %d", n, online)
		} else {
			b.CPUsWhy = fmt.Sprintf("CPUS=%d", n)
		}
		return nil
	}
	mem, err := b.host.Memory()
	if err != nil {
		return err
	}
	reserved, _ := kexec.New(o.Root).Reserved() // 0 if that is not known
	switch {
	case c.LogOnly:
		b.CPUsWhy = "DUMP=log has nothing to compress"
	case mem < memoryPerCPU:
		b.CPUsWhy = "less than 16 GiB of memory are saved in seconds"
	case reserved < autoReserved:
		b.CPUsWhy = "each processor takes memory, and less than 256 MiB are reserved"
	default:
		b.CPUs = min(online, autoCPUs, 1+int(mem/memoryPerCPU))
		b.CPUsWhy = "the memory is large, and the reservation has room"
	}
	return nil
}

// cpuWords returns the words that decide which processors the capture kernel starts.
func (b *Build) cpuWords() []string {
	words := []string{"nr_cpus=" + strconv.Itoa(max(1, b.CPUs))}
	if b.CPUs < 2 || b.Kernel.Arch != "amd64" {
		return words
	}
	// If another processor crashed, to start the first one with INIT would reset the
	// machine: admin-guide/kdump/kdump.rst, "disable_cpu_apicid".
	if id, ok := b.host.BootAPIC(); ok {
		words = append(words, "disable_cpu_apicid="+strconv.Itoa(id))
	}
	return words
}

// withCPUs replaces nr_cpus=1 in the words of an architecture.
func withCPUs(words, cpu []string) []string {
	i := slices.Index(words, "nr_cpus=1")
	if i < 0 || len(cpu) == 0 {
		return words
	}
	return slices.Concat(words[:i], cpu, words[i+1:])
}

// addCompressor puts a rung with ukdump-compress before the others, and packs it. The same
// filter by makedumpfile alone follows. The quick rung gets one too.
func (b *Build) addCompressor(o Options, m *makedumpfile.Program, compress string) error {
	if b.CPUs < 2 || compress == "none" {
		return nil
	}
	program := filepath.Join(filepath.Dir(o.Pid1), "ukdump-compress")
	data, err := readProgram(program, b.Kernel.Arch)
	if err != nil {
		return err
	}
	b.Plan.Collectors = slices.Insert(b.Plan.Collectors, 0, compressor(m, b.DumpLevel, compress, b.CPUs))
	if n := len(b.Plan.Collectors) - 1; b.Plan.Collectors[n].Quick {
		c := compressor(m, b.possibleLevel(allPages, m.Version), quickest(m, compress), b.CPUs)
		c.Quick = true
		b.Plan.Collectors = slices.Insert(b.Plan.Collectors, n, c)
	}
	return b.add(compressPath, data, 0o755, fmt.Sprintf("compresses with %d processors", b.CPUs))
}

// compressor returns the rung with ukdump-compress.
func compressor(m *makedumpfile.Program, level int, compress string, cpus int) plan.Collector {
	// -r: makedumpfile selects the pages, and the workers read them.
	base := []string{"/" + compressPath, "-c", compress, "-j", strconv.Itoa(cpus), "-r", plan.VmcoreArg}
	filter := []string{"-x", "/" + makedumpfilePath, "-F", "-d", strconv.Itoa(level), plan.VmcoreArg}
	return plan.Collector{
		Name:    fmt.Sprintf("makedumpfile -d %d, %s by %d processors", level, compress, cpus),
		Argv:    slices.Concat(base, []string{"-o", plan.OutputArg}, filter),
		Stream:  slices.Concat(base, filter),
		Filters: level > 1, Parallel: true,
	}
}

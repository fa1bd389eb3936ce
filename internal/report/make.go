package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ukdump/internal/dump"
	"ukdump/internal/symbols"
	"ukdump/internal/unwind"
)

// Limit is the longest time in which Make gathers a report unless Options tells otherwise.
const Limit = 2 * time.Minute

// Options are the circumstances of a report.
type Options struct {
	Software string        // version of ukdump
	Limit    time.Duration // 0 for Limit
	// Log opens the log that was saved beside the dump as text, for a dump of which the log
	// cannot be read. It may be nil.
	Log func() (io.ReadCloser, error)
}

// maxProblems bounds the problems of a report.
const maxProblems = 100

// maker gathers a report.
type maker struct {
	ctx   context.Context
	d     *dump.Dump
	mem   symbols.Memory
	k     *symbols.Kernel // nil without symbols
	types *symbols.Types  // nil without BTF
	u     *unwind.Unwinder
	r     *Report

	text   []byte // the end of the log, as dmesg(1) prints it
	uptime uint64 // time of the last log record in ns, 0 if not known
	all    []task
	byAddr map[uint64]int // index in all
}

// Make gathers the report of a dump. It always returns one: a part that cannot be gathered, or
// for which no time is left, is in its Problems.
func Make(ctx context.Context, d *dump.Dump, o Options) *Report {
	limit := o.Limit
	if limit == 0 {
		limit = Limit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m := &maker{ctx: ctx, d: d, mem: memory{ctx, d}, r: &Report{
		Version: Version, Software: o.Software, Problems: []Problem{},
		Machine: Machine{Arch: d.Machine()},
		Dump:    Dump{Format: string(d.Header().Format), Level: d.Header().DumpLevel},
	}}
	m.gather(o)
	return m.r
}

// gather runs all steps.
func (m *maker) gather(o Options) {
	m.step("log", func() error { return m.log(o.Log) })
	m.info()
	m.step("symbols", m.open)
	if m.k == nil {
		m.systemByLog()
		m.fingerprint()
		return
	}
	m.system()
	m.step("modules", m.modules)
	m.step("tasks", m.readTasks)
	m.step("CPUs", m.cpus)
	m.step("blocked tasks", m.blocked)
	if m.types != nil {
		m.memory()
		m.step("mounts", m.mounts)
		m.step("disks", m.disks)
	}
	m.fingerprint()
}

// FromLog makes the report of a crash of which only the log is there. The reason for that is the
// first of its problems.
func FromLog(o Options, reason error) *Report {
	m := &maker{ctx: context.Background(), r: &Report{Version: Version, Software: o.Software, Problems: []Problem{}}}
	m.problem("vmcore", reason)
	m.step("log", func() error { return m.log(o.Log) })
	m.systemByLog()
	m.fingerprint()
	return m.r
}

// open reads symbols and types and prepares the unwinder.
func (m *maker) open() error {
	k, err := symbols.Open(m.mem, m.d.Info(), m.d.Machine())
	if err != nil {
		return err
	}
	m.k = k
	if m.types, err = k.Types(); err != nil {
		m.problem("types", err)
		return nil
	}
	if m.u, err = unwind.New(k); err != nil {
		m.problem("stacks", err)
	}
	return nil
}

// step runs a step. Its error becomes a problem, that of the time once.
func (m *maker) step(part string, f func() error) {
	if m.ctx.Err() != nil {
		m.problem(part, errTime)
		return
	}
	if err := f(); err != nil {
		m.problem(part, err)
	}
}

// errTime is the problem of all parts after the limit of time.
var errTime = errors.New("the time for the report was over")

// problem adds a problem.
func (m *maker) problem(part string, err error) {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = errTime
	}
	p := Problem{part, err.Error()}
	switch n := len(m.r.Problems); {
	case n > 0 && m.r.Problems[n-1] == p:
	case n < maxProblems:
		m.r.Problems = append(m.r.Problems, p)
	case n == maxProblems:
		m.r.Problems = append(m.r.Problems, Problem{"problems", "there are more"})
	}
}

// memory is the memory of a dump until the context ends.
type memory struct {
	ctx context.Context
	d   *dump.Dump
}

// ReadVirt implements symbols.Memory.
func (m memory) ReadVirt(p []byte, addr uint64) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	return m.d.ReadVirt(p, addr)
}

// field returns the value of an integer, 0 if the kernel lacks the member or the dump the memory.
func (m *maker) field(addr uint64, typ, path string) uint64 {
	v, _ := m.k.Value(addr, typ, path)
	return v
}

// pages returns the size of n pages in bytes, where n is a counter that may be a little below 0
// since each CPU has its own part.
func (m *maker) pages(n uint64) uint64 {
	if int64(n) < 0 {
		return 0
	}
	if size := uint64(m.d.PageSize()); n < 1<<63/size {
		return n * size
	}
	return 0
}

// enum returns an enumerator of the kernel as a number of an element.
func (m *maker) enum(enum, name string) (uint64, error) {
	v, err := m.types.Enum(enum, name)
	if err == nil && (v < 0 || v > 1<<16) {
		err = fmt.Errorf("%s of enum %s is %d", name, enum, v)
	}
	return uint64(v), err
}

// keep keeps a list of which failed tells why some are missing. It is not known if all are.
func keep[T any](to *[]T, list []T, failed error) error {
	if failed == nil || len(list) > 0 {
		*to = list
	}
	if failed != nil {
		return fmt.Errorf("some are missing: %w", failed)
	}
	return nil
}

// Package report describes a crash from its dump alone: cause, stacks, tasks, memory, disks and
// the end of the log, as one structure with a printer for people. Each part is gathered by a
// step of its own; a step that fails adds a Problem, and the others go on.
//
// Every byte of a dump is untrusted: counts and sizes are bounded, and the printer escapes all
// texts.
package report

import (
	"fmt"
	"strconv"
	"time"
)

// Version is the version of the structure. A reader ignores unknown fields; a field that changes
// its meaning raises the version.
const Version = 1

// A Report describes a crash. Not known are pointers and slices that are nil, null in JSON or
// omitted, and texts that are empty. An empty slice has no elements for sure.
type Report struct {
	Version  int    `json:"version"`
	Software string `json:"software,omitempty"` // version of ukdump that made the report
	Dump     Dump   `json:"dump"`

	Fingerprint *Fingerprint `json:"fingerprint,omitempty"`
	Crash       Crash        `json:"crash"`
	Kernel      Kernel       `json:"kernel"`
	Machine     Machine      `json:"machine"`

	CPUs   []CPU   `json:"cpus"` // that of the panic first
	Tasks  *Tasks  `json:"tasks,omitempty"`
	Memory *Memory `json:"memory,omitempty"`
	Mounts []Mount `json:"mounts"`
	Disks  []Disk  `json:"disks"`
	Log    []Line  `json:"log"` // the last lines, oldest first

	// Problems are the parts that are missing or incomplete, and why.
	Problems []Problem `json:"problems"`
}

// A Dump is the file that was read.
type Dump struct {
	Format string `json:"format,omitempty"`
	Level  int    `json:"level"` // of makedumpfile -d, 0 if not known or nothing is excluded
}

// A Problem is a part of the report that is missing or incomplete.
type Problem struct {
	Part   string `json:"part"`   // such as "memory"
	Reason string `json:"reason"` // such as "struct zone: the kernel has no such type"
}

// Sources of the functions in a Fingerprint.
const (
	SourceStack = "stack" // the memory of the dump
	SourceLog   = "log"   // the call trace that the kernel printed
)

// A Fingerprint groups crashes with the same cause.
type Fingerprint struct {
	// ID is "v1:" and 16 hexadecimal digits, a hash of Kind and Frames.
	ID     string   `json:"id"`
	Kind   string   `json:"kind"`   // the line of the cause without numbers and addresses
	Frames []string `json:"frames"` // functions without offsets and compiler suffixes, innermost first
	// Source is SourceStack or SourceLog.
	Source string `json:"source"`
}

// Crash is why and when the kernel crashed.
type Crash struct {
	Panic         string     `json:"panic,omitempty"`       // the line of the panic
	Cause         string     `json:"cause,omitempty"`       // first line of the oops, BUG or lockup that led to it
	Instruction   string     `json:"instruction,omitempty"` // where the cause occurred, as the kernel printed it
	Time          *time.Time `json:"time,omitempty"`        // by the clock of the crashed kernel
	UptimeSeconds *float64   `json:"uptime_seconds,omitempty"`
	CPU           *int       `json:"cpu,omitempty"` // the CPU that panicked
}

// Kernel is the kernel that crashed.
type Kernel struct {
	Release string  `json:"release,omitempty"`
	BuildID string  `json:"build_id,omitempty"`
	Banner  string  `json:"banner,omitempty"` // the line of /proc/version
	Taints  []Taint `json:"taints"`
	// CommandLine has "*" in place of each secret, Secrets is their number.
	CommandLine string   `json:"command_line,omitempty"`
	Secrets     int      `json:"secrets,omitempty"`
	Modules     []Module `json:"modules"` // by name
}

// A Taint is a reason why the kernel is tainted.
type Taint struct {
	Letter  string `json:"letter"`
	Name    string `json:"name"`    // such as "out-of-tree module"
	Meaning string `json:"meaning"` // one sentence
}

// A Module is a kernel module that was loaded.
type Module struct {
	Name       string `json:"name"`
	Version    string `json:"version,omitempty"`
	SrcVersion string `json:"srcversion,omitempty"`
	State      string `json:"state,omitempty"` // if not live
	Bytes      uint64 `json:"bytes"`
	Taints     string `json:"taints,omitempty"` // letters
}

// Machine is the machine that crashed.
type Machine struct {
	Arch        string  `json:"arch"` // GOARCH name: amd64 or arm64
	Host        string  `json:"host,omitempty"`
	Hardware    string  `json:"hardware,omitempty"`
	CPUs        *int    `json:"cpus,omitempty"`         // online
	MemoryBytes *uint64 `json:"memory_bytes,omitempty"` // that the kernel managed
}

// A TaskID names a task.
type TaskID struct {
	PID  int    `json:"pid"`
	TGID int    `json:"tgid,omitempty"` // PID of the process
	Comm string `json:"comm"`
}

// A CPU is a CPU at the time of the crash.
type CPU struct {
	Number   int     `json:"number"`
	Panicked bool    `json:"panicked"`
	Idle     bool    `json:"idle"`
	User     bool    `json:"user"` // it ran a process in user mode, of which there is no stack
	Task     *TaskID `json:"task,omitempty"`
	Stack    *Stack  `json:"stack,omitempty"`
	// Note is the reason why Task or Stack is missing.
	Note string `json:"note,omitempty"`
}

// A Stack is a call stack, innermost function first.
type Stack struct {
	Method string  `json:"method"` // "ORC", "frame pointers" or "guesses"
	Frames []Frame `json:"frames"`
	// Complete reports whether all frames are reliable, up to the entry from user mode or the
	// start of a kernel thread.
	Complete bool   `json:"complete"`
	End      string `json:"end,omitempty"` // why it ended or turned to guesses
	Omitted  int    `json:"omitted,omitempty"`
}

// A Frame is a function of a call stack.
type Frame struct {
	Address  Addr   `json:"address"`
	Function string `json:"function,omitempty"`
	Offset   uint64 `json:"offset"` // of Address in the function, in bytes
	Size     uint64 `json:"size"`   // of the function in bytes, 0 if not known
	Module   string `json:"module,omitempty"`
	Reliable bool   `json:"reliable"` // false for a guess
	// Interrupted is true if an exception, an interrupt or the crash stopped the function here.
	Interrupted bool   `json:"interrupted,omitempty"`
	Stack       string `json:"stack,omitempty"` // if not that of the task: "IRQ", "NMI" and so on
}

// Addr is an address. In JSON it is a string such as "0xffffffff81000000", since numbers of JSON
// lose digits.
type Addr uint64

// String returns the address in hexadecimal.
func (a Addr) String() string { return fmt.Sprintf("%#x", uint64(a)) }

// MarshalText implements encoding.TextMarshaler.
func (a Addr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Addr) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 0, 64)
	*a = Addr(v)
	return err
}

// Tasks are the processes and threads.
type Tasks struct {
	Total  int          `json:"total"`
	States []StateCount `json:"states"` // the most frequent first
	// Blocked are the tasks in uninterruptible sleep (D), the longest blocked first. Omitted
	// is the number of those that are left out.
	Blocked []Task `json:"blocked"`
	Omitted int    `json:"omitted,omitempty"`
}

// A StateCount is the number of tasks in a state.
type StateCount struct {
	State string `json:"state"` // as in /proc/PID/status, such as "S (sleeping)", or "of unknown state"
	Count int    `json:"count"`
}

// A Task is a task in uninterruptible sleep.
type Task struct {
	TaskID
	State          string   `json:"state"`
	BlockedSeconds *float64 `json:"blocked_seconds,omitempty"` // since it last ran
	Waits          *Wait    `json:"waits,omitempty"`
	Stack          *Stack   `json:"stack,omitempty"`
	Note           string   `json:"note,omitempty"` // why Stack is missing
}

// A Wait is the lock for which a task waits.
type Wait struct {
	Kind   string  `json:"kind"` // "mutex", "semaphore" or "rw_semaphore"; "" if not known
	Lock   Addr    `json:"lock,omitempty"`
	Symbol string  `json:"symbol,omitempty"` // of a static lock
	Owner  *TaskID `json:"owner,omitempty"`
	// OwnerBlocked is true if the owner itself is in uninterruptible sleep.
	OwnerBlocked bool `json:"owner_blocked,omitempty"`
	// Note is the reason why the lock or the owner is not known, or how certain it is.
	Note string `json:"note,omitempty"`
}

// Memory is the use of the memory. All sizes are bytes.
type Memory struct {
	Total           *uint64     `json:"total_bytes,omitempty"`
	Free            *uint64     `json:"free_bytes,omitempty"`
	PageCache       *uint64     `json:"page_cache_bytes,omitempty"` // without Shmem
	Anonymous       *uint64     `json:"anonymous_bytes,omitempty"`
	Shmem           *uint64     `json:"shmem_bytes,omitempty"` // shared memory and tmpfs
	SlabReclaimable *uint64     `json:"slab_reclaimable_bytes,omitempty"`
	SlabFixed       *uint64     `json:"slab_unreclaimable_bytes,omitempty"`
	Stacks          *uint64     `json:"kernel_stack_bytes,omitempty"`
	PageTables      *uint64     `json:"page_table_bytes,omitempty"`
	Dirty           *uint64     `json:"dirty_bytes,omitempty"`
	Writeback       *uint64     `json:"writeback_bytes,omitempty"`
	Zones           []Zone      `json:"zones"`
	Slabs           []Slab      `json:"slabs"`     // the largest first
	Processes       []Process   `json:"processes"` // the largest first
	HugePages       []HugePages `json:"huge_pages"`
}

// A Zone is a zone of memory.
type Zone struct {
	Node    int    `json:"node"`
	Name    string `json:"name"`
	Free    uint64 `json:"free_bytes"`
	Min     uint64 `json:"min_bytes"` // watermarks
	Low     uint64 `json:"low_bytes"`
	High    uint64 `json:"high_bytes"`
	Managed uint64 `json:"managed_bytes"`
}

// A Slab is a cache of kernel objects.
type Slab struct {
	Name        string `json:"name"`
	Bytes       uint64 `json:"bytes"` // at most: a slab can be smaller if memory is short
	Objects     uint64 `json:"objects,omitempty"`
	ObjectBytes uint64 `json:"object_bytes"`
}

// A Process is a user of memory.
type Process struct {
	TaskID
	RSS  uint64 `json:"rss_bytes"`
	Anon uint64 `json:"anonymous_bytes"`
	Swap uint64 `json:"swap_bytes"`
}

// HugePages are the reserved pages of one size.
type HugePages struct {
	PageBytes uint64 `json:"page_bytes"`
	Total     uint64 `json:"total"` // number of pages
	Free      uint64 `json:"free"`
	Reserved  uint64 `json:"reserved"`
	Surplus   uint64 `json:"surplus"`
}

// A Mount is a mounted file system in the mount namespace of PID 1.
type Mount struct {
	Source   string `json:"source"`
	Dir      string `json:"dir"`
	Type     string `json:"type"`
	ReadOnly bool   `json:"read_only"`
}

// A Disk is a block device.
type Disk struct {
	Name     string    `json:"name"`
	Bytes    uint64    `json:"bytes"`
	ReadOnly bool      `json:"read_only,omitempty"`
	Requests []Request `json:"requests"` // in flight, the oldest first
	Omitted  int       `json:"omitted,omitempty"`
	// Note is the reason why Requests may lack some.
	Note string `json:"note,omitempty"`
}

// A Request is a request that a disk has not answered.
type Request struct {
	Op         string   `json:"op"` // "read", "write", "flush", "discard" or a number
	Sector     *uint64  `json:"sector,omitempty"`
	Bytes      uint64   `json:"bytes"`
	AgeSeconds *float64 `json:"age_seconds,omitempty"` // from its start to the crash
	Tag        int      `json:"tag"`
}

// A Line is a line of the kernel log.
type Line struct {
	Seconds float64 `json:"seconds"` // since the kernel's start
	Level   int     `json:"level"`   // severity, see syslog(3); -1 if not known
	Text    string  `json:"text"`
}

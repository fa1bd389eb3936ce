package crashdir

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// ReportVersion is the version of report.json's format.
const ReportVersion = 1

// maxReport bounds the report.json that is read back, in bytes: PID 1 never
// writes more than a few dozen KiB.
const maxReport = 1 << 20

// maxEntries bounds each list in a report that is read back: a few bytes of JSON
// can become an Attempt of a hundred.
const maxEntries = 1000

// Outcome is the result of a capture in one word.
type Outcome string

// The outcomes, best first.
const (
	Complete   Outcome = "complete"   // vmcore is whole and on disk
	Incomplete Outcome = "incomplete" // part of a vmcore is there
	DmesgOnly  Outcome = "dmesg-only" // the kernel log, but no vmcore
	Failed     Outcome = "failed"     // neither

	// Unknown is the outcome of a dump that cannot be read. No report has it.
	Unknown Outcome = "unknown"
)

// Better reports whether o is a better outcome than other. An unknown outcome is
// worse than all others.
func (o Outcome) Better(other Outcome) bool {
	order := []Outcome{Failed, DmesgOnly, Incomplete, Complete}
	return slices.Index(order, o) > slices.Index(order, other)
}

// Success reports whether o is all that a capture was to save. logOnly is that of its
// report.
func (o Outcome) Success(logOnly bool) bool { return o == Complete || logOnly && o == DmesgOnly }

// Report is the content of report.json: all about a capture that a person wants to
// know without opening the vmcore.
type Report struct {
	Version  int     `json:"version"`
	Software string  `json:"software"` // version of ukdump that wrote it
	Outcome  Outcome `json:"outcome"`
	ID       string  `json:"id,omitempty"` // random, the same in every report about one crash
	Host     string  `json:"host,omitempty"`
	Machine  string  `json:"machine_id,omitempty"` // machine-id(5)
	Test     string  `json:"test,omitempty"`       // token of the kdumpctl test that crashed the machine
	Raw      string  `json:"raw_dump,omitempty"`   // the raw dump that it was collected from, as several can have this ID

	Kernel    string    `json:"kernel,omitempty"`    // release of the kernel that crashed
	CrashTime time.Time `json:"crash_time,omitzero"` // from VMCOREINFO's CRASHTIME
	Memory    int64     `json:"memory_bytes"`        // memory of the crashed kernel, in bytes
	Panic     Panic     `json:"panic"`
	Capture   string    `json:"capture_kernel"` // release of the kernel that wrote the report
	Started   time.Time `json:"started"`        // boot of the capture kernel, by its clock

	Target    Target    `json:"target"`
	At        string    `json:"at,omitempty"`        // the complete dump at a server, of which the directory has log and report alone
	LogOnly   bool      `json:"log_only,omitempty"`  // DUMP=log, and a target has the whole log: dmesg-only is a success
	Vmcore    int64     `json:"vmcore_bytes"`        // size of the vmcore file, complete or not
	SHA256    string    `json:"sha256,omitempty"`    // of the vmcore's stream, at a server or encrypted
	Collector string    `json:"collector,omitempty"` // name of the collector that made the vmcore
	Attempts  []Attempt `json:"attempts,omitempty"`  // every collector that was run
	Steps     []Step    `json:"steps"`
	Errors    []string  `json:"errors,omitempty"`     // everything that went wrong, in order
	Warnings  []string  `json:"warnings,omitempty"`   // for a reader of the vmcore
	Removed   []string  `json:"removed,omitempty"`    // names of older dumps that had to make room
	LowestMem int64     `json:"lowest_mem_available"` // least MemAvailable seen, in bytes
	OOMKills  int64     `json:"oom_kills,omitempty"`  // processes that the capture kernel killed for want of memory
}

// EnoughMem is the least memory that a capture must leave, in bytes: with less, the kernel
// may find no memory for a moment that was not measured.
const EnoughMem = 2 << 20

// OutOfMemory reports whether the capture kernel ran out of memory, or almost.
func (r *Report) OutOfMemory() bool {
	return r.OOMKills > 0 || r.LowestMem > 0 && r.LowestMem < EnoughMem
}

// Panic is the reason of the crash, from the log of the crashed kernel.
type Panic struct {
	Line  string   `json:"line"`            // "Kernel panic - not syncing: …"
	Cause string   `json:"cause,omitempty"` // the oops or BUG that led to it
	IP    string   `json:"ip,omitempty"`    // instruction pointer line of the cause
	Trace []string `json:"trace,omitempty"` // head of the call trace
}

// Reason returns the line of the log that tells a person why the kernel crashed: that
// of an oops if there was one, else the panic's; "" if neither is known.
func (p *Panic) Reason() string {
	if p.Cause != "" {
		return p.Cause
	}
	return p.Line
}

// Target is where the dump was written.
type Target struct {
	Dir    string `json:"dir,omitempty"`    // directory on the healthy system
	Device string `json:"device,omitempty"` // kernel name in the capture kernel
	FSType string `json:"fstype,omitempty"`
	UUID   string `json:"uuid,omitempty"`
	Free   int64  `json:"free_bytes,omitempty"` // free space before the dump
}

// Phase is the progress of an attempt. It is empty in older reports.
type Phase string

// The phases of an attempt. One of the first three is in the report if the worker
// ended in it.
const (
	Running        Phase = "running"         // the collector runs
	Verifying      Phase = "verifying"       // its output is being verified
	VerifyingAgain Phase = "verifying-again" // by a second worker, as the first one ended
	Rejected       Phase = "rejected"        // the collector failed, or its output is not whole
	Unconfirmed    Phase = "unconfirmed"     // the output may lack pages: another collector may do better
	Accepted       Phase = "accepted"        // its output is the vmcore
)

// Attempt is one run of a collector.
type Attempt struct {
	Name    string  `json:"name"`
	Phase   Phase   `json:"phase,omitempty"`
	Exit    int     `json:"exit"`              // exit status, -1 if a signal ended it
	Signal  string  `json:"signal,omitempty"`  // the signal that ended it
	Error   string  `json:"error,omitempty"`   // why its output was not accepted
	Bytes   int64   `json:"bytes"`             // size of its output
	Limit   int64   `json:"limit,omitempty"`   // the room it had, in bytes
	Percent float64 `json:"percent,omitempty"` // progress as the collector reported it
	Seconds float64 `json:"seconds"`
	Stuck   bool    `json:"stuck,omitempty"`  // it could not be killed
	Slow    bool    `json:"slow,omitempty"`   // it was stopped because it could not end in time
	Stderr  string  `json:"stderr,omitempty"` // the tail of its output
}

// Step is one phase of the capture.
type Step struct {
	Name    string  `json:"name"`
	Start   float64 `json:"start"`   // seconds since the boot of the capture kernel
	Seconds float64 `json:"seconds"` // duration
	Error   string  `json:"error,omitempty"`
}

// ParseReport decodes a report.json. Fields it does not know are ignored, so
// that an older kdumpctl still shows the report of a newer kdumpinit; another
// format version is an error.
func ParseReport(data []byte) (*Report, error) {
	if len(data) > maxReport {
		return nil, fmt.Errorf("report is larger than %d bytes", maxReport)
	}
	r := new(Report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("parse report: %w", err)
	}
	if r.Version != ReportVersion {
		return nil, fmt.Errorf("report has format version %d, this program supports version %d", r.Version, ReportVersion)
	}
	switch r.Outcome {
	case Complete, Incomplete, DmesgOnly, Failed:
	default:
		return nil, fmt.Errorf("report has unknown outcome %.20q", r.Outcome)
	}
	for _, n := range []int{len(r.Panic.Trace), len(r.Attempts), len(r.Steps), len(r.Errors), len(r.Warnings), len(r.Removed)} {
		if n > maxEntries {
			return nil, fmt.Errorf("report has a list of %d entries: no capture writes more than %d", n, maxEntries)
		}
	}
	return r, nil
}

// Encode returns r as indented JSON with a final newline.
func (r *Report) Encode() ([]byte, error) {
	r.CrashTime, r.Started = Clamp(r.CrashTime), Clamp(r.Started)
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

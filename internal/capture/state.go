package capture

import (
	"encoding/json"
	"os"
	"time"

	"ukdump/internal/crashdir"
)

// state is the state that a worker leaves to the next one if it dies, in a file in
// memory. Facts that the kernel knows better, such as mounts, are not in it.
type state struct {
	Report      crashdir.Report
	Step        step             // the step that is running, "" between two
	Fatal       step             // where the last worker that died ended
	FatalAt     [3]int           // its Module, Target and Collector
	Begun       bool             // a step was begun
	LogBegun    bool             // stepLog was begun
	DmesgBegun  string           // place for which stepDmesg was begun last
	Reading     string           // kernel name of the block device that is being identified
	Avoid       []string         // devices that a worker hung on
	Module      int              // index of the next module to load
	Target      int              // index of the target in use; those for evidence follow the others
	Dir         string           // the dump's directory below mountDir, "" if there is none
	Raw         string           // kernel name of the raw device in use, "" if there is none
	Collector   int              // index of the next collector for this target
	Attempts    int              // how many attempts there were before this target
	Unconfirmed int              // number of the attempt whose vmcore is whole but unconfirmed, 0 for none
	Logged      bool             // the crashed kernel's log is at the target in use
	Receipts    int              // workers that began to write a receipt of a dump at a server
	Best        crashdir.Outcome // on any target
	Since       time.Duration    // uptime from which the deadlines count: not 0 after again
}

// again returns the state for a capture from the start at the uptime now. By the same ID,
// the dumps of all captures are known to be of one crash. Modules are gone once loaded.
func (st *state) again(now time.Duration) *state {
	return &state{Report: crashdir.Report{ID: st.Report.ID}, Module: st.Module, Since: now}
}

// open reports whether a target was open.
func (st *state) open() bool { return st.Dir != "" || st.Raw != "" }

// saved returns the best outcome that is certain, however the worker ended. best is that
// on other targets.
func (st *state) saved(best crashdir.Outcome) crashdir.Outcome {
	switch {
	case st.Report.Outcome == crashdir.Complete:
		best = crashdir.Complete
	case best == "":
		best = crashdir.Failed
	}
	if st.Logged && crashdir.DmesgOnly.Better(best) {
		best = crashdir.DmesgOnly
	}
	return best
}

// save writes the state.
func (st *state) save() error { return saveJSON(stateFile, st) }

// saveJSON writes a state. The rename keeps a worker that dies meanwhile from leaving half
// of it.
func saveJSON(path string, state any) error {
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// loadState reads the state of the last worker; a missing or broken file is an empty
// state.
func loadState() *state {
	st := new(state)
	b, err := os.ReadFile(stateFile)
	if err == nil && json.Unmarshal(b, st) != nil {
		st = new(state)
	}
	return st
}
